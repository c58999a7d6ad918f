"""`petbox serve` with a LiteRT detector: the contract's responses, without TensorFlow."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from support.conforming import CONFORM, failing, outcomes
from support.multi_model import multi_model_endpoint
from support.ports import free_port
from support.serving import CHECKOUT, LONG, SERVE, Program, post, predict_json, started
from support.without_tensorflow import python_path

from petbox.client.detector import Detector
from petbox.errors import InvalidImage
from petbox.litert.detector import LiteDetector
from petbox.serving.demo.command import MODEL
from petbox.serving.reduced_gateway import PAGE

pytest.importorskip("ai_edge_litert.interpreter", reason="pip install './[serve]'")

SAMPLES = sorted((PAGE / "samples").glob("*.jpg"))
IMAGE = SAMPLES[0].read_bytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Program]]:
    folder = tmp_path_factory.mktemp("litert")
    model = folder / "mein Modell für Hunde"
    shutil.copytree(MODEL, model / "3")
    port = free_port()
    path = python_path(folder / "absent", CHECKOUT)
    command = [*SERVE, str(model), f"--port={port}"]
    with started(command, folder / "run", PYTHONPATH=path) as program:
        assert program.line() == f"http://localhost:{port}/", program.errors.read_text()
        yield port, program


@pytest.fixture(scope="module")
def port(served: tuple[int, Program]) -> int:
    return served[0]


def predict(port: int, **body: Any) -> requests.Response:
    return post(port, json.dumps(body).encode(), "application/json")


def b64(image: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(image).decode()}


def test_it_detects_what_the_same_model_in_this_process_does(port: int) -> None:
    here, there = Detector(model=MODEL), Detector(f"http://localhost:{port}")
    for path in SAMPLES:
        name = path.stem.rpartition("_")[0]
        found = there.detect(path)
        assert {one.name for one in found} == {name}
        assert list(found) == list(here.detect(path))


def test_on_a_multi_model_endpoint_it_is_loaded_like_others(port: int, tmp_path: Path) -> None:
    with multi_model_endpoint(tmp_path) as endpoint:
        endpoint.loaded("lite", MODEL)
        found = endpoint.invoke("lite", IMAGE, "image/jpeg")
        assert found.json() == post(port, IMAGE, "image/jpeg").json()
        assert endpoint.unload("lite") == 200
        assert endpoint.invoke("lite").status_code == 404


def test_images_of_one_request_get_what_each_gets_alone(port: int) -> None:
    images = [path.read_bytes() for path in SAMPLES]
    together = post(port, predict_json(*images), "application/json").json()["predictions"]
    alone = [post(port, image, "image/jpeg").json()["predictions"][0] for image in images]
    assert together == alone
    columns = predict(port, inputs=[b64(image) for image in images]).json()["outputs"]
    assert columns["detection_boxes"] == [one["detection_boxes"] for one in alone]


def test_the_shorter_signature_has_names_and_padding(port: int) -> None:
    instances = [b64(SAMPLES[1].read_bytes()), b64(IMAGE)]
    answer = predict(port, signature_name="detect", instances=instances)
    rows = answer.json()["predictions"]
    counts = [int(row["num_detections"]) for row in rows]
    assert counts[0] != counts[1]
    for row, count in zip(rows, counts, strict=True):
        lists = [row[f"detection_{name}"] for name in ("names", "scores", "thresholds", "classes")]
        assert {len(one) for one in lists} == {max(counts)}
        assert all(score >= 0.05 for score in row["detection_scores"][:count])
        assert {*row["detection_names"][count:]} <= {""}
        assert {*row["detection_scores"][count:]} <= {0.0}


def test_json_lines_take_bare_base64(port: int) -> None:
    lines = "\n".join(json.dumps(line) for line in (b64(IMAGE)["b64"], "eHg=", b64(IMAGE)))
    answer = post(port, lines.encode(), "application/jsonlines").text.splitlines()
    assert answer[0] == answer[2]
    assert json.loads(answer[1])["error"].startswith("image 0 of the request is not a JPEG")


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_are_drawn_on_the_upright_image(port: int, orientation: int) -> None:
    with Image.open(io.BytesIO(IMAGE)) as image:
        size = image.size
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = io.BytesIO()
        image.crop((0, 0, size[0], size[1] - 20)).save(content, "JPEG", exif=exif)
    headers = {"Content-Type": "image/jpeg", "Accept": "image/jpeg"}
    url = f"http://localhost:{port}/invocations"
    answer = requests.post(url, data=content.getvalue(), headers=headers, timeout=LONG)
    assert answer.headers["Content-Type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as drawn:
        upright = (size[0], size[1] - 20)
        assert drawn.size == (upright if orientation == 1 else upright[::-1])


SENTENCE = "image {} of the request {}"
NO_IMAGE = "is not a JPEG, PNG, GIF, BMP or WebP file"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"instances": [b64(b"no image")]}, SENTENCE.format(0, NO_IMAGE)),
        ({"instances": [b64(IMAGE), b64(b"")]}, SENTENCE.format(1, "is empty")),
        ({"instances": [b64(IMAGE), "text"]}, SENTENCE.format(1, NO_IMAGE)),
        (
            {"instances": [b64(IMAGE[:-900])], "signature_name": "draw"},
            SENTENCE.format(0, "is corrupt or truncated; send the whole file"),
        ),
        ({"inputs": []}, "the request contains no image"),
        (
            {"inputs": [b64(b"")] * 65},
            "the request contains more than 64 images; send fewer at a time",
        ),
        ({"inputs": [[b64(IMAGE)]]}, "inputs has the shape [1,1]; send [N], N images"),
        ({"instances": [1.5]}, "JSON Value: 1.5 Type: Number is not of expected type: string"),
        (
            {"instances": [b64(IMAGE)], "signature_name": "nope"},
            'Serving signature name: "nope" not found in signature def',
        ),
    ],
)
def test_an_invalid_request_is_a_400_with_one_sentence(
    port: int, body: dict[str, Any], why: str
) -> None:
    answer = predict(port, **body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_odd_images_get_boxes_or_the_sentence_of_the_detector(port: int, data: Path) -> None:
    detector, seen = LiteDetector(MODEL), {200: 0, 400: 0}
    for path in sorted((data / "odd_images").iterdir()):
        if path.suffix in (".txt", ".json"):
            continue
        answer = post(port, path.read_bytes(), "image/jpeg")
        seen[answer.status_code] += 1
        if answer.status_code == 400:
            with pytest.raises(InvalidImage) as rejected:
                detector.detect(path.read_bytes())
            why = str(rejected.value).replace("the image", "image 0 of the request", 1)
            assert answer.json() == {"error": why}, path.name
    assert seen[200] > 25 and seen[400] > 5, seen


def test_the_metadata_describes_the_signatures(port: int) -> None:
    found = requests.get(f"http://localhost:{port}/metadata", timeout=LONG).json()["signatures"]
    assert found.keys() == {"serving_default", "detect", "draw"}
    (image,) = found["serving_default"]["inputs"]["inputs"]["example"]
    for name, signature in found.items():
        answer = predict(port, signature_name=name, instances=[image])
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["predictions"]
        outputs = {"image_bytes": row} if name == "draw" else row
        assert outputs.keys() == signature["outputs"].keys()


def test_the_log_and_the_metrics_name_the_engine(served: tuple[int, Program]) -> None:
    port, program = served
    said = re.search(r"version 3 of model is ready on (LiteRT \d\S*)", program.errors.read_text())
    assert said
    text = requests.get(f"http://localhost:{port}/metrics", timeout=LONG).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (sample,) = families["petbox_model_info"].samples
    assert sample.labels == {"model": "model", "version": "3", "engine": said[1]}


def test_tensorflow_is_not_in_the_process(served: tuple[int, Program]) -> None:
    pid = served[1].children()["engine"]
    files = Path(f"/proc/{pid}/maps").read_text()
    assert "ai_edge_litert" in files
    assert not re.search(r"/(tensorflow|libtensorflow|keras|tf_keras|pybase64)", files)


def test_it_keeps_sagemakers_contract(
    port: int, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run(*CONFORM, f"http://localhost:{port}", "--sagemaker-only", "--json")
    seen = outcomes(done)
    assert {seen[name] for name in ("ping", "invocations", "headers")} == {"holds"}, done.stdout
    assert failing(done).keys() <= {"ping-in-time"}, "other tests are at work as well"


def test_a_damaged_folder_ends_it_with_the_reason(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    (model / "model.tflite").write_bytes(b"nothing of the sort")
    with started([*SERVE, str(model), f"--port={free_port()}"], tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 255
    assert "LiteRT rejects it" in errors.splitlines()[-1]


def test_it_stops_at_once_on_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "petbox", "serve", str(MODEL), f"--port={free_port()}"]
    with started(command, tmp_path / "run") as program:
        assert program.line()
        program.send(signal.SIGINT)
        code, errors = program.ended()
    assert code == 0
    assert "Traceback" not in errors
