"""What the gateway knows of a model: its signatures, also after another version has been loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.peer import Request, Response, peer
from support.saved_models import adder, hasher
from support.serving import LONG, embedded_engine, front

# Routes of this test, which only Lua has.
ROUTES = """
        location = /signatures {
            content_by_lua_block {
                local found, reply = require("gateway.models").signatures(ngx.var.arg_path)
                ngx.status = found and 200 or reply.status
                ngx.say(require("cjson").encode(found or {}))
            }
        }
        location = /forget {
            content_by_lua_block { require("gateway.models").forget(ngx.var.arg_path) }
        }
        location / {"""
CHANGES = {"\n        location / {": ROUTES}
MODEL = "/v1/models/m"
METADATA = b'{"metadata": {"signature_def": {"signature_def": {"detect": {}}}}}'
GONE = Response(500, b"")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adder(tmp_path_factory.mktemp("model") / "m" / "1", 1.0).parent


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("signatures")
    with (
        embedded_engine(folder / "engine", m=model) as engine,
        front(folder / "front", engine.port, changes=CHANGES) as port,
    ):
        yield f"http://127.0.0.1:{port}"


def signatures(url: str, path: str = MODEL) -> Any:
    answer = requests.get(f"{url}/signatures?path={path}", timeout=LONG)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_they_have_names_types_and_shapes(url: str) -> None:
    found = signatures(url)
    assert found.keys() == {"serving_default", "slow", "classify"}
    assert found["serving_default"] == {
        "method": "tensorflow/serving/predict",
        "inputs": {"x": {"dtype": "DT_FLOAT", "shape": [-1]}},
        "outputs": {"y": {"dtype": "DT_FLOAT", "shape": [-1]}},
    }
    assert found == signatures(url, f"{MODEL}/versions/1")


def test_a_model_that_is_not_there_has_the_engines_status(url: str) -> None:
    answer = requests.get(f"{url}/signatures?path=/v1/models/other", timeout=LONG)
    assert answer.status_code == 404


def test_a_newer_version_is_noticed(url: str, model: Path) -> None:
    assert "x" in signatures(url)["serving_default"]["inputs"]
    hasher(model / "2.tmp").rename(model / "2")
    deadline = time.monotonic() + LONG
    while "text" not in signatures(url)["serving_default"]["inputs"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "x" in signatures(url, f"{MODEL}/versions/1")["serving_default"]["inputs"]


def test_a_hanging_model_server_does_not_take_them_away(tmp_path: Path) -> None:
    hangs, released = threading.Event(), threading.Event()

    def respond(_: Request) -> Response:
        return Response(200, METADATA) if not hangs.is_set() or released.wait(LONG) else GONE

    with (
        peer(respond) as engine,
        front(
            tmp_path / "front", engine.port, changes=CHANGES, settings={"engine_seconds": 1}
        ) as port,
    ):
        url = f"http://127.0.0.1:{port}"
        assert signatures(url).keys() == {"detect"}
        hangs.set()
        while len(engine.requests) < 2:
            assert signatures(url).keys() == {"detect"}
        for _ in range(3):  # one waits for the limit, the others know
            assert requests.get(f"{url}/signatures?path=/other", timeout=LONG).status_code == 504
        assert [one.path for one in engine.requests].count("/other/metadata") == 1
        released.set()


def test_they_are_requested_again_only_after_a_while_or_when_forgotten(tmp_path: Path) -> None:
    paths = [MODEL, f"{MODEL}/versions/1", "/v1/models/mm"]
    with (
        peer(lambda _: Response(200, METADATA)) as engine,
        front(tmp_path / "front", engine.port, changes=CHANGES) as port,
    ):
        url = f"http://127.0.0.1:{port}"
        before = time.monotonic()
        for path in paths * 3:
            assert signatures(url, path).keys() == {"detect"}
        if time.monotonic() - before < 1.0:  # on a very busy machine they may have expired
            assert [one.path for one in engine.requests] == [f"{path}/metadata" for path in paths]
        requests.get(f"{url}/forget?path={MODEL}", timeout=LONG)
        engine.requests.clear()
        for path in paths:
            signatures(url, path)
        assert {f"{path}/metadata" for path in paths[:2]} <= {one.path for one in engine.requests}
