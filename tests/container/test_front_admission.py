"""Admission: so many requests at an engine, the others wait, and not for ever."""

from __future__ import annotations

import base64
import gzip
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.ports import free_port
from support.serving import LONG, await_gauge, front, post, whole_front

JSON = "application/json"
AVAILABLE = b'{"model_version_status": [{"state": "AVAILABLE"}]}'
KINDS = [JSON, "image/png", "application/jsonlines", "application/x-image"]


class Holding:
    """An engine that keeps requests until it is told to go on, and counts those it has at once."""

    def __init__(self, is_open: bool = False) -> None:
        self.requests: list[Request] = []
        self.most = 0
        self._at_once = 0
        self._changed = threading.Condition()
        self._is_open = is_open

    def __call__(self, asked: Request) -> Response:
        if not asked.path.endswith(":predict"):
            return Response(200, AVAILABLE)
        with self._changed:
            self.requests.append(asked)
            self._at_once += 1
            self.most = max(self.most, self._at_once)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_open, LONG)
            self._at_once -= 1
        return Response(200, golden("answer_one.json"))

    def await_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, LONG)

    def go_on(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


@contextmanager
def asking(
    port: int, count: int, body: bytes = b"{}", kind: str = JSON
) -> Iterator[list[Future[requests.Response]]]:
    with ThreadPoolExecutor(count) as pool:
        yield [pool.submit(post, port, body, kind) for _ in range(count)]


def test_an_engine_has_no_more_than_its_places(tmp_path: Path) -> None:
    engine_says = Holding()
    with (
        peer(engine_says) as engine,
        front(tmp_path / "front", engine.port, places=3) as port,
        asking(port, 12) as coming,
    ):
        engine_says.await_requests(3)
        ping = requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG)
        assert ping.status_code == 200  # which needs no place
        engine_says.go_on()
        assert [c.result().status_code for c in coming] == [200] * 12
    assert engine_says.most == 3
    assert len(engine_says.requests) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_who_waited_is_answered_as_if_it_had_not(tmp_path: Path, kind: str) -> None:
    engine_says = Holding()
    body = b'{"instances": [%s]}' % (b"1.5, " * 100_000) if kind == JSON else b"1.5"
    with peer(engine_says) as engine, front(tmp_path / "front", engine.port, places=1) as port:
        with asking(port, 1) as first:
            engine_says.await_requests(1)
            with asking(port, 1, body, kind) as second:
                threading.Timer(0.2, engine_says.go_on).start()
                waited = second[0].result()
        assert first[0].result().status_code == 200
        at_once = post(port, body, kind)
    assert (waited.status_code, waited.content) == (at_once.status_code, at_once.content)
    assert waited.headers["Content-Type"] == at_once.headers["Content-Type"]
    _, second_asked, third_asked = engine_says.requests[:3]
    assert (second_asked.path, second_asked.body) == (third_asked.path, third_asked.body)
    assert second_asked.headers == third_asked.headers


def test_who_waits_stays_compressed_and_keeps_its_attributes(tmp_path: Path) -> None:
    engine_says = Holding()
    headers = {
        "Content-Type": JSON,
        "Content-Encoding": "gzip",
        "X-Amzn-SageMaker-Custom-Attributes": "tfs-model-version=4",
    }
    with (
        peer(engine_says) as engine,
        front(tmp_path / "front", engine.port, places=1) as port,
        asking(port, 1),
        ThreadPoolExecutor(1) as pool,
    ):
        engine_says.await_requests(1)
        url = f"http://127.0.0.1:{port}/invocations"
        body = gzip.compress(b'{"instances": [1]}')
        coming = pool.submit(requests.post, url, data=body, headers=headers, timeout=LONG)
        threading.Timer(0.2, engine_says.go_on).start()
        assert coming.result().status_code == 200
    asked = engine_says.requests[1]
    assert asked.path == "/v1/models/model/versions/4:predict"
    assert (asked.headers["Content-Encoding"], asked.body) == ("gzip", body)


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    engine_says = Holding()
    settings = {"wait_seconds": 1}
    with (
        peer(engine_says) as engine,
        front(tmp_path / "front", engine.port, places=1, settings=settings) as port,
        asking(port, 1) as first,
    ):
        engine_says.await_requests(1)
        for kind in KINDS:
            begin = time.monotonic()
            answer = post(port, b"1", kind)
            assert 0.9 < time.monotonic() - begin < LONG / 2
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert "no free slot within 1 s" in answer.json()["error"]
        engine_says.go_on()
        assert first[0].result().status_code == 200


