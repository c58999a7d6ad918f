"""Any CSV with a label column: read, trained on, and served by the zoo's Lambda function."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.aws import Aws, moto
from support.endpoint_aws import failed, petbox
from support.serving import LONG
from support.zoo import BUCKET, Lambda, function, v2

from petbox.errors import DataError
from petbox.training.zoo import table, training

QUICK = ("--folds=2", "--repeats=1", "--steps=200")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def flowers() -> str:
    """A byte-order mark, a quoted comma, an id that predicts nothing, and a hue of three."""
    chance = random.Random(7)
    lines = ["\ufeffid,länge,width,hue,species"]
    for at in range(60):
        kind = at % 3
        length, width = 1000 + 100 * kind + chance.gauss(0, 8), chance.gauss(0.02, 0.004)
        hue = ("red", '"blue, pale"', "red")[kind]
        lines.append(f"nr-{at},{length:.1f},{width:.4f},{hue},{('a', 'b', 'c')[kind]}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def weights(aws: Aws, flowers: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("my flowers") / "blüten.csv"
    path.write_text(flowers)
    words = ("--data", path, "--label=species", "--drop=id", "--out", f"s3://{BUCKET}/trained")
    done = petbox(aws.env, "zoo", "train", *words, *QUICK)
    assert (done.returncode, done.stdout) == (0, f"s3://{BUCKET}/trained/weights.json\n")
    stored = aws.client("s3").get_object(Bucket=BUCKET, Key="trained/weights.json")["Body"].read()
    found: dict[str, Any] = json.loads(stored)
    return found


@pytest.fixture(scope="module")
def served(aws: Aws, importable: list[Path], weights: dict[str, Any]) -> Iterator[Lambda]:
    with function(aws.env, importable) as called:
        yield called


def test_the_function_tells_its_classes_and_columns(served: Lambda) -> None:
    _, about = served(v2(path="/"))
    assert about["classes"] == ["a", "b", "c"]
    assert about["columns"] == [
        {"name": "länge", "values": "number"},
        {"name": "width", "values": "number"},
        {"name": "hue", "values": ["blue, pale", "red"]},
    ]


def test_the_function_computes_what_the_training_does(
    served: Lambda, weights: dict[str, Any], flowers: str
) -> None:
    found = table.labeled(flowers.lstrip("\ufeff"), "x", "species", ["id"])
    logits = found.x @ weights["weights"] + weights["bias"]
    rows = [[float(r[1]), float(r[2]), r[3]] for _, r in table._lines(flowers)[1:]]
    for x, kind, row in zip(rows, found.kinds, logits, strict=True):
        status, response = served(v2(json.dumps(x)))
        powers = [math.exp(logit) for logit in row]
        assert response["rating"] == pytest.approx([one / sum(powers) for one in powers])
        assert (status, response["answer"]) == (200, kind)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        ('[1, 2, "green"]', 'X[2] (hue) is "green"; it must be blue, pale or red'),
        ('["1", 2, "red"]', 'X[0] (länge) is "1"; it must be a number'),
        ('[1, true, "red"]', "X[1] (width) is true; it must be a number"),
        ('[1, 1e200, "red"]', "X[1] (width) is 1e+200; it must be a number"),
        ("[1, 2]", "X has 2 values, not 3: länge, width, hue"),
    ],
)
def test_a_value_of_another_kind_is_rejected(served: Lambda, x: str, why: str) -> None:
    assert served(v2(x)) == (400, {"error": why})


@pytest.mark.parametrize(
    ("text", "drop", "why"),
    [
        ("", (), "is empty; give a CSV with a header"),
        ("a;y\n1;2\n", (), "has one column, a;y; separate the cells by commas"),
        ("a,z\n1,2\n", (), "has no column y; --label must be one of a, z"),
        ("a,y\n1,2\n1,3\n", ("a",), "has no column beside y; --drop fewer"),
        ("a,y\n1,2\n1,3\n", ("b",), "has no column b; --drop must be one of a, y"),
        ("a,y\n1,2\n1,3\n", ("y",), "y is the label; do not --drop it"),
        ("a,a,y\n1,1,2\n", (), "two columns are called a; rename one"),
        ("a,,y\n1,1,2\n", (), "column 2 has no name"),
        ("a,y\n1,2\n1\n", (), "line 3 has 1 cells, not 2"),
        ("a,y\n1,2\n,3\n", (), "line 3: a is empty; fill it in, remove the line, or leave"),
        ("a,y\n1,2\n2,2\n", (), "y has 1 classes; at least 2 are needed"),
        ("a,y\n", (), "y has 0 classes; at least 2 are needed"),
        ('a,y\n"1,2\n', (), "not a CSV file: unexpected end of data"),
        (
            "a,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(51)),
            (),
            "a has 51 texts, such as 'n0'; the maximum is 50; make them numbers, or leave",
        ),
        ("a,y\n1e999,0\n" + "".join(f"{i},1\n" for i in range(50)), (), "such as '1e999'"),
    ],
)
def test_a_csv_that_cannot_be_used_is_rejected(text: str, drop: tuple[str, ...], why: str) -> None:
    with pytest.raises(DataError) as raised:
        table.labeled(text, "x.csv", "y", drop)
    assert str(raised.value).startswith("x.csv: ") and why in str(raised.value)


def test_a_folder_is_no_csv(aws: Aws, tmp_path: Path) -> None:
    words = ("--data", tmp_path, "--label=y", "--out", f"s3://{BUCKET}/folder")
    assert "is a folder; give the CSV in it" in failed(petbox(aws.env, "zoo", "train", *words))


def test_a_text_keeps_its_line_breaks() -> None:
    found = table.labeled('a,y\n"1\u2028\n2",no\n3,yes\n', "x.csv", "y", ())
    assert found.inputs == (table.Choice("a", ("1\u2028\n2", "3")),)


def test_a_column_of_one_number_changes_nothing() -> None:
    found = table.labeled("a,b,y\n5,1,no\n5,2,yes\n", "x.csv", "y", ())
    assert found.x.tolist() == [[0, -1], [0, 1]]


@pytest.mark.parametrize("copies", [1, 40])
def test_the_rate_suits_the_data(copies: int) -> None:
    """A fixed rate of 0.5 would oscillate for good with 40 equal columns."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(50, 1)).repeat(copies, 1)
    targets = np.eye(2)[(x[:, 0] + chance.normal(size=50) > 0).astype(int)]
    rate = training.suitable_rate(x, 0.01)
    weights, speed = np.zeros((2, copies, 2))
    for _ in range(300):
        powers = np.exp(x @ weights)
        off = (powers / powers.sum(1, keepdims=True) - targets) / len(x)
        slope = x.T @ off + 0.01 * weights
        speed = training.MOMENTUM * speed - rate * slope
        weights = weights + speed
    assert np.abs(slope).max() < 1e-5


