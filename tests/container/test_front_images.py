"""Bare pictures: as TensorFlow Serving's JSON, drawn, and in the form of SageMaker's built-in
algorithm."""

from __future__ import annotations

import base64
import json
import random
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import requests
from PIL import Image
from support.peer import Request, Response, classic_detector, golden, named_detector, peer
from support.serving import (
    LONG,
    await_gauge,
    embedded_engine,
    front,
    post,
    predict_json,
    tiny_detector,
)

PICTURE = golden("picture.jpg")


def ask(port: int, picture: bytes, kind: str, accept: str) -> requests.Response:
    headers = {"Content-Type": kind, "Accept": accept}
    url = f"http://127.0.0.1:{port}/invocations"
    return requests.post(url, data=picture, headers=headers, timeout=LONG)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A detector with all of the exporter's signatures."""
    folder = tmp_path_factory.mktemp("pictures")
    model = tiny_detector(folder / "model" / "1", named=True).parent
    with (
        embedded_engine(folder / "engine", model=model) as engine,
        front(folder / "front", engine.port) as port,
    ):
        yield port


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One of the Object Detection API's, with a single signature."""
    with (
        peer(classic_detector) as engine,
        front(tmp_path_factory.mktemp("classic") / "front", engine.port) as port,
    ):
        yield port


def test_odd_files_are_answered_as_their_json(port: int, data: Path) -> None:
    files = [
        f for f in sorted((data / "odd_images").iterdir()) if f.suffix not in (".txt", ".json")
    ]
    assert files
    answered = 0
    for file in files:
        bare = post(port, file.read_bytes(), "image/jpeg")
        wrapped = post(port, predict_json(file.read_bytes()), "application/json")
        assert (bare.status_code, bare.content) == (wrapped.status_code, wrapped.content), file
        assert bare.status_code in (200, 400), file
        answered += bare.status_code == 200
    assert answered > len(files) / 2


# Drawn


@pytest.mark.parametrize("kind", ["image/png", "application/x-image"])
@pytest.mark.parametrize(
    "accept",
    [
        *("image/jpeg", "IMAGE/JPG;q=0.9", "image/*", "image/jpeg, */*", "text/html, image/jpeg"),
        *("image/avif,image/*,*/*;q=0.8", "application/json;q=0, image/jpeg;q=0.1"),
    ],
)
def test_a_picture_is_drawn_for_whoever_asks_for_one(port: int, kind: str, accept: str) -> None:
    answer = ask(port, golden("picture.png"), kind, accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    drawn, original = (Image.open(BytesIO(f)) for f in (answer.content, golden("picture.png")))
    assert (drawn.format, drawn.size) == ("JPEG", original.size)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "image/png, application/*;q=0.5", "image/*;q=0.5, */*"]
)
def test_others_get_json(port: int, accept: str) -> None:
    answer = ask(port, PICTURE, "image/jpeg", accept)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content == post(port, PICTURE, "image/jpeg").content


def test_a_model_that_cannot_draw_says_so(tmp_path: Path) -> None:
    def refuse(_: Request) -> Response:
        return Response(400, golden("answer_no_signature.json").replace(b"detect", b"draw"))

    with peer(refuse) as engine, front(tmp_path / "front", engine.port) as port:
        answer = ask(port, PICTURE, "image/jpeg", "image/jpeg")
    assert answer.status_code == 406
    assert 'no signature "draw"' in answer.json()["error"]


def test_a_heic_image_is_refused_by_name(port: int) -> None:
    answer = post(port, b"\0\0\0\x18ftypheic", "image/heic")
    assert answer.status_code == 415
    assert "Content-Type image/heic: not supported; send " in answer.json()["error"]


def test_what_cannot_be_drawn_is_the_models_to_refuse(port: int) -> None:
    answer = ask(port, b"junk", "image/jpeg", "image/jpeg")
    assert answer.status_code == 400
    assert "Unknown image file format" in answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "accept"),
    [
        ("application/json", "image/jpeg"),
        ("application/x-image", "text/csv"),
        ("image/png", "image/png"),
        ("image/png", "image/jpeg;q=0"),
        ("image/png", "application/jsonx"),
        ("application/jsonlines", "image/jpeg"),
    ],
)
def test_what_cannot_be_given_is_not_given_as_something_else(
    port: int, kind: str, accept: str
) -> None:
    answer = ask(port, b"{}", kind, accept)
    assert answer.status_code == 406
    assert f"Accept {accept}" in answer.json()["error"]


# The built-in algorithm's form

BOXES = [[0.2, 0.1, 0.7, 0.6], [0.0, 0.0, 1.0, 1.0], [0.5, 0.25, 0.875, 0.75]]
FORM = {"normalized_boxes": BOXES, "classes": [1, 37, 2], "scores": [0.987654328, 0.5, 0.125]}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with (
        peer(named_detector) as engine,
        front(tmp_path_factory.mktemp("named") / "front", engine.port) as port,
    ):
        yield port


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json;charset=utf-8"])
def test_the_form_is_the_algorithms(named: int, classic: int, accept: str) -> None:
    for port in (named, classic):
        answer = ask(port, PICTURE, "application/x-image", accept)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == FORM


def test_verbose_adds_labels_that_clients_look_up_by_class(named: int, classic: int) -> None:
    """As AWS's notebooks do: `[labels[int(index)] for index in classes]`."""
    expected = [
        (named, ["Abyssinian", "yorkshire_terrier", "american_bulldog"]),
        (classic, ["1", "37", "2"]),  # without names they go by their numbers
    ]
    for port, names in expected:
        answer = ask(port, PICTURE, "application/x-image", "application/json;verbose").json()
        assert [answer["labels"][int(index)] for index in answer["classes"]] == names
        assert {**answer, "labels": None} == {**FORM, "labels": None}


