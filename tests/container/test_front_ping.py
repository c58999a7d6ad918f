"""GET /ping: 200 only while every engine has every model ready, and always in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, peer
from support.ports import free_port
from support.saved_models import adder
from support.serving import LONG, await_port, embedded_engine, front, post, whole_front


def ping(port: int) -> requests.Response:
    begin = time.monotonic()
    answer = requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG)
    assert time.monotonic() - begin < 2.0, "SageMaker waits no longer"
    return answer


def reason(port: int) -> str:
    answer = ping(port)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/json"
    return str(answer.json()["error"])


@contextmanager
def saying(**states: str) -> Iterator[int]:
    """An engine whose models are in these states."""

    def answer(asked: Request) -> Response:
        state = states.get(asked.path.rsplit("/", 1)[1])
        if state is None:
            return Response(404, b'{"error": "Could not find any versions of model"}')
        return Response(200, b'{"model_version_status": [{"state": "%s"}]}' % state.encode())

    with peer(answer) as engine:
        yield engine.port


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Every thread is stopped from the start: a ping is faster than a signal."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + LONG
    try:
        while {
            stat.read_text().rpartition(")")[2].split()[0]
            for stat in Path(f"/proc/{pid}/task").glob("*/stat")
        } != {"T"}:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_real_engine_that_hangs_or_dies_is_told_of_in_time(tmp_path: Path) -> None:
    adder(tmp_path / "model" / "1", 1)
    with (
        embedded_engine(tmp_path / "engine", model=tmp_path / "model") as engine,
        front(tmp_path / "front", engine.port) as port,
    ):
        assert ping(port).status_code == 200
        with stopped(engine.pid):
            assert "does not respond" in reason(port)
        assert ping(port).status_code == 200
        os.kill(engine.pid, signal.SIGKILL)
        await_port(engine.port, opened=False)
        assert "not running, or still loading" in reason(port)
        answer = post(port, b'{"instances": [1]}', "application/json")
        assert answer.status_code == 502


def test_every_engine_is_asked(tmp_path: Path) -> None:
    nobody = free_port()
    with saying(model="AVAILABLE") as one, saying(model="LOADING") as other:
        with front(tmp_path / "both", one, other) as port:
            for _ in range(8):
                assert reason(port) == (
                    f"127.0.0.1:{other}, model: the model is not ready: LOADING"
                )
        with front(tmp_path / "dead", one, nobody) as port:
            for _ in range(8):
                assert f"127.0.0.1:{nobody}, model: " in reason(port)
        with front(tmp_path / "one", one, one) as port:
            assert ping(port).status_code == 200


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"a": "AVAILABLE", "b": "AVAILABLE"}, None),
        ({"a": "AVAILABLE", "b": "LOADING"}, "b: the model is not ready: LOADING"),
        ({"a": "END", "b": "AVAILABLE"}, "a: the model is not ready: END"),
        ({"a": "AVAILABLE"}, "b: the model server does not respond (404)"),
    ],
)
def test_every_model_is_asked_for(tmp_path: Path, states: dict[str, str], said: str | None) -> None:
    settings = {"models": ["a", "b"]}
    with saying(**states) as engine, front(tmp_path / "front", engine, settings=settings) as port:
        if said is None:
            assert ping(port).status_code == 200
        else:
            assert said in reason(port)


OK = '"status": {"error_code": "OK", "error_message": ""}'
BROKEN = '"status": {"error_code": "DATA_LOSS", "error_message": "cannot parse saved_model.pb"}'


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (f'{{"version": "1", "state": "AVAILABLE", {OK}}}', ""),
        (f'{{"version": "2", "state": "AVAILABLE", {OK}}}, {{"state": "END", {OK}}}', ""),
        ('{"version": "2", "state": "LOADING"}, {"state": "AVAILABLE"}', "LOADING, AVAILABLE"),
        ('{"version": "2", "state": "START"}, {"state": "AVAILABLE"}', "START, AVAILABLE"),
        (
            f'{{"version": "2", "state": "END", {BROKEN}}}, {{"state": "AVAILABLE", {OK}}}',
            "version 2 cannot be loaded: cannot parse saved_model.pb",
        ),
        ('{"version": "1", "state": "UNLOADING"}', "UNLOADING"),
    ],
)
def test_every_version_is_waited_for(tmp_path: Path, versions: str, said: str) -> None:
    status = f'{{"model_version_status": [{versions}]}}'.encode()
    with (
        peer(lambda _: Response(200, status)) as engine,
        front(tmp_path / "front", engine.port) as port,
    ):
        if said:
            assert said in reason(port)
        else:
            assert ping(port).status_code == 200


def test_it_is_over_when_the_supervisor_says_so(tmp_path: Path) -> None:
    with saying(model="AVAILABLE") as engine, whole_front(tmp_path / "front", engine) as running:
        assert ping(running.port).status_code == 200
        (running.folder / "stopping").touch()
        assert "the container is stopping" in reason(running.port)


def test_the_supervisor_is_told_when_no_request_is_left(tmp_path: Path) -> None:
    go_on, came = threading.Event(), threading.Event()

    def answer(asked: Request) -> Response:
        if asked.path.endswith(":predict"):
            came.set()
            assert go_on.wait(LONG)
        return Response(200, b'{"model_version_status": [{"state": "AVAILABLE"}]}')

    with peer(answer) as engine, whole_front(tmp_path / "front", engine.port) as running:
        drained = running.folder / "drained"
        asking = threading.Thread(target=post, args=(running.port, b"{}", "application/json"))
        asking.start()
        assert came.wait(LONG)
        (running.folder / "stopping").touch()
        time.sleep(2.5)  # longer than the gateway waits for more
        assert not drained.exists()
        go_on.set()
        asking.join()
        done = time.monotonic()
        while not drained.exists():
            assert time.monotonic() - done < LONG
            assert ping(running.port).status_code == 503  # does not count
            time.sleep(0.02)
        assert time.monotonic() - done >= 1.9
