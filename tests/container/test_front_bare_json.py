"""JSON without `instances` around it, as AWS's container takes it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
import requests
from support.peer import Peer, Response, peer
from support.serving import LONG, front

JSON = "application/json"


@pytest.fixture(scope="module", params=[False, True], ids=["", "batching"])
def sent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Peer]]:
    folder = tmp_path_factory.mktemp("bare")
    settings = {"batching": request.param}
    with (
        peer(lambda _: Response(200, b"{}")) as engine,
        front(folder / "front", engine.port, settings=settings) as port,
    ):
        yield port, engine


def arrives(sent: tuple[int, Peer], body: bytes, **headers: str) -> bytes:
    """The body that the model server gets."""
    port, engine = sent
    url = f"http://127.0.0.1:{port}/invocations"
    answer = requests.post(url, data=body, headers={"Content-Type": JSON, **headers}, timeout=LONG)
    assert answer.status_code == 200, answer.text
    return engine.requests[-1].body


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b"-1.5e3",
        b'"great movie"',
        b'"[[1]]"',
        b"true",
        b"NaN",
        b"[1.0, 2.0, 5.0]",
        b"[]",
        b'["a]", "b"]',
        b'{"x": [1, 2]}',
        b'{"b64": "YWJj"}',
        b'{"question": "\\"instances\\"", "context": {"inputs": 1}}',
        b'{"a": "\\u0069nputs", "b": [{"examples": 1}]}',
        b'{"x": "' + b"y" * 3_000_000 + b'"}',
        b"[" + b"1.5," * 300_000 + b"1]",
    ],
    ids=lambda body: body[:20].decode(),
)
def test_one_instance(sent: tuple[int, Peer], body: bytes) -> None:
    expected = b'{"instances":[' + body + b"]}"
    assert arrives(sent, body) == expected
    assert arrives(sent, b"\xef\xbb\xbf \r\n" + body) == expected
    assert arrives(sent, gzip.compress(body), **{"Content-Encoding": "gzip"}) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"[[1.0, 2.0], [3.0, 4.0]]",
        b" [\n [[]]]\n",
        b'[{"x": 1}, {"x": 2}]',
        b'[{"inputs": 3}]',
        b'[{"b64": "YWJj"}]',
        b"[" + b"[1.5,2]," * 300_000 + b"[1]]",
    ],
    ids=lambda body: body[:20].decode(),
)
def test_several_instances(sent: tuple[int, Peer], body: bytes) -> None:
    assert arrives(sent, body) == b'{"instances":' + body.lstrip() + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1, 2]}',
        b' {"signature_name": "s", "inputs": {"x": [1]}} trailing',
        b'\xef\xbb\xbf{"inputs": [1]}',
        b'{"context": {"a": 1}, "examples": [{"b": 2}]}',
        b'{"note": [{"a": "}"}], "instances": [1]}',
        b'{"\\u0069nputs": [1]}',
        b'{"signature_name": "s"}',
        b"{}",
        b"   ",
        b"null",
        b"{broken",
        b"[1, 2",
        b"[1]]",
        b"[1] [2]",
        b"1 2",
        b'1],"signature_name":"x","y":[2',
        b'{"x": 1}}',
        b'{"x" 1}',
        b'"open',
        b"not JSON",
        b"\x00\xff",
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_everything_else_arrives_unchanged(sent: tuple[int, Peer], body: bytes) -> None:
    assert arrives(sent, body) == body


def test_no_content_type_is_json_as_well(sent: tuple[int, Peer]) -> None:
    assert arrives(sent, b"[1]", **{"Content-Type": ""}) == b'{"instances":[[1]]}'
