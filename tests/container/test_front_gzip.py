"""Compressed JSON: what it unpacks to is bounded, and it reaches the model server as it came."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.serving import LONG, front, whole_front

MEGABYTE = 2**20
START = b'{"instances": [1]'


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "batching"])
def running(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[int, list[Request]]]:
    folder = tmp_path_factory.mktemp("gzip")
    settings = {"body_megabytes": 2, "batching": request.param}
    with (
        peer(lambda _: Response(200, golden("answer_one.json"))) as engine,
        front(folder / "front", engine.port, settings=settings) as port,
    ):
        yield port, engine.requests


def post(port: int, packed: bytes) -> requests.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{port}/invocations"
    return requests.post(url, data=packed, headers=headers, timeout=LONG)


def of(size: int) -> bytes:
    return gzip.compress(START + b" " * (size - len(START) - 1) + b"}", mtime=0)


@pytest.mark.parametrize("size", [100, 70_000, 2 * MEGABYTE])
def test_what_fits_is_sent_on_as_it_came(running: tuple[int, list[Request]], size: int) -> None:
    port, asked = running
    assert post(port, of(size)).status_code == 200
    (seen,) = asked
    assert (seen.body, seen.headers["Content-Encoding"]) == (of(size), "gzip")
    asked.clear()


@pytest.mark.parametrize("size", [2 * MEGABYTE + 1, 95_000_000])
def test_what_does_not_fit_never_reaches_the_model_server(
    running: tuple[int, list[Request]], size: int
) -> None:
    port, asked = running
    answer = post(port, of(size))
    assert answer.status_code == 413
    assert "larger than 2 MB" in answer.json()["error"]
    assert asked == []


@pytest.mark.parametrize(
    "packed",
    [b"no gzip", of(1000)[:-20], of(100) + b"more", of(100) + of(9_000_000)],
    ids=["other", "cut off", "with more", "two members"],
)
def test_what_is_broken_is_the_model_servers_to_reject(
    running: tuple[int, list[Request]], packed: bytes
) -> None:
    """It unpacks one member, and nothing after an error."""
    port, asked = running
    assert post(port, packed).status_code == 200
    (seen,) = asked
    assert seen.body == packed
    asked.clear()


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    with (
        peer(lambda _: Response(200, b"{}")) as engine,
        whole_front(tmp_path / "front", engine.port) as running,
    ):
        packed = of(95_000_000)
        assert len(packed) < MEGABYTE / 8
        assert post(running.port, packed).status_code == 413
        (worker,) = running.workers()
        peak = next(
            int(line.split()[1])
            for line in Path(f"/proc/{worker}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        assert peak < 90_000  # kB
