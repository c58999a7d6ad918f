"""The serving image on a stand-in base, containers of it, and requests in flight.

Its base cannot be pulled here, so it stands on a bare Debian in which the embedded model server is
the `tensorflow_model_server`; every line of the Dockerfile runs. Name this module in
`pytest_plugins` to ask for its fixtures.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CHECKOUT
from support import locks
from support.docker_engine import MINE, Engine
from support.installed import PACKAGES, copied, require_python

LONG = 60.0  # seconds that nothing healthy needs
VERY_LONG = 240.0  # to import TensorFlow, where others do so as well
JSON = "application/json"
# The packages of the tests' own Python are mounted, which is quicker than to copy a gigabyte.
MODEL_SERVER = """#!/bin/sh
export PYTHONPATH=/opt/checkout:/opt/packages KERAS_HOME=/tmp/keras
exec python3 -m petbox.serving.model_server "$@"
"""
# What the GPU images leave behind: package sources that nobody can reach any more.
BASE = """\
FROM {debian}
RUN echo 'deb file:/nowhere ./' >/etc/apt/sources.list.d/cuda.list
COPY tensorflow_model_server /usr/bin/
LABEL tensorflow_serving_github_branchtag=2.20.0
"""
MOUNTS = (
    f"--volume={CHECKOUT / 'petbox'}:/opt/checkout/petbox:ro",
    f"--volume={sysconfig.get_path('purelib')}:/opt/packages:ro",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version 1 that adds 2.5; its signature `slow` turns as long as it is told."""
    from support.saved_models import adder

    folder = tmp_path_factory.mktemp("adder")
    folder.chmod(0o755)
    adder(folder / "1", 2.5, warmup=[[1.0]])
    return folder


