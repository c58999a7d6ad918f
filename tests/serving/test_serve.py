"""`petbox serve` as a program: starting, dying, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.ports import free_port
from support.saved_models import adder, corrupt
from support.serving import (
    CHECKOUT,
    LONG,
    SERVE,
    Program,
    await_port,
    empty_model,
    is_open,
    post,
    stand_in_engine,
    started,
)
from support.serving_image import until
from support.warm_python import warm_python

from petbox.errors import ServiceError
from petbox.serving import requirements


@contextmanager
def serving(folder: Path, model: Path | None = None) -> Iterator[tuple[Program, int]]:
    """`petbox serve` before the stand-in engine, which may have been made before."""
    port = free_port()
    engine = folder / "engine"
    if not engine.exists():
        stand_in_engine(engine)
    model = model or empty_model(folder / "model" / "1")
    command = [*SERVE, str(model), "--port", str(port)]
    with started(command, folder / "run", PATH=f"{engine}:{os.environ['PATH']}") as program:
        yield program, port


def ping(port: int) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG)


def nothing_is_left(program: Program, port: int, engine_port: int) -> bool:
    return not (is_open(port) or is_open(engine_port) or [*program.temporary.iterdir()])


# Starting


def test_a_models_code_runs_with_our_own_python(tmp_path: Path) -> None:
    model = empty_model(tmp_path / "model" / "1").parent
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(
        "import requests\ndef handler(data, context):\n"
        "    return requests.post(context.rest_uri, data.read()).json()['path']\n"
    )
    with serving(tmp_path, model) as (program, port):
        assert program.line() == f"http://localhost:{port}/", program.errors.read_text()
        assert post(port, b"{}", "application/json").text == "/v1/models/model:predict"


def test_the_address_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line() == f"http://localhost:{port}/"
        assert ping(port).status_code == 200
        program.send(signal.SIGTERM)
        assert program.line() == ""
        model, engine = tmp_path / "model" / "1", tmp_path / "engine" / "tensorflow_model_server"
        errors = program.ended()[1]
        first = errors.splitlines()[0]
        assert first.startswith(f"serve: port {port}: model from {model} with 1 x {engine}; ")
        assert "has no effect" not in errors


def test_without_tensorflow_serving_the_embedded_server_answers(tmp_path: Path) -> None:
    model = adder(tmp_path / "1", 2.5)
    port = free_port()
    command = [*SERVE, str(model), "--port", str(port)]
    with started(command, tmp_path / "run") as program:
        assert program.line() == f"http://localhost:{port}/"
        answer = post(port, b'{"instances": [1]}', "application/json")
        assert answer.json() == {"predictions": [3.5]}
        program.send(signal.SIGINT)
        code, errors = program.ended()
    assert code == 0
    assert errors.startswith("there is no tensorflow_model_server on PATH; the embedded model ")
    assert "has no effect" not in errors


def test_a_broken_model_ends_the_embedded_server_at_once(tmp_path: Path) -> None:
    model = corrupt(tmp_path / "1")
    command = [warm_python(), *SERVE[1:], str(model), f"--port={free_port()}"]
    with started(command, tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 255
    last = errors.splitlines()[-1]
    assert last.startswith("serve: model server 1 of 1 died")
    assert "DATA_LOSS: Can't parse" in last


def test_ping_says_no_until_the_model_is_loaded(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    os.mkfifo(engine / "load")
    with serving(tmp_path) as (program, port):
        with (engine / "load").open("w"):  # opened when the engine reads it: it is loading now
            await_port(port)
            answer = ping(port)
            assert answer.status_code == 503
            assert "still loading" in answer.json()["error"]
        assert program.line() == f"http://localhost:{port}/"
        assert ping(port).status_code == 200


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("toy", "toy/12"), ("toy/2", "toy/2"), ("bare", "bare"), ("a \\ b", "a \\ b")],
)
def test_a_model_is_found_however_it_is_named(tmp_path: Path, typed: str, meant: str) -> None:
    for name in ("toy/2", "toy/12", "bare", "a \\ b"):
        empty_model(tmp_path / name)
    (tmp_path / "toy" / "13").mkdir()  # half copied
    with serving(tmp_path, tmp_path / typed) as (program, port):
        assert program.line()
        seen = post(port, b"{}", "application/json").json()["models"]
        number = meant.removeprefix("toy/") if "/" in meant else "1"
        assert seen == {"model": {number: str(tmp_path / meant)}}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("missing", "no such folder"),
        ("file", "is a file"),
        ("empty", "found: nothing"),
        ("other", "found: 1/, 1/notes.txt, photo.jpg"),
    ],
)
def test_what_is_no_model_is_told_what_one_is(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "1").mkdir(parents=True)
    (tmp_path / "other" / "1" / "notes.txt").touch()
    (tmp_path / "other" / "photo.jpg").touch()
    with started([*SERVE, str(tmp_path / name)], tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 1
    (line,) = errors.splitlines()
    assert line.startswith(f"error: {tmp_path / name}: ")
    assert found in line
    assert "expected: saved_model.pb or model.tflite or model.xml, in it" in line


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        model = empty_model(tmp_path / "model")
        with started([*SERVE, str(model), "--port", port], tmp_path / "run") as program:
            code, errors = program.ended()
    assert code == 1
    (line,) = errors.splitlines()
    assert f"port {port}" in line
    assert "--port" in line


@pytest.mark.parametrize("port", ["0", "-1", "123456"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    model = empty_model(tmp_path / "model")
    with started([*SERVE, str(model), f"--port={port}"], tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 1
    assert errors.splitlines() == [
        f"error: port {port}: must be from 1 to 65535; choose one with --port"
    ]


def test_a_missing_module_of_nginx_is_answered_with_the_apt_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "LUA", tmp_path / "absent.so")
    with pytest.raises(ServiceError, match="apt-get install nginx libnginx-mod-http-lua lua-cjson"):
        requirements.find_nginx()


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    (engine / "broken").write_text("this model is broken")
    with serving(tmp_path) as (program, port):
        code, errors = program.ended()
        assert code == 255
        last = errors.splitlines()[-1]
        assert last.startswith("serve: model server 1 of 1 died")
        assert "this model is broken" in last
        assert program.line() == ""
        assert not is_open(port)


def test_elsewhere_than_on_linux_it_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ServiceError, match=r"needs Linux .* petbox.Detector\(model="):
        requirements.check_platform()


def test_serving_itself_imports_no_tensorflow() -> None:
    code = "import sys, petbox.serving.command; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0


# Dying


@pytest.mark.parametrize(("who", "name"), [("engine", "model server 1 of 1"), ("nginx", "nginx")])
def test_when_one_dies_so_does_the_other(tmp_path: Path, who: str, name: str) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line()
        engine_port = program.engine_port()
        os.kill(program.children()[who], signal.SIGKILL)
        code, errors = program.ended()
        assert code == 137
        assert f"serve: {name} died" in errors.splitlines()[-1]
        assert "killed by SIGKILL" in errors.splitlines()[-1]
        assert nothing_is_left(program, port, engine_port)


def test_a_hanging_engine_turns_ping_off_in_time(tmp_path: Path) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line()
        engine = program.children()["engine"]
        os.kill(engine, signal.SIGSTOP)
        begin = time.monotonic()
        answer = ping(port)
        assert time.monotonic() - begin < 2.0
        assert answer.status_code == 503
        assert "does not respond" in answer.json()["error"]
        os.kill(engine, signal.SIGCONT)
        assert ping(port).status_code == 200


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ('{"model_version_status": [{"state": "LOADING"}]}', 503, "not ready: LOADING"),
        ('{"model_version_status": [{"state": "END"}, {"state": "AVAILABLE"}]}', 200, ""),
        ('{"model_version_status": []}', 503, "not ready"),
        ("<html>", 503, "no model status"),
    ],
)
def test_ping_says_what_the_engine_says_of_its_model(
    tmp_path: Path, said: str, status: int, reason: str
) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line()
        (tmp_path / "engine" / "state").write_text(said)
        answer = ping(port)
        assert answer.status_code == status
        assert reason in (answer.json()["error"] if answer.content else "")


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line()
        engine_port = program.engine_port()
        program.send(signal.SIGKILL)
        until(lambda: nothing_is_left(program, port, engine_port))


# Stopping


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as (program, port):
        assert program.line()
        engine_port = program.engine_port()
        program.send(how)
        code, errors = program.ended()
        assert (code, "Traceback" in errors) == (0, False)
        assert nothing_is_left(program, port, engine_port)


def test_whichever_thread_is_told_to_stop_it_is_heard(tmp_path: Path) -> None:
    with serving(tmp_path) as (program, _port):
        assert program.line()
        program.send_beside(signal.SIGTERM)
        assert program.ended()[0] == 0


def test_stopping_while_loading_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    os.mkfifo(engine / "load")
    with serving(tmp_path) as (program, port):
        with (engine / "load").open("w"):
            await_port(port)
            engine_port = program.engine_port()
            program.send(signal.SIGINT)
            assert program.ended()[0] == 0
        assert program.line() == ""
        assert nothing_is_left(program, port, engine_port)


@contextmanager
def a_request_in_flight(engine: Path, port: int) -> Iterator[list[int]]:
    """The statuses that came; the request is with the engine until the block is left."""
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(post(port, b'{"hold": 1}', "application/json").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    with (engine / "hold").open("w"):  # opened when the engine reads it
        yield statuses
    asking.join()


def test_requests_in_flight_are_finished(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    os.mkfifo(engine / "hold")
    with serving(tmp_path) as (program, port):
        assert program.line()
        with a_request_in_flight(engine, port) as statuses:
            program.send(signal.SIGINT)
            await_port(port, opened=False)
            assert statuses == []
        assert statuses == [200]
        assert program.ended()[0] == 0


def test_a_second_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    os.mkfifo(engine / "hold")
    with serving(tmp_path) as (program, port):
        assert program.line()
        engine_port = program.engine_port()
        with a_request_in_flight_that_fails(engine, port):
            program.send(signal.SIGINT)
            await_port(port, opened=False)
            program.send(signal.SIGINT)
            assert program.ended()[0] == 130
            assert nothing_is_left(program, port, engine_port)


@contextmanager
def a_request_in_flight_that_fails(engine: Path, port: int) -> Iterator[None]:
    def ask() -> None:
        with pytest.raises(requests.ConnectionError):
            post(port, b'{"hold": 1}', "application/json")

    asking = threading.Thread(target=ask)
    asking.start()
    descriptor = os.open(engine / "hold", os.O_WRONLY)
    yield
    asking.join()
    os.close(descriptor)