def test_a_rate_that_is_too_high_is_rejected(aws: Aws, flowers: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(flowers)
    words = ("--data", tmp_path / "x.csv", "--label=species", "--drop=id", "--learning-rate=1e9")
    done = petbox(aws.env, "zoo", "train", *words, "--out", f"s3://{BUCKET}/fast", *QUICK)
    assert done.returncode == 1
    assert "--learning-rate 1e+09: too high, the weights are not finite" in done.stderr


def test_more_rows_than_memory_are_rejected(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    monkeypatch.setattr(training, "MOST_LOGITS", 499)
    words = ("--data", tmp_path / "x.csv", "--label=y", "--out", f"s3://{BUCKET}/much", *QUICK)
    done = petbox(aws.env, "zoo", "train", *words)
    assert done.returncode == 1
    assert "50 rows of 2 classes are too many for 5 models; lower --folds" in done.stderr


def test_a_missing_extra_is_reported_with_the_pip_line() -> None:
    words = ("zoo", "train", "--data=zoo.csv", "--out=s3://bucket/zoo")
    done = subprocess.run(
        [sys.executable, "-S", "-m", "petbox", *words], capture_output=True, text=True, timeout=LONG
    )
    line = "error: numpy is not installed; in the petbox checkout type: pip install './[tf]'\n"
    assert (done.returncode, done.stderr) == (1, line)
