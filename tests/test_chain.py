"""The whole chain by its real command, on a tiny set and two steps of training.

What the detector finds is worth nothing after two steps; that every stage takes what the one
before it made, and says the same thing about the same picture, is what is tested.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from conftest import CHECKOUT
from PIL import Image
from support import turned
from support.ports import free_port
from support.warm_python import PYTHON

from petbox import wire
from petbox.data import labels
from petbox.images import exif


@pytest.fixture(scope="module")
def pets(chain: Path) -> Path:
    return chain / "toy"


@pytest.fixture(scope="module")
def records(chain: Path) -> Path:
    return chain / "data/pets-records"


@pytest.fixture(scope="module")
def finished(chain: Path) -> Path:
    return chain / "runs/pets"


@pytest.fixture(scope="module")
def model(chain: Path) -> Path:
    return chain / "model/pets"


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    command = [PYTHON, "-m", "petbox", "serve", str(model), "--port", str(free_port())]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip().rstrip("/")
        yield address
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address}/ping", timeout=5)


@pytest.fixture(scope="module")
def picture(pets: Path) -> bytes:
    return min((pets / "images").iterdir()).read_bytes()


def test_a_run_holds_what_later_stages_need(finished: Path, records: Path) -> None:
    assert (finished / "label_map.pbtxt").read_text() == (records / "label_map.pbtxt").read_text()
    assert (finished / "params.yaml").is_file()
    assert (finished / "ckpt-2.index").is_file()
    assert list(finished.glob("train/events.*")), "TensorBoard's logs"
    assert not finished.with_name("pets.unfinished").exists()


def test_a_finished_run_is_evaluated(finished: Path, continued: Any) -> None:
    found = json.loads((finished / "evaluation.json").read_text())
    assert 0 <= found["mAP"] <= found["mAP@0.5"] <= 1
    assert f"mAP@0.5    {found['mAP@0.5']:.3f}" in continued.stderr


def test_a_model_holds_its_label_map(model: Path, records: Path) -> None:
    inside = labels.read(model / "1" / "assets" / labels.FILE_NAME)
    assert inside == labels.read(records / labels.FILE_NAME)


def test_the_model_says_what_the_checkpoint_says(
    model: Path, finished: Path, records: Path
) -> None:
    """The library's own evaluation path against the exported one, for each held-out picture."""
    from petbox.data.records import examples
    from petbox.export.verify import compared
    from petbox.tf import tf
    from petbox.training import checkpoints, runs
    from petbox.training import config as training_config

    run = runs.read(finished)
    config = training_config.load_config(run)
    network = checkpoints.restored(config, run)
    exported = tf.saved_model.load(str(model / "1")).signatures["serving_default"]
    data = config.task.validation_data
    data.global_batch_size, data.input_path = 1, str(records / "test.record-*")
    answers = {}
    for images, truth in training_config.task(config).build_inputs(data):
        info = truth["image_info"]
        found = network(images, image_shape=info[:, 1, :], training=False)
        boxes = found["detection_boxes"] / tf.tile(info[:, 0] * info[:, 2], [1, 2])[:, None]
        answers[int(truth["groundtruths"]["source_id"][0])] = found, boxes
    assert len(answers) == 4
    for number, example in enumerate(examples(records, "test")):
        wanted, boxes = answers[number]
        ours = exported(inputs=tf.constant([example.encoded]))
        tf.debugging.assert_near(ours["detection_scores"], wanted["detection_scores"], atol=1e-4)
        assert ours["num_detections"][0] == int(wanted["num_detections"][0]) > 0
        inside = {**wanted, "detection_boxes": tf.clip_by_value(boxes, 0.0, 1.0)}
        # Two of the same score may have changed places.
        *most, difference = compared(*(found_in(one) for one in (inside, ours)))
        assert max(most) < 1e-4 and not difference


def found_in(answer: Any) -> Any:
    from petbox.export.verify import Found

    count = int(answer["num_detections"][0])
    parts = ("boxes", "classes", "scores")
    return Found(*(answer[f"detection_{part}"][0, :count].numpy() for part in parts))


def test_every_door_gives_the_same_answer(url: str, picture: bytes) -> None:
    b64 = {"b64": base64.b64encode(picture).decode()}
    invocations = f"{url}/invocations"
    named = requests.post(invocations, json={"instances": [{"inputs": b64}]}, timeout=60)
    bare = requests.post(invocations, json={"instances": [b64]}, timeout=60)
    jpeg = {"Content-Type": "image/jpeg"}
    raw = requests.post(invocations, data=picture, headers=jpeg, timeout=60)
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    aws = runtime.invoke_endpoint(
        EndpointName="toy", ContentType="application/json", Body=wire.request([picture])
    )
    bodies = [named.content, bare.content, raw.content, aws["Body"].read()]
    first, *rest = map(wire.detections, bodies)
    assert len(first) == 1
    assert all(other == first for other in rest)