def build_context(folder: Path, *more: str) -> Path:
    """What the Dockerfile copies of the checkout, but for a model; and `more` of its files."""
    for name in ("container", "locks", "petbox"):
        shutil.copytree(
            CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in (".dockerignore", *more):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


def build(engine: Engine, context: Path, name: str, **given: str) -> str:
    """The image's name, once it is built with what is given."""
    words = [f"--build-arg={key}={value}" for key, value in given.items()]
    file, tag = context / "container/Dockerfile", f"{MINE}-{name}"
    engine("build", *words, "--network=host", "--file", file, "--tag", tag, context)
    return tag


def make_image(
    checkout: Path, env: Mapping[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    """As a user types it, though the tests may be run by another make."""
    env = {name: value for name, value in env.items() if not name.startswith("MAKE")}
    command = ["make", "image", *words]
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)


@pytest.fixture(scope="session")
def base(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in for `tensorflow/serving`."""
    asked = "import sys; print(sys.version_info.minor)"
    minor = engine("run", "--rm", "--network=none", debian, "python3", "-c", asked).stdout
    if int(minor) != sys.version_info.minor:
        pytest.skip(f"{debian} has Python 3.{minor.strip()}, .venv has 3.{sys.version_info.minor}")
    folder = tmp_path_factory.mktemp("base")
    (folder / "tensorflow_model_server").write_text(MODEL_SERVER)
    (folder / "tensorflow_model_server").chmod(0o755)
    (folder / "Dockerfile").write_text(BASE.format(debian=debian))
    engine("build", "--tag", f"{MINE}-base", folder)
    return f"{MINE}-base"


@pytest.fixture(scope="session")
def litert_base(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _slim(engine, debian, tmp_path_factory.mktemp("base"), "litert")


@pytest.fixture(scope="session")
def openvino_base(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _slim(engine, debian, tmp_path_factory.mktemp("base"), "openvino")


def _slim(engine: Engine, debian: str, folder: Path, name: str) -> str:
    """The stand-in for `debian:12-slim`, in which pip finds the engine's lock fulfilled."""
    require_python(engine, debian)
    copied(folder, locks.packages(f"{name}_image"))
    (folder / "Dockerfile").write_text(f"FROM {debian}\nCOPY . {PACKAGES}\n")
    engine("build", "--network=none", "--tag", f"{MINE}-{name}-base", folder)
    return f"{MINE}-{name}-base"


@pytest.fixture(scope="session")
def official_bases(engine: Engine, base: str) -> tuple[str, str]:
    """The names of TensorFlow Serving's images for GPUs and for CPUs, given to the stand-in."""
    if not engine.own:
        pytest.skip("the engine that answers may have TensorFlow Serving's own images; stop it")
    dockerfile = (CHECKOUT / "container/Dockerfile").read_text()
    name = re.search(r"^ARG BASE=(tensorflow/serving:[\d.]+)\$\{GPU\}$", dockerfile, re.MULTILINE)
    assert name
    for official in (names := (f"{name[1]}-gpu", name[1])):
        engine("tag", base, official)
    return names


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What container/Dockerfile builds, with the adder in it."""
    context = build_context(tmp_path_factory.mktemp("context"))
    shutil.copytree(model, context / "model" / "adder")
    return build(engine, context, "serving", BASE=base, MODEL="model/adder")


class Container:
    """One that runs, until it is told to stop; what it says is kept."""

    def __init__(self, engine: Engine, name: str, inner_port: int) -> None:
        self.engine, self.name = engine, name
        published = engine("port", name, f"{inner_port}/tcp", check=False).stdout
        self.port = int(published.split()[0].rpartition(":")[2]) if published else 0

    def ping(self) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}/ping", timeout=LONG)

    def post(self, body: bytes, kind: str = JSON, **headers: str) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/invocations"
        return requests.post(url, body, headers={"Content-Type": kind, **headers}, timeout=LONG)

    def status(self) -> int:
        """That of /ping, 0 where nobody answers."""
        try:
            return self.ping().status_code
        except requests.ConnectionError:
            return 0

    def ready(self) -> Container:
        def decided() -> bool:
            status = self.status()
            return status == 200 or (status == 0 and self.over())

        until(decided, self.said, VERY_LONG, 0.2)
        assert not self.over(), self.said()
        return self

    def inside(self, script: str) -> str:
        """What a shell script says that runs in it, as root."""
        return self.engine("exec", "--user=0", self.name, "bash", "-c", script).stdout

    def pids(self, words: str) -> list[int]:
        """As they are numbered in it, of the processes whose command line has these words."""
        script = (
            "cd /proc; for p in [0-9]*; do echo $p $(tr '\\0' ' ' <$p/cmdline); done 2>/dev/null"
        )
        lines = [line.split(maxsplit=1) for line in self.inside(script).splitlines()]
        return [int(line[0]) for line in lines if len(line) > 1 and line[1].startswith(words)]

    def kill(self, how: str, pid: int) -> None:
        self.inside(f"kill -{how} {pid}")

    def over(self) -> bool:
        asked = self.engine("inspect", "--format={{.State.Running}}", self.name)
        return asked.stdout.strip() == "false"

    def ended(self) -> int:
        """Its exit code, once it is over."""
        return int(self.engine("wait", self.name, timeout=int(LONG)).stdout)

    def said(self) -> str:
        done = self.engine("logs", "--tail=50", self.name)
        return done.stdout + done.stderr


@pytest.fixture(scope="session")
def start(engine: Engine, image: str, publishing: str) -> Callable[..., Any]:
    """A container of the image, or of another, as SageMaker runs it but for more flags."""
    count = iter(range(1000))

    @contextmanager
    def start(
        *flags: str, words: tuple[str, ...] = ("serve",), port: int = 8080, image: str = image
    ) -> Iterator[Container]:
        name = f"{MINE}-{next(count)}"
        there = (f"--network={publishing}", f"--publish=127.0.0.1::{port}")
        if any("--network" in flag for flag in flags):
            there = ()
        engine("run", "--detach", f"--name={name}", *there, *MOUNTS, *flags, image, *words)
        try:
            yield Container(engine, name, port)
        finally:
            engine("rm", "--force", "--volumes", name, check=False)

    return start


def until(
    fact: Callable[[], object],
    said: Callable[[], str] = str,
    seconds: float = LONG,
    pause: float = 0.01,
) -> None:
    give_up = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < give_up, said()
        time.sleep(pause)


@contextmanager
def many_in_flight(port: int, count: int, body: bytes = b'{"slow": 1}') -> Iterator[Any]:
    """Requests sent whole, each on its connection; what it yields, called, has the statuses."""
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}Content-Type: {JSON}\r\nConnection: close\r\n\r\n".encode() + body
    connections = [socket.create_connection(("127.0.0.1", port), LONG) for _ in range(count)]
    try:
        for connection in connections:
            connection.sendall(request)
        yield lambda: [status_of(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()


def status_of(connection: socket.socket) -> int | bytes:
    """Of an answer that comes whole; else what comes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except OSError as error:
        return answer + str(error).encode()
    head, _, body = answer.partition(b"\r\n\r\n")
    if f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n":
        return int(answer[9:12])
    return answer
