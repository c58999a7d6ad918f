"""What a front must survive: slow clients, many of them, large bodies, and engines that fail."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.peer import Response, golden, peer
from support.saved_models import adder
from support.serving import LONG, Engine, Front, embedded_engine, front, post, whole_front

JSON = "application/json"
ONE = b'{"instances": [1]}'
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("faults")
    adder(folder / "model" / "1", 1.5)
    with embedded_engine(folder / "engine", model=folder / "model") as engine:
        yield engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("running")
    with whole_front(folder / "front", engine.port) as running:
        yield running


def answers(port: int) -> bool:
    ping = requests.get(f"http://127.0.0.1:{port}/ping", timeout=2)
    return ping.status_code == 200 and post(port, ONE, JSON).json() == {"predictions": [2.5]}


def ended(connection: socket.socket) -> bytes:
    """What came before the server hung up."""
    connection.settimeout(LONG)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


# Slow clients


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"POST /invoc",
        HEAD + b"X-Slow: a",
        HEAD + b"Content-Length: 100\r\n\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_a_client_that_says_no_more_is_cut_off(tmp_path: Path, engine: Engine, part: bytes) -> None:
    sooner = {
        "client_header_timeout 20s": "client_header_timeout 300ms",
        "client_body_timeout 20s": "client_body_timeout 300ms",
    }
    with (
        front(tmp_path / "front", engine.port, changes=sooner) as port,
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        slow.sendall(part)
        assert answers(port)
        assert ended(slow) == b""


def test_headers_that_trickle_in_have_a_limit_together(tmp_path: Path, engine: Engine) -> None:
    sooner = {"client_header_timeout 20s": "client_header_timeout 500ms"}
    with (
        front(tmp_path / "front", engine.port, changes=sooner) as port,
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        slow.sendall(HEAD)
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.1):
                try:
                    slow.sendall(b"X: a\r\n")
                except OSError:
                    return

        trickling = threading.Thread(target=trickle)
        trickling.start()
        assert ended(slow) == b""
        stop.set()
        trickling.join()


def test_hundreds_that_trickle_disturb_nobody(running: Front) -> None:
    slow = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(300)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(HEAD + (b"Content-Length: 100\r\n\r\n{" if number % 2 else b"X: "))
        assert answers(running.port)
    finally:
        for connection in slow:
            connection.close()


# Many clients


def test_a_thousand_connections_are_all_answered(running: Front) -> None:
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ONE) + ONE
    clients = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(1000)]
    try:
        for client in clients:
            client.sendall(request)
        ping = requests.get(f"http://127.0.0.1:{running.port}/ping", timeout=2)
        assert ping.status_code == 200
        with ThreadPoolExecutor(20) as pool:
            came = list(pool.map(ended, clients))
    finally:
        for client in clients:
            client.close()
    statuses = [int(answer.split(b" ", 2)[1]) for answer in came]
    assert set(statuses) <= {200, 503}  # who has not had a place within 10 s is told so
    assert statuses.count(200) > 500
    assert all(json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in came)
    assert answers(running.port)


# Large bodies


@pytest.mark.parametrize("length", [b"26214401", b"1000000000000", b"99999999999999999999"])
def test_what_is_too_large_is_refused_before_it_is_sent(running: Front, length: bytes) -> None:
    for more in (b"", b"Expect: 100-continue\r\n"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as client:
            client.sendall(HEAD + more + b"Content-Length: " + length + b"\r\n\r\n")
            answer = client.recv(65536)
        expected = b"400" if len(length) > 19 else b"413"
        assert answer.startswith(b"HTTP/1.1 " + expected + b" ")
        assert b'{"error":' in answer


def test_a_chunked_body_is_refused_where_it_becomes_too_large(running: Front) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * MEGABYTE

    url = f"http://127.0.0.1:{running.port}/invocations"
    try:
        answer = requests.post(url, data=chunks(), headers={"Content-Type": JSON}, timeout=LONG)
    except requests.ConnectionError:
        pass  # it may be told so while it still sends
    else:
        assert answer.status_code == 413
        assert "25 MB" in answer.json()["error"]
    assert answers(running.port)


@pytest.mark.parametrize("chunked", [False, True])
def test_25_mb_of_json_take_little_memory_and_no_disk(
    tmp_path: Path, engine: Engine, chunked: bool
) -> None:
    body = ONE + b" " * (25 * MEGABYTE - len(ONE))
    with whole_front(tmp_path / "front", engine.port) as running:
        assert answers(running.port)
        before = _peaks(running)
        url = f"http://127.0.0.1:{running.port}/invocations"
        pieces = (body[at : at + MEGABYTE] for at in range(0, len(body), MEGABYTE))
        sent = pieces if chunked else body
        answer = requests.post(url, data=sent, headers={"Content-Type": JSON}, timeout=LONG)
        assert answer.json() == {"predictions": [2.5]}
        growth = _peaks(running) - before
        assert [
            p for p in running.folder.rglob("*/*") if p.is_file() and p.stat().st_size > 1e6
        ] == []
    assert growth <= 3 * len(body)


def _peaks(running: Front) -> int:
    """Bytes that the workers have held at most, together."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in running.workers()]
    return sum(1024 * int(re.search(r"VmHWM:\s+(\d+)", text)[1]) for text in texts)  # type: ignore[index]