@pytest.mark.parametrize(
    ("parameters", "count"),
    [(";n_predictions=2", 2), (";verbose;n_predictions=1", 1), ("; N_Predictions=99 ;verbose", 3)],
)
def test_the_best_are_kept(named: int, parameters: str, count: int) -> None:
    answer = ask(named, PICTURE, "application/x-image", "application/json" + parameters).json()
    assert answer["scores"] == FORM["scores"][:count]
    assert answer["normalized_boxes"] == BOXES[:count]
    assert ("labels" in answer) == ("verbose" in parameters)


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", ""])
def test_a_number_that_is_none_is_refused(named: int, count: str) -> None:
    accept = f"application/json;n_predictions={count}"
    answer = ask(named, PICTURE, "application/x-image", accept)
    assert answer.status_code == 400
    assert "n_predictions must be a whole number" in answer.json()["error"]


def test_a_real_detector_answers_in_that_form_too(port: int) -> None:
    answer = ask(port, PICTURE, "application/x-image", "application/json;verbose").json()
    assert answer["classes"] == [3] and answer["labels"][3] == "Abyssinian"
    ((ymin, xmin, ymax, xmax),) = post(port, PICTURE, "image/jpeg").json()["predictions"][0][
        "detection_boxes"
    ][:1]
    assert answer["normalized_boxes"] == [[xmin, ymin, xmax, ymax]]


def test_a_model_that_detects_nothing_says_so(tmp_path: Path) -> None:
    def adder(asked: Request) -> Response:
        return Response(200, b'{\n    "predictions": [2.5\n    ]\n}')

    with peer(adder) as engine, front(tmp_path / "front", engine.port) as port:
        answer = ask(port, PICTURE, "application/x-image", "application/json")
        assert answer.status_code == 415
        assert "not a detector" in answer.json()["error"]


def test_numbers_that_are_none_are_told_of(tmp_path: Path) -> None:
    def broken(_: Request) -> Response:
        return Response(200, golden("answer_nan.json"))

    with peer(broken) as engine, front(tmp_path / "front", engine.port) as port:
        answer = ask(port, PICTURE, "application/x-image", "application/json")
        assert answer.status_code == 500
        assert "NaN" in answer.json()["error"]
        assert post(port, PICTURE, "image/jpeg").content == golden("answer_nan.json")


def test_bytes_that_are_no_text_are_passed_on(tmp_path: Path) -> None:
    """TensorFlow Serving writes strings as the model made them."""
    said = b'{\n    "predictions": ["\xff\xfe"\n    ]\n}'
    with (
        peer(lambda _: Response(200, said)) as engine,
        front(tmp_path / "front", engine.port) as port,
    ):
        for kind in ("application/json", "image/png"):
            assert post(port, b"1", kind).content == said
        lines = post(port, b"1\n2\n", "application/jsonlines")
        assert lines.content == b'{"predictions": ["\xff\xfe"]}\n' * 2
        assert ask(port, PICTURE, "image/png", "image/jpeg").status_code == 406
        assert ask(port, PICTURE, "application/x-image", "*/*").status_code == 415


def test_a_refusal_in_that_form_is_the_models(port: int) -> None:
    answer = ask(port, b"junk", "application/x-image", "application/json")
    assert answer.status_code == 400
    assert json.loads(answer.content)["error"]


@pytest.mark.parametrize("size", [1, 2, 49_151, 49_152, 49_153, 3_000_000])
@pytest.mark.parametrize(
    ("kind", "accept"),
    [("image/png", "*/*"), ("image/png", "image/jpeg"), ("application/x-image", "*/*")],
)
def test_the_model_gets_every_byte(tmp_path: Path, size: int, kind: str, accept: str) -> None:
    picture = random.Random(size).randbytes(size)
    with (
        peer(lambda _: Response(200, b'{"predictions": [1]}')) as engine,
        front(tmp_path / "front", engine.port) as port,
    ):
        ask(port, picture, kind, accept)
    (asked,) = engine.requests
    (instance,) = json.loads(asked.body)["instances"]
    assert base64.b64decode(instance["b64"]) == picture


def test_large_pictures_come_in_pieces_and_one_after_the_other(tmp_path: Path) -> None:
    """The gateway reads them itself: they must end where the next request begins."""
    pictures = [random.Random(n).randbytes(2_000_000 + n) for n in range(2)]
    head = "POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\n"
    heads = [f"{head}Content-Length: {len(picture)}\r\n".encode() for picture in pictures]
    with (
        peer(lambda _: Response(200, b"{}")) as engine,
        front(tmp_path / "front", engine.port) as port,
        socket.create_connection(("127.0.0.1", port), timeout=LONG) as client,
        client.makefile("rb") as answers,
    ):
        with socket.create_connection(("127.0.0.1", port)) as leaver:
            leaver.sendall(heads[0] + b"\r\n" + pictures[0][:-1])
            await_gauge(port, "body_memory_bytes", 3 * len(pictures[0]))
        await_gauge(port, "body_memory_bytes", 0)
        client.sendall(heads[0] + b"Expect: 100-continue\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        client.sendall(pictures[0] + heads[1] + b"Connection: close\r\n\r\n" + pictures[1])
        assert answers.read().count(b"HTTP/1.1 200 OK\r\n") == 2
    sent = [json.loads(asked.body)["instances"] for asked in engine.requests if asked.body]
    assert [base64.b64decode(instances[0]["b64"]) for instances in sent] == pictures
