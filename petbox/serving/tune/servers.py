"""The server that is measured, started with settings: a model's folder, or a Docker image."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from petbox.cli.child import Child
from petbox.errors import ModelError, ServiceError
from petbox.serving import command, docker, in_process, requirements
from petbox.serving.conform.ping import wait_until_healthy
from petbox.serving.http_client import Address, NoResponse, request

# What container/serve prints of a check.
PLAN = re.compile(r" with 1 x (?P<server>.*?); (?P<machine>(?P<cpus>\d+) CPUs, \d+ GPUs)")
REAL = "tensorflow_model_server"
START_SECONDS = 480.0
STOP_SECONDS = 10.0


class Stopped(Exception):
    """A stop was requested."""


class Subject(Protocol):
    title: str

    def plan(self) -> str:
        """What `serve check` prints."""

    def started(
        self, variables: Mapping[str, str], stopped: Callable[[], bool]
    ) -> contextlib.AbstractContextManager[Address]:
        """The address of a server with these variables, once it is ready."""


@dataclass(frozen=True)
class Plan:
    real: bool  # whether the model server is TensorFlow Serving
    machine: str  # its CPUs and GPUs
    cpus: int


def plan(subject: Subject) -> Plan:
    text = subject.plan()
    found = PLAN.search(text)
    if not found:
        raise ServiceError(
            f"{subject.title}: cannot be measured ({text.strip() or 'it prints no plan'}); tune "
            "needs one model server of petbox's: unset SAGEMAKER_TFS_INSTANCE_COUNT"
        )
    return Plan(REAL in found["server"], found["machine"], int(found["cpus"]))


class Folder:
    """A model's folder, served as `petbox serve` does."""

    def __init__(self, model: Path) -> None:
        self.title = str(model)
        requirements.check_platform()
        requirements.find_nginx()
        self.version = in_process.find_model(model)
        self._env_of_serve = command.environment(command.ServeOptions(model), self.version, 0)

    def plan(self) -> str:
        done = subprocess.run(
            ["bash", str(command.SUPERVISOR), "check"],
            env=self._env(requirements.free_port(), {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ModelError(f"{self.title}: {_last(done.stderr.splitlines())}")
        return done.stdout

    @contextlib.contextmanager
    def started(
        self, variables: Mapping[str, str], stopped: Callable[[], bool]
    ) -> Iterator[Address]:
        lines: list[str] = []
        exited = threading.Event()
        at = Address("127.0.0.1", requirements.free_port())
        env = self._env(at.port, variables)
        words = ["bash", str(command.SUPERVISOR)]
        with Child(words, env, exited.set, lines.append) as supervisor:
            try:
                while not _is_ready(at):
                    if exited.wait(command.POLL_SECONDS):
                        raise ServiceError(f"{self.title}: was not served: {_last(lines)}")
                    if stopped():
                        raise Stopped
                yield at
            finally:
                supervisor.send(signal.SIGINT)
                exited.wait(STOP_SECONDS)

    def _env(self, port: int, variables: Mapping[str, str]) -> dict[str, str]:
        return self._env_of_serve | {
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_SAFE_PORT_RANGE": f"{requirements.free_port()}-65535",
            "SAGEMAKER_TFS_INSTANCE_COUNT": "1",
            **variables,
        }


class Image:
    """A Docker image, run as SageMaker does."""

    def __init__(self, name: str) -> None:
        self.title = name
        self._image = docker.find_image(name)

    def plan(self) -> str:
        done = docker.docker("run", "--rm", self.title, "check", check=False)
        if done.returncode:
            raise ServiceError(f"{self.title}: {_last(done.stderr.splitlines())}")
        return done.stdout

    @contextlib.contextmanager
    def started(
        self, variables: Mapping[str, str], stopped: Callable[[], bool]
    ) -> Iterator[Address]:
        pairs = {"SAGEMAKER_TFS_INSTANCE_COUNT": "1", "PETBOX_METADATA": "true"} | dict(variables)
        env = tuple(f"{name}={value}" for name, value in pairs.items())
        with docker.running(docker.ContainerSpec(self.title, env=env)) as container:
            attempts = wait_until_healthy(
                container, time.monotonic(), START_SECONDS, lambda _: None
            )
            if not (attempts and attempts[-1].healthy):
                why = container.start_error or _last(container.log(5))
                raise ServiceError(f"{self.title}: did not become healthy: {why}")
            if stopped():
                raise Stopped
            yield container.at


def subject(name: str) -> Folder | Image:
    """The folder of this name, or else the image."""
    if is_folder(name):
        return Folder(Path(name))
    try:
        return Image(name)
    except ServiceError as error:
        raise ServiceError(f"{name}: no such folder, and no image: {error}") from error


def is_folder(name: str) -> bool:
    return Path(name).exists() or name.startswith((".", "/"))


def _is_ready(at: Address) -> bool:
    try:
        return request(at, "GET", "/ping", seconds=5).status == 200
    except NoResponse:
        return False


def _last(lines: list[str]) -> str:
    return lines[-1].removeprefix("serve: ") if lines else "it printed nothing"