# HTTP that is none, or means to be two


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: -2\r\n\r\n{}",
        b"POST http://[/invocations HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.1\0") + b"\r\n",
    ],
)
def test_ambiguous_requests_are_refused_in_json(running: Front, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as client:
        client.sendall(request_bytes)
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (400|501) ", head), head
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["error"]
    assert answers(running.port)


def test_a_chunk_extension_does_not_reach_the_engine(tmp_path: Path) -> None:
    with (
        peer(lambda _: Response(200, golden("answer_one.json"))) as engine,
        front(tmp_path / "front", engine.port) as port,
        socket.create_connection(("127.0.0.1", port), timeout=LONG) as client,
    ):
        chunks = b"2;name=value\r\n{}\r\n0;last\r\nTrailer: x\r\n\r\n"
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        (asked,) = engine.requests
    assert (asked.headers["Content-Length"], asked.body) == ("2", b"{}")
    assert "Transfer-Encoding" not in asked.headers


CONDITIONS = [
    b"If-Match: *",
    b'If-Match: "a"',
    b"If-Match:",
    b"If-None-Match: *",
    b"If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT",
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("kind", ["", "image/png", "application/x-image", "application/jsonlines"])
def test_a_condition_is_refused_and_ends_no_worker(
    running: Front, condition: bytes, kind: str
) -> None:
    before = running.workers()
    head = HEAD.replace(JSON.encode(), kind.encode()) + b"Content-Length: 1\r\n"
    head = head if kind else b"GET /ping HTTP/1.1\r\nHost: x\r\n"
    request = head + b"Connection: close\r\n" + condition + b"\r\n\r\n" + (b"1" if kind else b"")
    with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as client:
        client.sendall(request)
        answer = ended(client)
    assert answer.startswith(b"HTTP/1.1 412 ")
    assert b'{"error":"If-Match, If-None-Match' in answer
    assert answers(running.port)
    assert running.workers() == before


@pytest.mark.parametrize("condition", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
def test_a_condition_is_refused_by_other_routes_as_well(running: Front, condition: str) -> None:
    url = f"http://127.0.0.1:{running.port}"
    headers = {"Content-Type": JSON, condition: "*"}
    refused = [
        requests.post(f"{url}/invocations", data=ONE, headers=headers, timeout=LONG),
        requests.get(f"{url}/execution-parameters", headers=headers, timeout=LONG),
    ]
    for answer in refused:
        assert answer.status_code == 412
        assert "remove the header" in answer.json()["error"]


# Engines


@contextmanager
def breaking_off() -> Iterator[int]:
    """The port of an engine that dies in the middle of each answer."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(begun + b'{"predictions": [')

        answering = threading.Thread(target=answer)
        answering.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        answering.join()


def test_an_answer_that_breaks_off_is_never_passed_for_a_whole_one(tmp_path: Path) -> None:
    with breaking_off() as engine, front(tmp_path / "front", engine) as port:
        for kind in ("application/x-image", "application/jsonlines"):
            answer = post(port, b"1", kind)
            assert answer.status_code == 502
            assert "closed the connection in the middle of its response" in answer.json()["error"]
        for kind in (JSON, "image/png"):  # already on its way
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                post(port, ONE, kind)
        ping = requests.get(f"http://127.0.0.1:{port}/ping", timeout=2)
        assert ping.status_code == 503


def test_requests_of_a_killed_engine_are_told_so(tmp_path: Path) -> None:
    adder(tmp_path / "model" / "1", 1)
    long = b'{"signature_name": "slow", "instances": [{"n": 2000000000}]}'
    with (
        embedded_engine(tmp_path / "engine", model=tmp_path / "model") as engine,
        front(tmp_path / "front", engine.port) as port,
        ThreadPoolExecutor(3) as pool,
    ):
        coming = [pool.submit(post, port, long, JSON) for _ in range(3)]
        while _connections_to(engine.port) < 3:
            time.sleep(0.02)
        os.kill(engine.pid, signal.SIGKILL)
        for answer in [c.result() for c in coming] + [post(port, ONE, JSON)]:
            assert answer.status_code == 502
            assert "the model server is not running" in answer.json()["error"]


def _connections_to(port: int) -> int:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") for line in lines)


def test_a_stopped_engine_is_a_504_and_recovers(tmp_path: Path, engine: Engine) -> None:
    settings = {"engine_seconds": 0.5}
    with front(tmp_path / "front", engine.port, settings=settings) as port:
        assert answers(port)
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            for kind in (JSON, "application/jsonlines"):
                answer = post(port, b"1", kind)
                assert answer.status_code == 504
                assert "did not respond within 0.5 s" in answer.json()["error"]
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        assert answers(port)
