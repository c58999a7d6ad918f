"""An image run the way SageMaker runs it, with the `docker` command.

Starts one container on its own network, gives access to it, and removes both afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from petbox.cli.program import say
from petbox.data.fetch import archives
from petbox.errors import ModelError, ServiceError
from petbox.serving.http_client import Address
from petbox.serving.multi_model.library import MOUNT, Library, library

PORT = 8080
MODEL = "/opt/ml/model"
START_LIMIT = 480.0  # seconds from the start to the first healthy ping
STOP_LIMIT = 30.0  # seconds from SIGTERM to SIGKILL
BIND_TO_PORT = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
MULTI_MODEL = "com.amazonaws.sagemaker.capabilities.multi-models"
HOSTNAME = "model.aws.local"  # of a container on SageMaker's hosts
LOOPBACK = "127.0.0.1"
TIMEOUT = 120.0  # seconds for one docker command; Docker itself may be busy
_number = itertools.count(1)


class DockerTimeout(ServiceError):
    """A docker command that did not end in time."""


@dataclass(frozen=True)
class ContainerSpec:
    """What is run, and how: by default as SageMaker does."""

    image: str
    model: Path | None = None
    models: Path | None = None  # of a multi-model endpoint, unpacked
    env: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("serve",)
    flags: tuple[str, ...] = ()  # more options of `docker create`
    port: int = PORT  # in the container
    host_port: int | None = None  # on this machine; None for any free one
    no_network: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """The options that `petbox local` and `petbox conform` share."""

    model: Annotated[
        Path | None, "model to mount at /opt/ml/model: a folder or a model.tar.gz", "PATH"
    ] = None
    multi_model: Annotated[
        Path | None, "run it for a multi-model endpoint with the archives or folders in DIR", "DIR"
    ] = None
    env: Annotated[tuple[str, ...], "environment variable of the container", "K=V"] = ()
    docker: Annotated[str, "more options of docker run, as in --docker='--gpus all'", "OPTIONS"] = (
        ""
    )
    start_seconds: Annotated[float, "how long the container may take to start", "S"] = START_LIMIT

    def __post_init__(self) -> None:
        try:
            shlex.split(self.docker)
        except ValueError as error:
            raise ValueError(f"argument --docker: {self.docker}: {error}".lower()) from error
        for pair in self.env:
            if "=" not in pair.lstrip("="):
                raise ValueError(f"argument --env: {pair}: write it as NAME=VALUE")
        if self.model and self.multi_model:
            raise ValueError("argument --multi-model: not allowed with --model")
        if self.start_seconds <= 0:
            raise ValueError(f"argument --start-seconds: {self.start_seconds:g} is not above 0")

    @contextlib.contextmanager
    def spec(
        self, image: str, host_port: int | None = None, models: Library | None = None
    ) -> Iterator[ContainerSpec]:
        """The container to run; a model.tar.gz is unpacked while the context lasts."""
        flags = tuple(shlex.split(self.docker))
        with _model_folder(self.model) as model:
            spec = ContainerSpec(image, model, env=self.env, flags=flags, host_port=host_port)
            if models:
                env = (*self.env, "SAGEMAKER_MULTI_MODEL=true")
                spec = replace(spec, models=models.unpacked, env=env)
            yield spec

    @contextlib.contextmanager
    def library(self, mount: str | None = MOUNT) -> Iterator[Library | None]:
        """The models of --multi-model; without a `mount`, for a server on this machine."""
        if self.multi_model is None:
            yield None
            return
        with library(self.multi_model, mount) as models:
            yield models


@dataclass(frozen=True)
class Image:
    """What an image says about how it is started."""

    platform: str
    entrypoint: tuple[str, ...]
    user: str
    labels: dict[str, str]

    @property
    def binds_to_port(self) -> bool:
        return self.labels.get(BIND_TO_PORT, "").lower() == "true"

    @property
    def serves_many_models(self) -> bool:
        return self.labels.get(MULTI_MODEL, "").lower() == "true"

    @property
    def is_root(self) -> bool:
        return self.user.partition(":")[0] in ("", "0", "root")


@dataclass(frozen=True)
class State:
    running: bool
    exit_code: int
    out_of_memory: bool


@dataclass(frozen=True)
class Container:
    name: str
    spec: ContainerSpec
    start_error: str = ""  # why Docker could not start it

    @functools.cached_property
    def at(self) -> Address:
        """Its published port on this machine; without a network it has none."""
        ports = self._inspect(".NetworkSettings.Ports") or {}
        bound = ports.get(f"{self.spec.port}/tcp") or []
        if not bound:  # it has exited
            return Address(LOOPBACK, self.spec.host_port or 0)
        return Address(LOOPBACK, int(bound[0]["HostPort"]))

    def state(self) -> State:
        now = self._inspect(".State")
        return State(bool(now["Running"]), int(now["ExitCode"]), bool(now["OOMKilled"]))

    def log(self, lines: int = 200) -> list[str]:
        done = docker("logs", "--tail", str(lines), self.name, both=True, check=False)
        return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]

    def exec(self, *command: str) -> str | None:
        """The output of `command`, run in the container as root; None if it fails."""
        done = docker("exec", "--user", "0", self.name, *command, check=False)
        return done.stdout if done.returncode == 0 else None

    def pipe(self, command: Sequence[str], data: bytes, seconds: float) -> bytes:
        """The output of `command`, run in the container with `data` as its input."""
        try:
            done = subprocess.run(
                ["docker", "exec", "--interactive", self.name, *command],
                input=data,
                capture_output=True,
                start_new_session=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return b""
        return done.stdout

    def proc_file(self, path: str) -> str | None:
        """A file of /proc/PID as this machine sees it, if Docker runs on it."""
        pid = int(self._inspect(".State")["Pid"])
        try:
            return Path(f"/proc/{pid}/{path}").read_text() if pid else None
        except OSError:
            return None

    def signal(self, name: str) -> None:
        docker("kill", "--signal", name, self.name, check=False)

    def wait(self, seconds: float) -> int | None:
        """Its exit code, once it has exited; None if it still runs after `seconds`."""
        try:
            done = docker("wait", self.name, seconds=seconds)
        except DockerTimeout:
            return None
        return int(done.stdout)

    @contextlib.contextmanager
    def log_on_stderr(self) -> Iterator[None]:
        """Copies its log to stderr while the context lasts."""
        command = ["docker", "logs", "--follow", self.name]
        with subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr) as following:
            try:
                yield
                if not self.state().running:  # the end of the log
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        following.wait(2)
            finally:
                following.terminate()

    def _inspect(self, what: str) -> Any:
        return json.loads(docker("inspect", "--format", f"{{{{json {what}}}}}", self.name).stdout)


@contextlib.contextmanager
def running(spec: ContainerSpec) -> Iterator[Container]:
    """The container, started or with its start error; removed afterwards, with its network."""
    name = f"petbox-{os.getpid()}-{next(_number)}"
    with contextlib.ExitStack() as stack:
        network = "none"
        if not spec.no_network:  # its own, so that no other container is on it
            network = name
            stack.callback(docker, "network", "rm", name, check=False)
            docker("network", "create", name)
        stack.callback(docker, "rm", "--force", "--volumes", name, check=False)
        done = docker("create", "--name", name, "--network", network, *_flags(spec), check=False)
        if done.returncode == 0:
            done = docker("start", name, check=False)
        yield Container(name, spec, _reason(done.stderr) if done.returncode else "")


def _flags(spec: ContainerSpec) -> list[str]:
    flags = ["--hostname", HOSTNAME]
    if not spec.no_network:
        flags += ["--publish", f"{LOOPBACK}:{spec.host_port or ''}:{spec.port}"]
    if spec.model is not None:
        flags += ["--volume", f"{spec.model.resolve()}:{MODEL}:ro"]
    if spec.models is not None:
        flags += ["--volume", f"{spec.models}:{MOUNT}:ro"]
    flags += [f"--env={pair}" for pair in spec.env]
    return [*flags, *spec.flags, spec.image, *spec.arguments]


def find_image(name: str) -> Image:
    """The image, pulled if it is not on this machine."""
    done = docker("image", "inspect", "--format", "{{json .}}", name, check=False)
    if done.returncode:
        if "no such image" not in done.stderr.lower():
            raise ServiceError(f"docker: {_reason(done.stderr)}")
        say(f"{name}: not on this machine; pulling it")
        pulled = subprocess.run(["docker", "pull", name], stdout=sys.stderr, check=False)
        if pulled.returncode:
            raise ServiceError(f"{name}: no such image here, and docker pull failed; build it")
        done = docker("image", "inspect", "--format", "{{json .}}", name)
    facts = json.loads(done.stdout)
    config = facts.get("Config") or {}
    return Image(
        platform=f"{facts.get('Os')}/{facts.get('Architecture')}",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        user=config.get("User") or "",
        labels=config.get("Labels") or {},
    )


@contextlib.contextmanager
def _model_folder(model: Path | None) -> Iterator[Path | None]:
    """The folder to mount: the folder itself, or a model.tar.gz unpacked to a temporary one."""
    if model is None or model.is_dir():
        if model is not None and ":" in str(model.resolve()):
            raise ModelError(f"{model}: a path with a colon cannot be mounted; rename the folder")
        yield model
        return
    if not model.is_file():
        raise ModelError(f"{model}: no such folder or archive; name a model's folder or tar.gz")
    with tempfile.TemporaryDirectory(prefix="petbox-model-") as folder:
        unpacked = Path(folder, "model")
        archives.unpack(model, unpacked)
        Path(folder).chmod(0o755)  # the container may run as another user
        yield unpacked


def docker(
    *arguments: str, check: bool = True, both: bool = False, seconds: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Runs `docker`; `both` joins stderr to stdout, `check` raises if it fails."""
    if not shutil.which("docker"):
        raise ServiceError("docker is not installed; install Docker, or give an address instead")
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C does not stop the commands that clean up
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DockerTimeout(
            f"docker {arguments[0]}: not done within {seconds:.0f} s; try again"
        ) from error
    if check and done.returncode:
        raise ServiceError(f"docker {' '.join(arguments[:2])}: {_reason(done.stderr)}")
    return done


def _reason(output: str) -> str:
    """Docker's error message on one line, without its prefixes."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    message = " ".join(line for line in lines if not line.startswith("Run 'docker"))
    message = re.sub(r"^(docker: )?(Error response from daemon: )?", "", message)
    return re.sub(r" ?Error: failed to start containers: \S+$", "", message) or "no reason given"
