"""The smallest model: trained, killed, resumed, and served by its Lambda.

S3 is moto's over HTTP. The handler runs from a zip in a process that can import nothing but the
standard library and boto3. The image stands on a bare Debian with an empty module for TensorFlow,
and is given the real one, too large to copy, when it runs.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support.aws import Aws, moto
from support.docker_engine import MINE, Engine
from support.endpoint_aws import failed, petbox
from support.installed import HERE, PACKAGES, copied, require_python
from support.locks import packages
from support.warm_python import PYTHON
from support.zoo import BUCKET, Lambda, function, v1, v2

ZOO = CHECKOUT / "serverless/zoo"
SNAKE = [0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0]
LEGS = 12


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


# Training


@dataclass(frozen=True)
class Trained:
    """A training that was killed, stopped, and finished."""

    logs: list[str]  # by each of its processes
    codes: list[int]
    printed: str
    evaluation: dict[str, Any]
    weights: dict[str, Any]
    checkpoints: list[str]  # their keys


@pytest.fixture(scope="module")
def table(data: Path) -> Path:
    return data / "zoo/data-04-zoo.csv"


@pytest.fixture(scope="module")
def rows(table: Path) -> list[list[int]]:
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    return [[int(cell) for cell in line.split(",")] for line in lines]


@pytest.fixture(scope="module")
def trained(aws: Aws, table: Path) -> Trained:
    s3 = aws.client("s3")
    s3.upload_file(str(table), BUCKET, "data/zoo.csv")
    flags = ("--data", f"s3://{BUCKET}/data/zoo.csv", "--out", f"s3://{BUCKET}/trained")
    often = ("--checkpoint-every", "1")
    logs, codes = [], []

    killed = start(aws, *flags, *often)
    while not any(key.endswith("/checkpoint") for key in keys(s3)):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.05)  # S3 sends no notification here
    killed.kill()
    logs.append(killed.communicate()[1])
    checkpoints = next(key for key in keys(s3) if key.endswith("/checkpoint"))
    for part in ("index", "data-00000-of-00001"):  # as it may leave one, if it comes at the moment
        s3.put_object(Bucket=BUCKET, Key=f"{checkpoints.rpartition('/')[0]}/ckpt-0.{part}")
    codes.append(killed.returncode)

    stopped = start(aws, *flags, *often)
    assert stopped.stderr
    begin = next((line for line in stopped.stderr if "resuming" in line), "")
    stopped.terminate()
    logs.append(begin + stopped.communicate(timeout=120)[1])
    codes.append(stopped.returncode)

    finished = start(aws, *flags)
    printed, errors = finished.communicate(timeout=300)
    logs.append(errors)
    codes.append(finished.returncode)
    assert codes[2] == 0, logs

    def read(name: str) -> Any:
        return json.loads(s3.get_object(Bucket=BUCKET, Key=f"trained/{name}")["Body"].read())

    found = [key for key in keys(s3) if key.startswith("trained/checkpoints/")]
    return Trained(logs, codes, printed, read("evaluation.json"), read("weights.json"), found)


def start(aws: Aws, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, "-m", "petbox", "zoo", "train", *words],
        env={**os.environ, **aws.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def test_a_killed_training_resumes_from_s3(trained: Trained) -> None:
    assert trained.codes[0] == -signal.SIGKILL
    at = re.search(r"^resuming at step (\d+)$", trained.logs[1], re.M)
    assert at and int(at[1]) >= 1, trained.logs


def test_a_stopped_training_saves_its_step(trained: Trained) -> None:
    assert trained.codes[1] == 128 + signal.SIGTERM
    at = re.search(r"^stopped at step (\d+), which is saved", trained.logs[1], re.M)
    assert at, trained.logs[1]
    assert f"resuming at step {at[1]}\n" in trained.logs[2]
    assert "error" not in trained.logs[1]


def test_training_prints_where_the_weights_are(trained: Trained) -> None:
    assert trained.printed == f"s3://{BUCKET}/trained/weights.json\n"


def test_old_checkpoints_are_removed_from_s3(trained: Trained) -> None:
    assert sum(key.endswith(".index") for key in trained.checkpoints) == 2, trained.checkpoints


def test_unseen_rows_are_classified_correctly(trained: Trained) -> None:
    assert trained.evaluation["rows"] == 101 and trained.evaluation["distinct"] == 59
    accuracy = trained.evaluation["accuracy"]
    assert accuracy["rows"]["mean"] >= 0.95
    # Harder: no row's twin has been seen either.
    assert 0.9 <= accuracy["distinct"]["mean"] <= accuracy["rows"]["mean"]


def test_what_is_reported_is_the_accuracy_of_models_that_did_not_see_the_rows(
    trained: Trained, rows: list[list[int]]
) -> None:
    right = sum(best(ratings(trained.weights, row[:16])) == row[16] for row in rows)
    assert right == len(rows)  # the one that has seen them all
    assert trained.evaluation["accuracy"]["rows"]["most"] < 1


def test_interruptions_do_not_change_the_weights(trained: Trained, rows: list[list[int]]) -> None:
    """The loss has one least value; there its slope is nought."""
    decay, count = 0.01, len(rows)
    weights = trained.weights["weights"]
    slopes = [[decay * number for number in row] for row in weights]
    at_bias = [0.0] * 7
    for row in rows:
        rating = ratings(trained.weights, row[:16])
        for kind in range(7):
            off = (rating[kind] - (kind == row[16])) / count
            at_bias[kind] += off
            for column, value in enumerate(columns(row[:16])):
                slopes[column][kind] += off * value
    assert max(abs(slope) for row in [*slopes, at_bias] for slope in row) < 1e-5


def columns(x: list[int]) -> list[int]:
    return [*x[:LEGS], *(int(x[LEGS] == legs) for legs in (0, 2, 4, 5, 6, 8)), *x[LEGS + 1 :]]


def ratings(weights: dict[str, Any], x: list[int]) -> list[float]:
    seen = columns(x)
    logits = [
        b + sum(value * row[kind] for value, row in zip(seen, weights["weights"], strict=True))
        for kind, b in enumerate(weights["bias"])
    ]
    total = sum(map(math.exp, logits))
    return [math.exp(logit) / total for logit in logits]


def best(rating: list[float]) -> int:
    return rating.index(max(rating))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,0,0\n", "line 1 has 3 cells, not 17"),
        (f"# zoo\n{'1,' * 16}9\n", "line 2: legs is '1', not one of 0, 2, 4, 5, 6, 8"),
        (f"{'0,' * 16}7\n", "line 1: type is '7', not one of 0, 1, 2, 3, 4, 5, 6"),
        ("# zoo\n\n", "contains no animals"),
        (f"{'0,' * 16}6\n", "1 distinct rows are too few for 10 folds; lower --folds"),
    ],
)
def test_data_of_another_form_is_rejected(aws: Aws, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "zoo.csv").write_text(text)
    words = ("--data", tmp_path / "zoo.csv", "--out", f"s3://{BUCKET}/rejected")
    done = petbox(aws.env, "zoo", "train", *words)
    assert why in failed(done) and not done.stdout


# The Lambda function


@pytest.fixture(scope="module")
def zoo(aws: Aws, importable: list[Path], trained: Trained) -> Iterator[Lambda]:
    with function(aws.env, importable) as called:
        yield called


@pytest.mark.parametrize("event", [v1, v2])
def test_a_snake_is_a_reptile(zoo: Lambda, event: Callable[..., dict[str, Any]]) -> None:
    status, response = zoo(event(json.dumps(SNAKE)))
    assert (status, response["answer"], response["name"]) == (200, 2, "reptile")
    assert len(response["rating"]) == 7
    assert best(response["rating"]) == 2
    assert sum(response["rating"]) == pytest.approx(1, abs=1e-12)


def test_the_function_agrees_with_tensorflow(
    zoo: Lambda, aws: Aws, trained: Trained, rows: list[list[int]], tmp_path: Path
) -> None:
    from petbox.tf import tf

    for key in trained.checkpoints:
        aws.client("s3").download_file(BUCKET, key, str(tmp_path / Path(key).name))
    checkpoint = tf.train.load_checkpoint(str(tmp_path))
    weights, bias = (
        checkpoint.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")[0]
        for name in ("weights", "bias")
    )
    seen = tf.constant([columns(row[:16]) for row in rows], tf.float64)
    expected = tf.nn.softmax(seen @ weights + bias).numpy().tolist()
    for row, rating in zip(rows, expected, strict=True):
        status, response = zoo(v2(json.dumps(row[:16])))
        assert status == 200
        assert response["rating"] == pytest.approx(rating, abs=1e-6)
        assert response["answer"] == best(rating)


def with_(at: int, value: str) -> str:
    return f"[{','.join(value if i == at else str(x) for i, x in enumerate(SNAKE))}]"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "X is not JSON: Expecting value"),
        ("[0,0", "X is not JSON"),
        ("0,0,1", "X is not JSON: Extra data"),
        ("[" * 100_000, "X is not JSON"),
        ("3", "X is 3, not a list of 16 values"),
        ('{"hair": 0}', 'X is {"hair": 0}, not a list of 16 values'),
        ('"' + "a" * 5000 + '"', "..., not a list"),
        ("[]", "X has 0 values, not 16: hair, feathers, eggs, milk"),
        (json.dumps(SNAKE[:-1]), "X has 15 values, not 16"),
        (json.dumps([*SNAKE, 0]), "X has 17 values, not 16"),
        (with_(3, "NaN"), "X is not JSON: NaN is not a number"),
        (with_(3, "-Infinity"), "X is not JSON: -Infinity is not a number"),
        (with_(3, "1e999"), "X[3] (milk) is Infinity; it must be 0 or 1"),
        (with_(3, "1" * 5000), "X is not JSON"),
        (with_(0, "true"), "X[0] (hair) is true; it must be 0 or 1"),
        (with_(0, "null"), "X[0] (hair) is null; it must be 0 or 1"),
        (with_(0, '"1"'), 'X[0] (hair) is "1"; it must be 0 or 1'),
        (with_(0, "[1]"), "X[0] (hair) is [1]; it must be 0 or 1"),
        (with_(0, "0.5"), "X[0] (hair) is 0.5; it must be 0 or 1"),
        (with_(0, "-1"), "X[0] (hair) is -1; it must be 0 or 1"),
        (with_(LEGS, "3"), "X[12] (legs) is 3; it must be 0, 2, 4, 5, 6 or 8"),
    ],
)
def test_an_invalid_x_is_rejected_with_the_reason(zoo: Lambda, text: str, why: str) -> None:
    for event in (v1, v2):
        status, response = zoo(event(text))
        assert status == 400
        assert response.keys() == {"error"}
        assert why in response["error"] and len(response["error"]) < 250


def test_an_x_that_is_missing_or_given_twice_is_rejected(zoo: Lambda) -> None:
    for event in (v1(), v2()):
        assert zoo(event) == (400, {"error": "X is missing; call it like /zoo?X=[0,0,1,...]"})
    assert zoo(v1(json.dumps(SNAKE), json.dumps(SNAKE)))[0] == 400
    assert zoo(v2(json.dumps(SNAKE), json.dumps(SNAKE)))[0] == 400


def test_a_whole_number_may_have_a_point(zoo: Lambda) -> None:
    assert zoo(v2(with_(LEGS, "4.0"))) == zoo(v2(with_(LEGS, "4")))


# The image


@pytest.fixture(scope="module")
def image(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    require_python(engine, debian)
    dockerfile = ZOO / "Dockerfile"
    folder = copied(tmp_path_factory.mktemp("base"), ("numpy", "pip", *packages("zoo")))
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow/__init__.py").touch()
    (folder / "Dockerfile").write_text(f"FROM {debian}\nCOPY . {PACKAGES}\n")
    base, name = f"{MINE}-zoo-base", f"{MINE}-zoo"
    engine("build", "--network=none", "--tag", base, folder)
    words = ("--network=none", f"--build-arg=BASE={base}", "--file", dockerfile, "--tag", name)
    engine("build", *words, CHECKOUT)
    return name


def test_the_image_trains_as_any_user_and_writes_only_to_tmp(
    engine: Engine, image: str, aws: Aws, table: Path
) -> None:
    there = [f"--env={key}={value}" for key, value in aws.env.items() if key[:4] == "AWS_"]
    there += [f"--volume={HERE}:{PACKAGES}:ro"]
    there += [f"--volume={table}:/zoo.csv:ro", "--network=host", "--read-only", "--tmpfs=/tmp"]
    flags = ("--data=/zoo.csv", f"--out=s3://{BUCKET}/image", "--steps=20", "--repeats=1")
    assert engine("run", "--rm", "--network=none", image, "--help").stdout
    done = engine("run", "--rm", *there, image, *flags)
    assert done.stdout == f"s3://{BUCKET}/image/weights.json\n"
    assert "image/weights.json" in keys(aws.client("s3"))
    user = engine("inspect", "--format={{.Config.User}}", image).stdout.strip()
    assert user == "10001:10001"
