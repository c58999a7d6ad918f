"""Runs the project's programs in forks of one Python that has TensorFlow imported.

The import takes longer than most of what the tests let programs do. Each program still has a
process, arguments, folder, output and exit code of its own. This file is also the program of that
Python: it serves requests on the socket that is its stdin.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any


class WarmProcess:
    """A program that runs; of `subprocess.Popen`, what the tests need."""

    def __init__(self, command: tuple[str, ...], control: socket.socket) -> None:
        self.args, self.returncode = command, None
        self.stderr: IO[str] | None = None
        self._control = control
        self.pid = self._number(600)  # the first has to wait for the import

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = self._number(timeout)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """The rest of its stderr, once it has ended."""
        assert self.stderr
        parts, give_up = [], None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if give_up is None else max(0, give_up - time.monotonic())
            if not select.select([self.stderr], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            if not (part := os.read(self.stderr.fileno(), 65536)):
                self.wait(timeout)
                return None, b"".join(parts).decode()
            parts.append(part)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody asked yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _number(self, timeout: float | None) -> int:
        self._control.settimeout(timeout)
        answer = self._control.recv(64)
        assert answer, "the Python that runs the programs ended"
        return int(answer)

    def __enter__(self) -> WarmProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self.wait()
        self._control.close()
        if self.stderr:
            self.stderr.close()


class WarmPython:
    """One Python with TensorFlow imported, from the first program until `close`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, *command: str, cwd: str | Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `python SCRIPT WORD...` does and prints, in this process's environment."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            with self._started(command, cwd, os.environ, out.fileno(), errors.fileno()) as process:
                code = process.wait(timeout)
            texts = []
            for file in (out, errors):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess([sys.executable, *command], code, *texts)

    def start(self, *command: str, cwd: str | Path, **env: str) -> WarmProcess:
        """`python SCRIPT WORD...` while it runs, with a pipe for its stderr."""
        ours, theirs = os.pipe()
        try:
            process = self._started(command, cwd, {**os.environ, **env}, theirs, theirs)
        finally:
            os.close(theirs)
        process.stderr = os.fdopen(ours)
        return process

    def _started(
        self,
        command: tuple[str, ...],
        cwd: str | Path,
        env: Mapping[str, str],
        *output: int,
    ) -> WarmProcess:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = {"command": command, "cwd": str(cwd), "env": dict(env)}
            fds = [*output, theirs.fileno()]
            socket.send_fds(self._connected(), [json.dumps(request).encode()], fds)
        return WarmProcess(command, control)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                # Its own output, of which there should be none, goes where pytest's goes.
                self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs)
        return self._socket

    def close(self) -> None:
        if self._socket and self._process:
            self._socket.close()
            self._process.wait()


def serve(requests: socket.socket) -> Any:
    """Forks a keeper for each request, which waits for the program that it forks.

    Returns a request only in the fork that runs it.
    """
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        with contextlib.suppress(ChildProcessError):  # so that CPU time is counted here
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            keep(*fds)
            return json.loads(message)
        for fd in fds:
            os.close(fd)


def keep(out: int, errors: int, control: int) -> None:
    """Returns in a fork with this output; tells its process id and its exit code."""
    pid = os.fork()
    if pid == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((nothing, out, errors)):
            os.dup2(fd, number)
        for fd in {nothing, out, errors, control}:
            os.close(fd)
        return
    os.close(out)
    os.close(errors)
    with socket.socket(fileno=control) as test, contextlib.suppress(OSError):  # the test is gone
        test.send(str(pid).encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        test.send(str(code).encode())
    os._exit(0)


if __name__ == "__main__":
    import petbox.evaluation.predictions
    import petbox.export.exporter
    import petbox.training.task
    import petbox.training.trainer  # noqa: F401

    gc.freeze()  # or a collection in a fork would copy what is shared
    request = serve(socket.socket(fileno=os.dup(0)))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["command"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
