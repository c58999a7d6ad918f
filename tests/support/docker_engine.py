"""A Docker engine for tests, and a bare Debian or Ubuntu to build on, where none can be pulled.

An engine that answers is used as it is; else root starts one of its own, which is gone afterwards
with all that was built, and keeps it in memory if there is enough. The bare system is what
mmdebstrap makes of the machine's own release and mirror; it is kept in build/, for it takes a
minute to make. Name this module in `pytest_plugins` to ask for its fixtures.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import CHECKOUT

SECONDS_TO_START = 60
# What an engine of our own takes for ECR; it speaks plain HTTP to whatever is on the loopback.
REGISTRY_HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
REGISTRY_ADDRESS = "127.0.0.80"
# The images of a session are gigabytes, and deleting them from a disk may take a minute.
FREE_GIGABYTES = 12
# An idle containerd 1.6 collects its garbage 300 times a second: a minute of CPU in a run.
CONTAINERD = """#!/bin/sh
if grep -q '^version = 0' "$2"; then
  printf '\\n[plugins.scheduler]\\n  pause_threshold = 0.0001\\n' >>"$2"
fi
PATH=${PATH#*:} exec containerd "$@"
"""
CAP_SYS_ADMIN = 21  # without it not even root can mount what a container stands on
PACKAGES = "ca-certificates,python3"
UNREAD = ("doc", "locale", "man")  # half of what is in the packages
MERGED_USR = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"  # else a script in Perl moves the files
# What every image made here is called, so that they can be found again: by this process, for
# another may use the same engine.
MINE = f"petbox-test-{os.getpid()}"


@dataclass(frozen=True)
class Engine:
    """The `docker` command, and the environment that leads it to its engine."""

    env: dict[str, str]
    own: bool = False

    def __call__(
        self, *words: str | Path, check: bool = True, timeout: int = 600
    ) -> subprocess.CompletedProcess[str]:
        command = ["docker", *map(str, words)]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check:
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """A `docker` command that goes on while the test does something else."""
        command = ["docker", *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def answers(self) -> bool:
        return self("info", check=False, timeout=30).returncode == 0

    def unpacked(self, name: str, packing: str, *words: str | Path) -> None:
        """Makes an image of what the shell command `packing` writes as a tar file."""
        script = f"set -o pipefail; {packing} | docker import - {name}"
        done = subprocess.run(
            ["bash", "-c", script, "-", *map(str, words)],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed; scripts/install_system.sh docker")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    # The builder that every engine has; the other is a plugin of its own.
    env = {**os.environ, "PATH": path, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}
    here = Engine(env)
    if here.answers():
        try:
            yield here
        finally:
            made = here("images", "--quiet", "--filter", f"reference={MINE}-*").stdout.split()
            here("rmi", "--force", *made, check=False)
        return
    if why := cannot_start(path):
        pytest.skip(f"no Docker engine answers, and none can be started: {why}")
    folder = Path(tempfile.mkdtemp(prefix="petbox-docker-"))  # a socket's path must be short
    try:
        with started(folder, path) as socket:
            yield Engine({**env, "DOCKER_HOST": socket}, own=True)
    finally:
        for line in Path("/proc/mounts").read_text().splitlines():
            if (point := line.split()[1]).startswith(f"{folder}/"):  # --network=host leaves one
                subprocess.run(["umount", point], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def cannot_start(path: str) -> str:
    if os.geteuid() != 0:
        return "only root can"
    if not shutil.which("dockerd", path=path):
        return "dockerd is not installed; scripts/install_system.sh docker"
    able = next(x for x in Path("/proc/self/status").read_text().splitlines() if "CapEff" in x)
    if not int(able.split()[1], 16) >> CAP_SYS_ADMIN & 1:
        return "this container has no right to mount anything (docker run --privileged has)"
    return ""


def available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


class started:  # noqa: N801  # a context manager reads as a verb
    """An engine of our own, with everything that it keeps in `folder`."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.socket = folder, f"unix://{folder}/docker.sock"
        self.env = {**os.environ, "PATH": path, "DOCKER_HOST": self.socket}

    def __enter__(self) -> str:
        keeps = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        flags = [f"--{flag}={self.folder / name}" for flag, name in keeps.items()]
        # The machine's network is left as it is: no bridge, no rules.
        alone = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        hosts = self.folder / "hosts"
        hosts.write_text(f"{Path('/etc/hosts').read_text()}\n{REGISTRY_ADDRESS} {REGISTRY_HOST}\n")
        # Seen by it alone, so gone with it.
        script = f"mount --bind {hosts} /etc/hosts\n"
        if available_memory() > FREE_GIGABYTES * 10**9:
            (self.folder / "data").mkdir()
            script += f"mount -t tmpfs -o mode=711 petbox {self.folder / 'data'}\n"
        script += f'PATH={self.folder}:$PATH exec dockerd "$@"'
        (self.folder / "containerd").write_text(CONTAINERD)
        (self.folder / "containerd").chmod(0o755)
        own_mounts = ["unshare", "--mount", "--propagation=slave", "sh", "-euc", script, "-"]
        self.log = self.folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*own_mounts, f"--host={self.socket}", *flags, *alone],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        give_up = time.monotonic() + SECONDS_TO_START
        while not Engine(self.env).answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.__exit__()
                pytest.fail(f"dockerd does not start:\n{self.log.read_text()[-2000:]}")
        return self.socket

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def debian_tar() -> Path:
    """A bare system of this machine's own release, with Python, as a tar file."""
    release = platform.freedesktop_os_release()
    name, codename = release["ID"], release.get("VERSION_CODENAME", "")
    made = CHECKOUT / "build" / f"{name}-{codename}.tar"
    made.parent.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in several processes want the same one
        if not made.exists():
            make_debian(made, name, codename)
    return made


def make_debian(made: Path, name: str, codename: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid() != 0 or not shutil.which("mmdebstrap", path=path):
        pytest.skip("mmdebstrap as root makes the bare system; scripts/install_system.sh docker")
    components = "main,universe" if name == "ubuntu" else "main"
    partial = made.with_suffix(".partial")
    words = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "--format=tar"]
    words += [f"--components={components}", f"--hook-dir={MERGED_USR}"]
    words += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in UNREAD]
    done = subprocess.run(
        [*words, "--dpkgopt=force-unsafe-io", codename, partial, mirror(codename)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    partial.rename(made)


def mirror(codename: str) -> str:
    """Where this machine's own packages come from."""
    words = ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        release, site = line.split()
        if release == codename:
            return site
    pytest.skip(f"apt knows no mirror of {codename}; apt-get update may find it")


@pytest.fixture(scope="session")
def debian(engine: Engine, debian_tar: Path) -> str:
    """The name of the bare system's image."""
    name = f"{MINE}-{debian_tar.stem}"
    engine("import", debian_tar, name)
    return name


@pytest.fixture(scope="session")
def publishing(engine: Engine) -> Iterator[str]:
    """A network whose containers can publish ports; an engine of our own comes without one."""
    name = f"{MINE}-published"
    engine("network", "create", name)
    try:
        yield name
    finally:
        engine("network", "rm", name, check=False)
