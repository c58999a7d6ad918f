"""`petbox local`: an image run as SageMaker runs it, its address told, its troubles named."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from conftest import CHECKOUT
from support.docker_engine import MINE, Engine
from support.ports import free_port
from support.serving import LONG, Program, started

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def good(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("context")
    (folder / "serve").write_bytes((CHECKOUT / "tests/support/contract_server.py").read_bytes())
    (folder / "serve").chmod(0o755)
    text = f'FROM {debian}\nCOPY serve /srv/serve\nENTRYPOINT ["/srv/serve"]\n'
    (folder / "Dockerfile").write_text(text)
    engine("build", "--tag", f"{MINE}-local", folder)
    return f"{MINE}-local"


@pytest.fixture
def nothing_left(engine: Engine, good: str) -> Iterator[None]:
    yield
    assert engine("ps", "--all", "--quiet", "--filter", f"ancestor={good}").stdout == ""
    networks = engine("network", "ls", "--format={{.Name}}").stdout.split()
    assert [name for name in networks if re.fullmatch(r"petbox-\d+-\d+", name)] == []


@contextmanager
def local(engine: Engine, folder: Path, *words: str | Path) -> Iterator[Program]:
    command = [sys.executable, "-m", "petbox", "local", *map(str, words)]
    with started(command, folder / "run", **engine.env) as program:
        yield program


@pytest.mark.usefixtures("nothing_left")
def test_the_address_is_told_when_it_is_healthy(engine: Engine, good: str, tmp_path: Path) -> None:
    port = free_port()
    with local(engine, tmp_path, good, "--port", port, "--env", "LOADING=1") as program:
        # The small server lacks the route that boto3 asks, so there is no line for boto3.
        assert program.line() == f"http://127.0.0.1:{port}/invocations"
        url, closed = f"http://127.0.0.1:{port}/invocations", {"Connection": "close"}
        answer = requests.post(url, b'{"instances": [12345]}', headers=closed, timeout=LONG)
        assert answer.json() == {"predictions": [5]}
        program.send(signal.SIGINT)
        code, said = program.ended()
    assert code == 0
    assert "listening on 8080" in said, "the container's own log is missing"
    assert "healthy after" in said
    assert re.search(r"exited after \d\.\d s with code 0", said)


@pytest.mark.usefixtures("nothing_left")
def test_term_ends_it_as_ctrl_c_does(engine: Engine, good: str, tmp_path: Path) -> None:
    with local(engine, tmp_path, good, "--port", "0") as program:
        assert program.line().startswith("http://127.0.0.1:")
        program.send(signal.SIGTERM)
        code, said = program.ended()
    assert code == 0
    assert "with code 0" in said


@pytest.mark.usefixtures("nothing_left")
def test_a_model_is_mounted_where_sagemaker_has_it(
    engine: Engine, good: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    (model / "1").mkdir(parents=True)
    (model / "1/saved_model.pb").touch()
    archive = tmp_path / "model.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", model, "."], check=True)
    rule = "BREAK=wants a numbered folder"
    with local(engine, tmp_path, good, "--port=0", "--model", archive, "--env", rule) as program:
        assert program.line().endswith("/invocations")


@pytest.mark.usefixtures("nothing_left")
def test_an_image_that_sagemaker_would_not_take_for_many_models_is_reported(
    engine: Engine, good: str, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    words = (good, "--port=0", "--multi-model", tmp_path / "models")
    with local(engine, tmp_path, *words) as program:
        assert program.line().startswith('boto3.client("sagemaker-runtime", ')
        program.send(signal.SIGTERM)
        code, said = program.ended()
        assert not list(program.temporary.glob("petbox-*")), "the models' folder is left behind"
    assert code == 0
    assert "it has no label com.amazonaws.sagemaker.capabilities.multi-models=true" in said


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("listens on another port", "it listens on 9000, "),
        ("leaves at once", "it exited with code 1; its log ends with: the configuration"),
        ("is never ready", "/ping returns 503 the weights are still on their way"),
    ],
)
def test_what_keeps_it_from_coming_up_is_said(
    rule: str, why: str, engine: Engine, good: str, run: Run
) -> None:
    words = ("--port", "0", "--start-seconds", "2", "--env", f"BREAK={rule}")
    done = run("-m", "petbox", "local", good, *words, env=engine.env)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {good}: did not pass the ping health check: {why}")


@pytest.mark.usefixtures("nothing_left")
def test_a_container_that_ends_by_itself_is_an_error(
    engine: Engine, good: str, tmp_path: Path
) -> None:
    with local(engine, tmp_path, good, "--port", "0") as program:
        program.line()
        (name,) = engine("ps", "--format={{.Names}}", f"--filter=ancestor={good}").stdout.split()
        engine("kill", name)
        code, said = program.ended()
    assert code == 1
    assert "exited with code 137" in said.splitlines()[-1]


def test_a_port_in_use_is_refused_before_anything_is_run(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("-m", "petbox", "local", "image", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} on 127.0.0.1: ")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("image", "--port", "65536"),
        ("image", "--env", "=1"),
        ("image", "--docker", "'"),
        ("image", "--start-seconds", "0"),
    ],
)
def test_what_is_misused_exits_2(words: tuple[str, ...], run: Run) -> None:
    done = run("-m", "petbox", "local", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_is_named(engine: Engine, good: str, run: Run) -> None:
    words = (good, "--port", "0", "--model", "no/such/model")
    done = run("-m", "petbox", "local", *words, env={**os.environ, **engine.env})
    assert done.returncode == 1
    assert done.stderr.startswith("error: no/such/model: no such folder or archive")