def test_a_dead_engine_is_not_waited_for(tmp_path: Path) -> None:
    settings = {"wait_seconds": 60}
    with front(tmp_path / "front", free_port(), free_port(), settings=settings) as port:
        for kind in KINDS:
            answer = post(port, b"1", kind)
            assert answer.status_code == 502
            assert "the model server is not running" in answer.json()["error"]


def test_a_body_that_is_still_coming_takes_no_place(tmp_path: Path) -> None:
    with (
        peer(Holding(is_open=True)) as engine,
        front(tmp_path / "front", engine.port, places=1) as port,
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        slow.sendall(head + b"Content-Length: 9\r\nConnection: close\r\n\r\n{")
        assert post(port, b"{}", JSON).status_code == 200
        slow.sendall(b'"a": 11}')
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_engine_with_the_fewest_requests_is_next(tmp_path: Path) -> None:
    stuck, free = Holding(), Holding()
    with (
        peer(stuck) as one,
        peer(free) as other,
        front(tmp_path / "front", one.port, other.port) as port,
        asking(port, 8) as coming,
    ):
        stuck.await_requests(4)
        free.await_requests(4)
        free.go_on()
        answered = as_completed(coming, LONG)
        assert [next(answered).result().status_code for _ in range(4)] == [200] * 4
        # nginx counts a request for a moment more when it is answered, but hardly all four.
        for _ in range(10):
            assert post(port, b"{}", JSON).status_code == 200
        stuck.go_on()
        assert {c.result().status_code for c in coming} == {200}
    assert len(stuck.requests) == 4
    assert len(free.requests) == 14


def test_who_waits_when_nginx_is_told_to_leave_is_answered(tmp_path: Path) -> None:
    engine_says = Holding()
    lines = b"1\n2\n3\n4\n5\n"
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port, places=2) as running,
        asking(running.port, 6) as some,
        asking(running.port, 1, lines, "application/jsonlines") as more,
    ):
        engine_says.await_requests(2)
        await_gauge(running.port, "queued", 6 + 5 - 2)
        running.program.send(signal.SIGQUIT)
        engine_says.go_on()
        assert [c.result().status_code for c in some + more] == [200] * 7
        assert running.program.ended()[0] == 0
    assert len(engine_says.requests) == 6 + 5


class Timed:
    """An engine that takes 0.2 s for each request, and counts those it has at once."""

    def __init__(self) -> None:
        self.most = self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, _: Request) -> Response:
        with self._lock:
            self._at_once += 1
            self.most = max(self.most, self._at_once)
        time.sleep(0.2)
        with self._lock:
            self._at_once -= 1
        return Response(200, golden("answer_one.json"))


def test_96_clients_share_32_slots(tmp_path: Path) -> None:
    """None is turned away; bench/gateway.py has the times."""
    engine_says = Timed()
    with peer(engine_says) as engine, front(tmp_path / "front", engine.port) as port:
        for _ in range(3):
            with asking(port, 96) as coming:
                assert [c.result().status_code for c in coming] == [200] * 96
    assert engine_says.most == 32


@pytest.mark.parametrize("kind", KINDS)
def test_the_queue_is_in_order_of_arrival(tmp_path: Path, kind: str) -> None:
    engine_says = Holding()
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port, places=1) as running,
        asking(running.port, 1) as first,
        ThreadPoolExecutor(8) as pool,
    ):
        engine_says.await_requests(1)
        waiting = []
        for number in range(8):
            body = b"%d" % (1000 + 111 * number)
            waiting.append(pool.submit(post, running.port, body, kind))
            await_gauge(running.port, "queued", number + 1)
        engine_says.go_on()
        assert {c.result().status_code for c in first + waiting} == {200}
    sent = [b"%d" % (1000 + 111 * number) for number in range(8)]
    if kind in ("image/png", "application/x-image"):
        sent = [base64.b64encode(body) for body in sent]
    bodies = [asked.body for asked in engine_says.requests[1:]]
    assert len(bodies) == 8
    assert all(one in body for one, body in zip(sent, bodies, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_who_leaves_while_it_waits_is_never_computed(tmp_path: Path, kind: str) -> None:
    engine_says = Holding()
    request = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Type: "
    request += kind.encode() + b"\r\n\r\n1234"
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port, places=1) as running,
        asking(running.port, 1) as first,
    ):
        engine_says.await_requests(1)
        waiting = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(8)]
        for client in waiting:
            client.sendall(request)
        await_gauge(running.port, "queued", 8)
        for client in waiting:
            client.close()
        assert [running.log()["status"] for _ in range(8)] == [499] * 8
        await_gauge(running.port, "queued", 0)
        engine_says.go_on()
        assert first[0].result().status_code == 200
        assert post(running.port, b"{}", JSON).status_code == 200
    assert len(engine_says.requests) == 2


