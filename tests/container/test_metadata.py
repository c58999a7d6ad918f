"""GET /metadata, and the names in errors about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.other_models import many_kinds
from support.ports import free_port
from support.saved_models import adder
from support.serving import LONG, embedded_engine, front, png, post
from support.serving_image import until

JSON = "application/json"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("models")
    models = {
        "many": many_kinds(folder / "many" / "1").parent,
        "adder": adder(folder / "adder" / "3", 1.5).parent,
    }
    with embedded_engine(folder / "engine", **models) as running:
        yield running.port


@pytest.fixture(scope="module")
def port(engine: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    models = ["many", "adder"]
    settings = {"metadata": True, "models": models}
    folder = tmp_path_factory.mktemp("gateway")
    with front(folder / "front", engine, settings=settings) as port:
        for model in models:  # so that hints have the names
            assert get(port, f"tfs-model-name={model}").status_code == 200
        yield port


def get(port: int, attributes: str = "", method: str = "GET") -> requests.Response:
    url = f"http://127.0.0.1:{port}/metadata"
    headers = {ATTRIBUTES: attributes} if attributes else {}
    return requests.request(method, url, headers=headers, timeout=LONG)


def predict(port: int, body: Any, **headers: str) -> requests.Response:
    url = f"http://127.0.0.1:{port}/invocations"
    return requests.post(url, json=body, headers=headers, timeout=LONG)


# GET /metadata


def test_a_request_names_the_model(port: int) -> None:
    answer = get(port, "tfs-model-name=adder")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)
    told = answer.json()
    assert (told["model"], told["models"]) == ("adder", ["many", "adder"])
    assert told["signatures"]["serving_default"] == {
        "method": "tensorflow/serving/predict",
        "inputs": {"x": {"dtype": "float32", "shape": [None], "example": [0.5]}},
        "outputs": {"y": {"dtype": "float32", "shape": [None]}},
    }
    assert told["signatures"]["classify"]["method"] == "tensorflow/serving/classify"


def test_every_kind_of_signature_is_described(port: int) -> None:
    told = get(port).json()
    assert told["model"] == "many"
    signatures = told["signatures"]
    assert [*signatures] == sorted(signatures), "in order, and none of TensorFlow's own"
    inputs = {name: signature["inputs"] for name, signature in signatures.items()}
    assert inputs["pair"] == {
        "a": {"dtype": "float32", "shape": [None], "example": [0.5]},
        "b": {"dtype": "int64", "shape": [None], "example": [1]},
    }
    assert inputs["single"] == {"x": {"dtype": "float32", "shape": [], "example": 0.5}}
    assert inputs["text"]["sentence"]["example"] == ["some text"]
    assert inputs["drawn"]["inputs"]["example"][0]["b64"].startswith("iVBOR"), "a PNG file"
    assert inputs["half"] == {"x": {"dtype": "float16", "shape": [None]}}, "JSON has none"
    assert signatures["total"]["outputs"] == {"total": {"dtype": "float32", "shape": []}}


def test_examples_are_accepted_by_the_model(port: int) -> None:
    for name, signature in get(port).json()["signatures"].items():
        inputs = {key: tensor.get("example") for key, tensor in signature["inputs"].items()}
        answer = predict(port, {"signature_name": name, "inputs": inputs})
        expected = {"files": 400, "half": 501}.get(name, 200)
        assert answer.status_code == expected, answer.text


def test_head_and_other_methods(port: int) -> None:
    head = get(port, method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(get(port).content)
    assert get(port, method="POST").status_code == 405


@pytest.mark.parametrize(
    ("attributes", "status", "message"),
    [
        ("tfs-model-name=other", 400, "many adder"),
        ("tfs-model-version=7", 404, "Servable not found"),
    ],
)
def test_an_unknown_model_has_none(port: int, attributes: str, status: int, message: str) -> None:
    answer = get(port, attributes)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_without_a_model_server_there_are_none(tmp_path: Path) -> None:
    with front(tmp_path / "front", free_port(), settings={"metadata": True}) as port:
        answer = get(port)
        assert answer.status_code == 502
        assert "model server is not running" in answer.json()["error"]


def test_it_is_disabled_by_default(engine: int, tmp_path: Path) -> None:
    with front(tmp_path / "front", engine) as port:
        for method in ("GET", "POST"):
            answer = get(port, method=method)
            assert answer.status_code == 404
            assert "PETBOX_METADATA=true" in answer.json()["error"]


# Hints


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (
            {"signature_name": "predict", "instances": [1]},
            "the model has these signatures: drawn, files, half, pair, pixels, ragged, "
            "serving_default, single, text, total",
        ),
        (
            {"signature_name": "pair", "instances": [1]},
            "the signature pair takes a (float32 [N]), b (int64 [N])",
        ),
        (
            {"signature_name": "pair", "instances": [{"a": 1, "c": 2}]},
            "the signature pair takes a (float32 [N]), b (int64 [N])",
        ),
        (
            {"inputs": {"c": [1]}, "signature_name": "pair"},
            "the signature pair takes a (float32 [N]), b (int64 [N])",
        ),
        ({"instances": [{"c": [1, 2]}]}, "the signature serving_default takes x (float32 [N, 2])"),
        (
            {"signature_name": "ragged", "inputs": {"values": [1.0], "row_splits": [1, 2]}},
            "the signature ragged takes row_splits (int64 [N]), values (float32 [N])",
        ),
        ({"instances": ["text"]}, "the signature serving_default takes x (float32 [N, 2])"),
        (
            {"signature_name": "total", "instances": [1]},
            'the outputs have no row for each instance; send {"inputs": ...} as application/json',
        ),
    ],
)
def test_an_error_about_a_name_lists_the_valid_ones(
    port: int, engine: int, body: Any, hint: str
) -> None:
    answer = predict(port, body)
    url = f"http://127.0.0.1:{engine}/v1/models/many:predict"
    own = requests.post(url, json=body, timeout=LONG)
    assert answer.status_code == own.status_code == 400
    error = own.json()["error"].removeprefix("Graph execution error:\n\n")
    assert answer.json() == {"error": error, "hint": hint}
    assert error != own.json()["error"] or answer.text.startswith(own.text.removesuffix("\n}"))


@pytest.mark.parametrize(
    "text",
    [
        '{"signature_name": "files", "instances": [{"b64": "AAAA"}]}',
        "{}",
        "[",
        '{"instances": []}',
        '{"instances": [[1, 2, 3]], "a": 1',
    ],
)
def test_other_errors_are_the_model_servers_byte_for_byte(
    port: int, engine: int, text: str
) -> None:
    body = text.encode()
    own = requests.post(
        f"http://127.0.0.1:{engine}/v1/models/many:predict", data=body, timeout=LONG
    )
    answer = post(port, body, JSON)
    assert (answer.status_code, answer.content) == (own.status_code, own.content)
    assert answer.status_code == 400


def test_the_model_of_the_request_gives_the_names(port: int) -> None:
    answer = predict(port, {"signature_name": "x"}, **{ATTRIBUTES: "tfs-model-name=adder"})
    assert (
        answer.json()["hint"] == "the model has these signatures: classify, serving_default, slow"
    )


def test_the_names_are_known_after_a_ping(engine: int, tmp_path: Path) -> None:
    """And after the first error; the second one has them at the latest."""
    with front(tmp_path / "front", engine, settings={"models": ["many"]}) as port:
        predict(port, {"signature_name": "x"})
        until(lambda: "hint" in predict(port, {"signature_name": "x"}).json())
    with front(tmp_path / "pinged", engine, settings={"models": ["many"]}) as port:
        assert requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG).status_code == 200
        until(lambda: "hint" in predict(port, {"signature_name": "x"}).json())


# Bare images


@pytest.mark.parametrize("kind", ["image/jpeg", "application/x-image"])
@pytest.mark.parametrize("accept", ["*/*", "image/jpeg"])
def test_a_model_of_numbers_says_what_it_takes(port: int, kind: str, accept: str) -> None:
    headers = {"Content-Type": kind, "Accept": accept}
    url = f"http://127.0.0.1:{port}/invocations"
    answer = requests.post(url, data=png(2, 2), headers=headers, timeout=LONG)
    assert answer.status_code == (415 if accept == "image/jpeg" else 400)
    assert answer.json() == {
        "error": f"Content-Type {kind}: the model takes no image; its signature serving_default "
        "takes x (float32 [N, 2]); send application/json"
    }
