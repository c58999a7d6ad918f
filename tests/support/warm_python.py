"""Runs the project's programs in forks of one Python that has TensorFlow imported.

The import takes longer than most of what the tests let programs do. Each program still has a
process, arguments, folder, output and exit code of its own. This file is also the program of that
Python: it serves requests on the socket that is its stdin.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class WarmPython:
    """One Python with TensorFlow imported, from the first program until `close`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, *command: str, cwd: str | Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `python SCRIPT WORD...` does and prints, in this process's environment."""
        connection = self._connected()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            request = {"command": command, "cwd": str(cwd), "env": dict(os.environ)}
            fds = [out.fileno(), errors.fileno()]
            socket.send_fds(connection, [json.dumps(request).encode()], fds)
            pid = self._number(timeout)
            try:
                code = self._number(timeout)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._number(timeout)
                raise subprocess.TimeoutExpired(list(command), timeout) from None
            texts = []
            for file in (out, errors):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess([sys.executable, *command], code, *texts)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                # Its own output, of which there should be none, goes where pytest's goes.
                self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs)
        return self._socket

    def _number(self, timeout: float) -> int:
        assert self._socket
        self._socket.settimeout(timeout)
        answer = self._socket.recv(64)
        assert answer, "the Python that runs the programs ended"
        return int(answer)

    def close(self) -> None:
        if self._socket and self._process:
            self._socket.close()
            self._process.wait()


def serve(requests: socket.socket) -> Any:
    """Forks for each request; returns one only in the fork that runs it."""
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not message:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            requests.close()
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, fd in enumerate((nothing, *fds)):
                os.dup2(fd, number)
                os.close(fd)
            return json.loads(message)
        for fd in fds:
            os.close(fd)
        requests.send(str(pid).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


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
