"""With batching on, TensorFlow Serving never answers a request without rows: it gets none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.serving import LONG, front, post, raw

JSON = "application/json"


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[Request]]]:
    folder = tmp_path_factory.mktemp("batching")
    with (
        peer(lambda _: Response(200, golden("answer_one.json"))) as engine,
        front(folder / "front", engine.port, settings={"batching": True}) as port,
    ):
        yield port, engine.requests


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": []}',
        b'{"inputs":[]}',
        b' {"signature_name": "serving_default", "inputs" : [ \n ] }',
        b'{"inputs": {"x": []}}',
        b'{"inputs": {"x": [1], "y": []}}',
        b'{"\\u0069nputs": []}',
        b'{"inputs": []} and what TensorFlow Serving reads over',
        b'\xef\xbb\xbf{"inputs": [], "note": NaN}',
        b'{"inputs": [], "note": "' + b"x" * 90_000 + b'"}',
        b'{"note": "' + b"x" * 900_000 + b'", "inputs": []}',
        b'{"inputs": [], "inputs": ["a"]}',  # the first one counts
        b'{"note": ["]", {"inputs": [1]}], "inputs": []}',
        b'{"inputs": {"a": ["x", [1, 2], {"b64": "\\"]"}], "b": [ ]}}',
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_no_rows_are_refused(
    batching: tuple[int, list[Request]], body: bytes, chunked: bool
) -> None:
    port, asked = batching
    url = f"http://127.0.0.1:{port}/invocations"
    sent = iter([body]) if chunked else body
    answer = requests.post(url, data=sent, headers={"Content-Type": JSON}, timeout=LONG)
    assert answer.status_code == 400
    assert '"inputs" has no rows' in answer.json()["error"]
    assert asked == []


def test_zeros_before_the_length_do_not_hide_them(batching: tuple[int, list[Request]]) -> None:
    port, asked = batching
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 0000014\r\n\r\n"
    assert b'"error":' in raw(port, head + b'{"inputs": []}')
    assert asked == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [1]}',
        b'{"inputs": [[]]}',
        b'{"inputs": {"x": [1]}}',
        b'{"inputs": 1}',
        b'{"inputs": ["a"], "inputs": []}',
        b'{"instances": [{"inputs": []}]}',
        b'{"instances": ["\\"inputs\\": []"]}',
        b'{"instances": [1',
        json.dumps({"instances": ["x" * 200_000]}).encode(),
    ],
)
def test_the_rest_is_passed_on_as_it_is(batching: tuple[int, list[Request]], body: bytes) -> None:
    port, asked = batching
    assert post(port, body, JSON).content == golden("answer_one.json")
    (seen,) = asked
    assert seen.body == body
    asked.clear()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"inputs": []}', 400), (b'{"inputs": [1]}', 200), (b'{"inputs": [1], "note": "x"}', 200)],
)
def test_compressed_json_is_looked_into_as_well(
    batching: tuple[int, list[Request]], body: bytes, status: int
) -> None:
    port, asked = batching
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{port}/invocations"
    packed = gzip.compress(body)
    assert requests.post(url, data=packed, headers=headers, timeout=LONG).status_code == status
    assert [one.body for one in asked] == ([packed] if status == 200 else [])
    asked.clear()


def test_without_batching_they_are_the_engines_affair(tmp_path: Path) -> None:
    with (
        peer(lambda _: Response(200, b'{"outputs": []}')) as engine,
        front(tmp_path / "front", engine.port) as port,
    ):
        assert post(port, b'{"inputs": []}', JSON).json() == {"outputs": []}