def test_lines_whose_client_leaves_are_not_continued(tmp_path: Path) -> None:
    """Those at the engine keep their slots until it is done, the others are not sent."""
    engine_says = Holding()
    body = b"1\n" * 100
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/jsonlines\r\n"
    settings = {"records_in_flight": 2}
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port, places=2, settings=settings) as running,
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            engine_says.await_requests(2)
        with asking(running.port, 1) as late:
            await_gauge(running.port, "queued", 1)
            assert len(engine_says.requests) == 2
            engine_says.go_on()
            assert late[0].result().status_code == 200
        assert {running.log()["status"] for _ in range(2)} == {200, 499}
    assert len(engine_says.requests) == 3


def test_queue_and_engine_together_have_a_limit(tmp_path: Path) -> None:
    engine_says = Holding()
    settings = {"engine_seconds": 1.5, "wait_seconds": 60}
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port, places=1, settings=settings) as running,
    ):
        with asking(running.port, 1):  # has the slot for 1.5 s
            engine_says.await_requests(1)
            time.sleep(0.7)
            for kind in KINDS:
                begin = time.monotonic()
                with asking(running.port, 1, b"1", kind) as late:
                    answer = late[0].result()
                assert answer.status_code in (503, 504)
                assert 1.4 < time.monotonic() - begin < 2.5
        engine_says.go_on()


def test_a_client_that_leaves_leaves_its_place_to_the_engine(tmp_path: Path) -> None:
    """The engine goes on with it, so that another in its place would be one too many."""
    engine_says = Holding()
    request = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request += b"Content-Length: 2\r\n\r\n{}"
    settings = {"wait_seconds": 1}
    with (
        peer(engine_says) as engine,
        front(tmp_path / "front", engine.port, places=1, settings=settings) as port,
    ):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request)
            engine_says.await_requests(1)
        assert post(port, b"{}", JSON).status_code == 503
        engine_says.go_on()
        assert post(port, b"{}", JSON).status_code == 200


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_client_that_hangs_up_is_answered_once(tmp_path: Path, kind: str) -> None:
    engine_says = Holding()
    request = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Type: "
    with (
        peer(engine_says) as engine,
        whole_front(tmp_path / "front", engine.port) as running,
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(request + kind.encode() + b"\r\n\r\n1")
            engine_says.await_requests(1)
            at_once = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)  # by a reset
        engine_says.go_on()
        assert running.log()["path"] == "/invocations"
        assert post(running.port, b"1", kind).status_code == 200
        assert running.program.errors.read_text() == ""


def test_too_many_large_bodies_at_once_are_refused(tmp_path: Path) -> None:
    settings = {"memory_bytes": 5_000_000}  # a quarter of it for bodies
    with (
        peer(Holding(is_open=True)) as engine,
        front(tmp_path / "front", engine.port, settings=settings) as port,
        socket.create_connection(("127.0.0.1", port)) as first,
    ):
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        first.sendall(head + b"Content-Length: 1000000\r\n\r\n{")
        deadline = time.monotonic() + LONG
        while (second := post(port, b" " * 1_000_000, JSON)).status_code == 200:
            assert time.monotonic() < deadline  # nginx has not read of the first one yet
        assert second.status_code == 503
        assert second.headers["Retry-After"] == "1"
        assert "large bodies" in second.json()["error"]
        assert post(port, b"{}", JSON).status_code == 200


def test_a_client_that_reads_slowly_keeps_no_slot(tmp_path: Path) -> None:
    """The gateway has the whole response of 3 MB as soon as the engine is done with it."""
    large = Response(200, b'{"predictions": ["' + b"x" * 3_000_000 + b'"]}')
    request = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    other = free_port()  # where the kernel takes little of a response
    also = {"include listen.conf;": f"include listen.conf; listen 127.0.0.1:{other} sndbuf=8k;"}
    with (
        peer(lambda asked: large if asked.body == b"{}" else Response(200, b"{}")) as engine,
        whole_front(tmp_path / "front", engine.port, places=1, changes=also) as running,
        socket.socket() as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", other))
        slow.sendall(request + b"Content-Length: 2\r\n\r\n{}")
        slow.recv(1)
        assert post(running.port, b"{ }", JSON).status_code == 200
