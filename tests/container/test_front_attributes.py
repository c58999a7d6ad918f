"""X-Amzn-SageMaker-Custom-Attributes: which model, version and method answer a request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.saved_models import adder
from support.serving import LONG, embedded_engine, front

JSON = "application/json"
ONE = b'{"instances": [1]}'

Ask = Callable[..., requests.Response]


def asking(port: int) -> Ask:
    def ask(attributes: str, body: bytes = ONE, kind: str = JSON, **more: str) -> requests.Response:
        headers = {"Content-Type": kind, "X-Amzn-SageMaker-Custom-Attributes": attributes, **more}
        url = f"http://127.0.0.1:{port}/invocations"
        return requests.post(url, data=body, headers=headers, timeout=LONG)

    return ask


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Two models: `first` adds 1, 2 or 3 by its version, `other.b` adds 10."""
    folder = tmp_path_factory.mktemp("attributes")
    for number in (1, 2, 3):
        adder(folder / "first" / str(number), number)
    adder(folder / "other.b" / "7", 10)
    models = {"first": folder / "first", "other.b": folder / "other.b"}
    settings = {"models": ["first", "other.b"]}
    with (
        embedded_engine(folder / "engine", **models) as engine,
        front(folder / "front", engine.port, settings=settings) as port,
    ):
        yield asking(port)


def added(answer: requests.Response) -> float:
    assert answer.status_code == 200, answer.text
    (y,) = answer.json()["predictions"]
    return float(y) - 1


@pytest.mark.parametrize(
    ("attributes", "number"),
    [
        ("", 3),
        ("trace-id=1,team=pets", 3),
        ("tfs-model-version=1", 1),
        ("tfs-model-version=002", 2),
        ("TFS-Model-Version = 2 ", 2),
        ("a=b,  tfs-model-VERSION=1  , c", 1),
        ("tfs-model-name=first", 3),
        ("tfs-model-name=other.b", 10),
        ("TFS-MODEL-NAME=other.b,tfs-model-version=7", 10),
        ("tfs-method=predict", 3),
        ("tfs-method=Predict,tfs-model-version=2", 2),
        ("x-tfs-model-version=1", 3),
        ("note=tfs-model-version", 3),
    ],
)
def test_the_model_asked_for_answers(ask: Ask, attributes: str, number: float) -> None:
    assert added(ask(attributes)) == number


def test_pictures_and_lines_go_to_that_model_too(ask: Ask) -> None:
    lines = ask("tfs-model-name=other.b", b"1\n2\n", "application/jsonlines")
    assert lines.text == '{"predictions": [11.0]}\n{"predictions": [12.0]}\n'
    picture = ask("tfs-model-version=9", b"picture", "image/png")
    assert picture.status_code == 404
    assert "Specific(first, 9)" in picture.json()["error"]


def test_classify_and_regress_are_the_engines_own_routes(ask: Ask) -> None:
    body = json.dumps({"signature_name": "classify", "examples": [{"x": 2.5, "tag": "cat"}]})
    answer = ask("TFS-Method=classify", body.encode())
    assert answer.json() == {"results": [[["cat", 2.5]]]}
    refused = ask("tfs-method=regress", body.encode())
    assert (refused.status_code, "error" in refused.json()) == (400, True)


def test_a_version_that_is_not_loaded_is_not_found(ask: Ask) -> None:
    answer = ask("tfs-model-version=12")
    assert answer.status_code == 404
    assert "Specific(first, 12)" in answer.json()["error"]


# What is refused, and never reaches the engine


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, list[Request]]]:
    folder = tmp_path_factory.mktemp("watched")
    with (
        peer(lambda _: Response(200, golden("answer_one.json"))) as engine,
        front(folder / "front", engine.port, settings={"models": ["first", "other.b"]}) as port,
    ):
        yield asking(port), engine.requests


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ("tfs-model-version", "tfs-model-version"),
        ("tfs-model-version=", "tfs-model-version"),
        ("tfs-model-version=latest", "tfs-model-version"),
        ("tfs-model-version=-1", "tfs-model-version"),
        ("tfs-model-version=1.0", "tfs-model-version"),
        ("tfs-model-version=0x1", "tfs-model-version"),
        ("tfs-model-version=1 2", "tfs-model-version"),
        ("tfs-model-version=99999999999999999999", "tfs-model-version"),
        ("tfs-model-version=../../other/versions/1", "tfs-model-version"),
        ("tfs-model-version=1:predict?x=", "tfs-model-version"),
        ("tfs-model-version=1/../../x", "tfs-model-version"),
        ("tfs-model-version=1%2F..", "tfs-model-version"),
        ("tfs-model-version=1;tfs-method=regress", "tfs-model-version"),
        ("tfs-model-version=1,tfs-model-version=2", "tfs-model-version"),
        ("tfs-model-version=1,a=b, TFS-MODEL-VERSION=1", "tfs-model-version"),
        ("tfs-method=", "tfs-method"),
        ("tfs-method=metadata", "tfs-method"),
        ("tfs-method=predict/../x", "tfs-method"),
        ("tfs-method=predict,tfs-method=classify", "tfs-method"),
        ("tfs-model-name=", "tfs-model-name"),
        ("tfs-model-name=third", "tfs-model-name"),
        ("tfs-model-name=First", "tfs-model-name"),
        ("tfs-model-name=firs", "tfs-model-name"),
        ("tfs-model-name=otherxb", "tfs-model-name"),
        ("tfs-model-name=other", "tfs-model-name"),
        ("tfs-model-name=b", "tfs-model-name"),
        ("tfs-model-name=first=first", "tfs-model-name"),
        ("tfs-model-name=first other.b", "tfs-model-name"),
        ("tfs-model-name=..", "tfs-model-name"),
        ("tfs-model-name=first/versions/1", "tfs-model-name"),
        ("tfs-model-name=first,tfs-model-name=other.b", "tfs-model-name"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    watched: tuple[Ask, list[Request]], attributes: str, named: str
) -> None:
    ask, requests_seen = watched
    for kind in (JSON, "image/png", "application/jsonlines", "application/x-image"):
        answer = ask(attributes, kind=kind)
        assert answer.status_code == 400
        assert f"Custom-Attributes: {named} must be given once" in answer.json()["error"]
    assert requests_seen == []


@pytest.mark.parametrize("kind", ["image/png", "application/jsonlines", "application/x-image"])
def test_other_methods_are_for_json_only(watched: tuple[Ask, list[Request]], kind: str) -> None:
    ask, requests_seen = watched
    answer = ask("tfs-method=classify", kind=kind)
    assert answer.status_code == 400
    assert "tfs-method=classify works with application/json only" in answer.json()["error"]
    assert requests_seen == []


def test_the_engine_is_told_nothing_of_the_client(watched: tuple[Ask, list[Request]]) -> None:
    ask, requests_seen = watched
    more: dict[str, Any] = {"Authorization": "secret", "Cookie": "secret", "TE": "trailers"}
    assert ask("tfs-model-version=1", **more).status_code == 200
    (asked,) = requests_seen
    assert asked.path == "/v1/models/first/versions/1:predict"
    assert asked.headers.keys() == {"Content-Type", "Content-Length", "Host"}
    assert asked.body == ONE
    requests_seen.clear()