@pytest.mark.parametrize("kind", turned.KINDS)
def test_a_turned_photo_gets_the_boxes_of_the_upright_one(
    url: str, picture: bytes, kind: str
) -> None:
    def found(file: bytes) -> list[wire.Detection]:
        headers = {"Content-Type": turned.KINDS[kind]}
        answer = requests.post(f"{url}/invocations", data=file, headers=headers, timeout=60)
        (detections,) = wire.detections(answer.content)
        return detections

    upright, *others = turned.files(Image.open(io.BytesIO(picture)), kind)
    expected = found(upright)
    assert expected, "two steps of training find something"
    for other in others:
        turned.check_same(found(other), expected)
    assert found(exif.as_stored(others[4])) != expected


def test_a_batch_says_of_each_picture_what_it_says_alone(url: str, pets: Path) -> None:
    pictures = [path.read_bytes() for path in sorted((pets / "images").iterdir())[:3]]
    together = wire.detections(
        requests.post(f"{url}/invocations", json=_instances(pictures), timeout=60).content
    )
    for picture, found in zip(pictures, together, strict=True):
        alone = requests.post(f"{url}/invocations", json=_instances([picture]), timeout=60)
        (wanted,) = wire.detections(alone.content)
        assert [one.label for one in found] == [one.label for one in wanted]
        assert [one.score for one in found] == pytest.approx(
            [one.score for one in wanted], abs=1e-4
        )


def test_a_broken_picture_is_refused_by_its_place(url: str, picture: bytes) -> None:
    answer = requests.post(
        f"{url}/invocations", json=_instances([picture, b"GIF89 is no picture at all"]), timeout=60
    )
    assert answer.status_code == 400
    assert "error" in answer.json()
    tiff = requests.post(f"{url}/invocations", json=_instances([picture, b"II*\0" * 9]), timeout=60)
    assert tiff.status_code == 400
    said = "image 1 of the request is not a JPEG, PNG, GIF, BMP or WebP file"
    assert said in tiff.json()["error"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_picture_that_breaks_off_is_refused(url: str, picture: bytes, kind: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(file, format=kind)
    cut = file.getvalue()[: len(file.getvalue()) // 3]
    answer = requests.post(f"{url}/invocations", json=_instances([picture, cut]), timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_readmes_python_is_run_as_it_is_written(url: str, pets: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    here = [block for block in blocks if "localhost:8080" in block]  # the other: test_detect_front
    assert len(here) == 2
    (tmp_path / "cat.jpg").write_bytes(min((pets / "images").iterdir()).read_bytes())
    for block in here:
        done = subprocess.run(
            [sys.executable, "-c", block.replace("http://localhost:8080", url)],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert wire.detections(done.stdout.encode())  # of boto3, which comes last
    assert (tmp_path / "found.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_demo_looks_for_its_port_before_anything_else(run: Any) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        done = run("scripts/demo.py", "--port", str(held.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith("error: port ")
    assert done.stderr.count("\n") == 1


def _instances(pictures: list[bytes]) -> dict[str, Any]:
    return {"instances": [{"b64": base64.b64encode(one).decode()} for one in pictures]}


def test_detect_draws_and_names(
    url: str, pets: Path, records: Path, tmp_path: Path, run: Any
) -> None:
    path = min((pets / "images").iterdir())
    all_of_it = ("--min-score", "0.01")
    done = run(
        "-m",
        "petbox",
        "detect",
        path,
        "--url",
        url,
        "--json",
        "--draw",
        tmp_path / "drawn",
        *all_of_it,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    names = labels.read(records / labels.FILE_NAME)
    assert {one["label"] for one in said["detections"]} <= set(names.values())
    assert said["detections"], "two steps of training find something, if nothing right"
    assert len(list((tmp_path / "drawn").iterdir())) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("train/train.py", "--records", "{tmp}/none", "--out", "{tmp}/out"), "{tmp}/none"),
        (
            ("train/train.py", "--records", "{tmp}", "--out", "{tmp}/out", "--preset", "huge"),
            "--preset huge: unknown; choose one of faster_rcnn_mobilenet_v2_pets, ",
        ),
        (
            ("train/evaluate.py", "--run", "{tmp}/none", "--records", "{tmp}"),
            "{tmp}/none: not a training run, it has no params.yaml",
        ),
        (
            ("export/exporter_savedmodel.py", "--run", "{tmp}/none", "--out", "{tmp}/out/1"),
            "{tmp}/none: not a training run",
        ),
        (
            ("export/exporter_savedmodel.py", "--run", "{tmp}/none", "--out", "{tmp}/out"),
            "end the path with a whole number",
        ),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    command: tuple[str, ...], reason: str, tmp_path: Path, run: Any
) -> None:
    done = run(*(word.replace("{tmp}", str(tmp_path)) for word in command))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert reason.replace("{tmp}", str(tmp_path)) in done.stderr
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_a_run_without_its_checkpoint_is_refused(finished: Path, tmp_path: Path, run: Any) -> None:
    for name in ("params.yaml", "label_map.pbtxt", "checkpoint"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    done = run(
        "export/exporter_savedmodel.py", "--run", tmp_path, "--out", tmp_path / "model" / "1"
    )
    assert done.returncode == 1
    assert f"{tmp_path}: its checkpoint (ckpt-*) is gone" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_finished_product_is_never_overwritten(finished: Path, records: Path, run: Any) -> None:
    done = run("train/train.py", "--records", records, "--out", finished)
    assert done.returncode == 1
    assert f"{finished}: exists already" in done.stderr
