"""An image run as SageMaker runs it, over the `docker` command: `serve`, the mount, the port.

Starts one container on a network of its own, lets its caller look at it, and leaves nothing
behind. Judges nothing.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.cli.program import say
from petbox.data.fetch import archives
from petbox.errors import ModelError, ServiceError
from petbox.serving.conform.http import Address

PORT = 8080
MODEL = "/opt/ml/model"
BIND_TO_PORT = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
HOSTNAME = "model.aws.local"  # what SageMaker's hosts call a container
LOOPBACK = "127.0.0.1"
SECONDS = 120.0  # the engine itself may be busy
_number = itertools.count(1)


class Silent(ServiceError):
    """A command of Docker's that did not end in time."""


@dataclass(frozen=True)
class Wanted:
    """What is run, and how: by default as SageMaker does."""

    image: str
    model: Path | None = None
    env: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("serve",)
    flags: tuple[str, ...] = ()  # more of `docker create`
    port: int = PORT  # the container's
    host_port: int | None = None  # this machine's; any free one
    isolated: bool = False  # no network at all


@dataclass(frozen=True)
class Image:
    """What is written in an image that decides how it starts."""

    platform: str
    entrypoint: tuple[str, ...]
    user: str
    labels: dict[str, str]

    @property
    def binds_to_port(self) -> bool:
        return self.labels.get(BIND_TO_PORT, "").lower() == "true"

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
    wanted: Wanted
    refusal: str = ""  # why the engine could not start it

    @functools.cached_property
    def at(self) -> Address:
        """Where its port is to be reached from here; an isolated one has none."""
        ports = self._inspect(".NetworkSettings.Ports") or {}
        bound = ports.get(f"{self.wanted.port}/tcp") or []
        if not bound:  # it has ended, and its ports with it
            return Address(LOOPBACK, self.wanted.host_port or 0)
        return Address(LOOPBACK, int(bound[0]["HostPort"]))

    def state(self) -> State:
        now = self._inspect(".State")
        return State(bool(now["Running"]), int(now["ExitCode"]), bool(now["OOMKilled"]))

    def log(self, lines: int = 200) -> list[str]:
        done = docker("logs", "--tail", str(lines), self.name, both=True, check=False)
        return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]

    def inside(self, *command: str) -> str | None:
        """What `command` prints in the container, run by root there; None if it cannot."""
        done = docker("exec", "--user", "0", self.name, *command, check=False)
        return done.stdout if done.returncode == 0 else None

    def through(self, command: Sequence[str], sent: bytes, seconds: float) -> bytes:
        """What `command`, run in the container, makes of the bytes sent to it."""
        try:
            done = subprocess.run(
                ["docker", "exec", "--interactive", self.name, *command],
                input=sent,
                capture_output=True,
                start_new_session=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return b""
        return done.stdout

    def of_host(self, path: str) -> str | None:
        """A file of /proc/PID as this machine sees it, where the engine runs on it."""
        pid = int(self._inspect(".State")["Pid"])
        try:
            return Path(f"/proc/{pid}/{path}").read_text() if pid else None
        except OSError:
            return None

    def signal(self, name: str) -> None:
        docker("kill", "--signal", name, self.name, check=False)

    def ended(self, seconds: float) -> int | None:
        """Its exit code, once it is over; None if it still runs after `seconds`."""
        try:
            done = docker("wait", self.name, seconds=seconds)
        except Silent:
            return None
        return int(done.stdout)

    @contextlib.contextmanager
    def log_on_stderr(self) -> Iterator[None]:
        """Passes its log on for as long as the context lasts."""
        command = ["docker", "logs", "--follow", self.name]
        with subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr) as following:
            try:
                yield
                if not self.state().running:  # its last words
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        following.wait(2)
            finally:
                following.terminate()

    def _inspect(self, what: str) -> Any:
        return json.loads(docker("inspect", "--format", f"{{{{json {what}}}}}", self.name).stdout)


@contextlib.contextmanager
def running(wanted: Wanted) -> Iterator[Container]:
    """The container, started or refused; it and its network are gone afterwards."""
    name = f"petbox-{os.getpid()}-{next(_number)}"
    with contextlib.ExitStack() as stack:
        network = "none"
        if not wanted.isolated:  # of its own: no other container of this machine is on it
            network = name
            stack.callback(docker, "network", "rm", name, check=False)
            docker("network", "create", name)
        stack.callback(docker, "rm", "--force", "--volumes", name, check=False)
        done = docker("create", "--name", name, "--network", network, *_flags(wanted), check=False)
        if done.returncode == 0:
            done = docker("start", name, check=False)
        yield Container(name, wanted, _reason(done.stderr) if done.returncode else "")


def _flags(wanted: Wanted) -> list[str]:
    flags = ["--hostname", HOSTNAME]
    if not wanted.isolated:
        flags += ["--publish", f"{LOOPBACK}:{wanted.host_port or ''}:{wanted.port}"]
    if wanted.model is not None:
        flags += ["--volume", f"{wanted.model.resolve()}:{MODEL}:ro"]
    flags += [f"--env={pair}" for pair in wanted.env]
    return [*flags, *wanted.flags, wanted.image, *wanted.arguments]


def find(name: str) -> Image:
    """The image, pulled if it is not here."""
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
def model_folder(model: Path | None) -> Iterator[Path | None]:
    """What is to be mounted: the folder itself, or a model.tar.gz unpacked for the while."""
    if model is None or model.is_dir():
        if model is not None and ":" in str(model.resolve()):
            raise ModelError(f"{model}: a colon in its path cannot be mounted; rename the folder")
        yield model
        return
    if not model.is_file():
        raise ModelError(f"{model}: no such folder or archive; name a model's folder or tar.gz")
    with tempfile.TemporaryDirectory(prefix="petbox-model-") as folder:
        unpacked = Path(folder, "model")
        archives.unpack(model, unpacked)
        Path(folder).chmod(0o755)  # the container's user need not be ours
        yield unpacked


def docker(
    *words: str, check: bool = True, both: bool = False, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Runs `docker`; `both` puts stderr with stdout, `check` makes its failure ours."""
    if not shutil.which("docker"):
        raise ServiceError("docker is not installed; install Docker, or give an address instead")
    try:
        done = subprocess.run(
            ["docker", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must not end the commands that clean up after it
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Silent(f"docker {words[0]}: no end within {seconds:.0f} s; try again") from error
    if check and done.returncode:
        raise ServiceError(f"docker {' '.join(words[:2])}: {_reason(done.stderr)}")
    return done


def _reason(said: str) -> str:
    """Docker's own words on one line, without its preludes."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = " ".join(line for line in lines if not line.startswith("Run 'docker"))
    words = re.sub(r"^(docker: )?(Error response from daemon: )?", "", words)
    return re.sub(r" ?Error: failed to start containers: \S+$", "", words) or "no reason given"
