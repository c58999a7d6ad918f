"""The server that is measured, started with settings: a model's folder, or a Docker image."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from petbox.cli.child import Child
from petbox.errors import ModelError, ServiceError
from petbox.serving import command, docker, in_process, requirements
from petbox.serving.conform.ping import wait_until_healthy
from petbox.serving.http_client import Address, NoResponse, request

# What container/serve prints of a check.
PLAN = re.compile(r" with 1 x (?P<server>.*?); (?P<machine>[^;]+?, (?P<cpus>\d+) CPUs, \d+ GPUs)")
REAL = "tensorflow_model_server"
ONE = ("SAGEMAKER_TFS_INSTANCE_COUNT=1",)
CHECK_SECONDS = 60.0
STOP_SECONDS = 10.0


class Stopped(Exception):
    """A stop was requested."""


class Subject(Protocol):
    title: str
    content: str  # what is started

    def plan(self) -> str:
        """What `serve check` prints."""

    def started(
        self, variables: Mapping[str, str], stopped: Callable[[], bool]
    ) -> contextlib.AbstractContextManager[Address]:
        """The address of a server with these variables, once it is ready."""


@dataclass(frozen=True)
class Plan:
    real: bool  # whether the model server is TensorFlow Serving
    machine: str  # its processor, CPUs and GPUs
    cpus: int


def plan(subject: Subject) -> Plan:
    text = subject.plan()
    found = PLAN.search(text)
    if not found:
        raise ServiceError(
            f"{subject.title}: cannot be measured ({text.strip() or 'it prints no plan'}); name "
            "an image that this version of container/Dockerfile has built"
        )
    return Plan(REAL in found["server"], found["machine"], int(found["cpus"]))


class Folder:
    """A model's folder, served as `petbox serve` does."""

    def __init__(self, model: Path) -> None:
        self.title = str(model)
        requirements.check_platform()
        requirements.find_nginx()
        version = in_process.find_model(model)
        self.content = f"the model in {version}"
        self._env_of_serve = command.environment(command.ServeOptions(model), version, 0)

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

    def __init__(self, spec: docker.ContainerSpec) -> None:
        docker.find_image(spec.image)
        self.title, self.content, self._spec = spec.image, f"containers of {spec.image}", spec

    def plan(self) -> str:
        with docker.running(replace(self._spec, env=ONE, arguments=("check",))) as container:
            if container.start_error:
                raise ServiceError(f"{self.title}: cannot be started: {container.start_error}")
            code, lines = container.wait(CHECK_SECONDS), container.log()
        if code:
            raise ServiceError(f"{self.title}: {_last(lines)}")
        return "\n".join(lines) if code == 0 else ""

    @contextlib.contextmanager
    def started(
        self, variables: Mapping[str, str], stopped: Callable[[], bool]
    ) -> Iterator[Address]:
        pairs = (f"{name}={value}" for name, value in variables.items())
        env = (*ONE, "PETBOX_METADATA=true", *pairs)
        with docker.running(replace(self._spec, env=env)) as container:
            attempts = wait_until_healthy(
                container, time.monotonic(), docker.START_LIMIT, lambda _: None, stopped
            )
            if stopped():
                raise Stopped
            if not (attempts and attempts[-1].healthy):
                why = container.start_error or _last(container.log(5))
                raise ServiceError(f"{self.title}: did not become healthy: {why}")
            yield container.at


def _is_ready(at: Address) -> bool:
    try:
        return request(at, "GET", "/ping", seconds=5).status == 200
    except NoResponse:
        return False


def _last(lines: list[str]) -> str:
    return lines[-1].removeprefix("serve: ") if lines else "it printed nothing"
