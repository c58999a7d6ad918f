"""Runs the project's programs in forks of one Python that has TensorFlow imported.

The import takes longer than most of what the tests let programs do. Each program still has a
process, arguments, folder, output and exit code of its own. One such Python serves all workers of
xdist, which are forks of it themselves, and `warm_python` besides, for programs that start others.
This file is also its program.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

VARIABLE = "WARM_PYTHON_SOCKET"  # the address of its socket
PYTHON = Path(__file__).with_suffix("")  # runs in a fork of it what it is given, as a `python`
IMPORTS = "WARM_PYTHON_IMPORTS"  # what it imports, instead of `TENSORFLOW`
TENSORFLOW = (
    "petbox.evaluation.predictions",
    "petbox.export.exporter",
    "petbox.training.task",
    "petbox.training.trainer",
    # For evaluations. After petbox, which sets how TensorFlow is imported.
    "official.vision.utils.object_detection.visualization_utils",
)
WORKER = "--worker"  # before the arguments with which xdist starts a worker
RARELY = 50_000, 20, 20  # how often garbage is collected, for gc.set_threshold


class WarmProcess:
    """A program that runs; of `subprocess.Popen`, what the tests need."""

    def __init__(
        self, command: tuple[str, ...], cwd: str | Path, env: Mapping[str, str], *output: int
    ) -> None:
        self.args, self.returncode = command, None
        self.stderr: IO[str] | None = None
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.connect(os.environ[VARIABLE])
        request = {"command": command, "cwd": str(cwd), "env": dict(env)}
        with Path(os.devnull).open() as nothing:
            fds = [nothing.fileno(), *output]
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
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
    """What runs programs in forks of it."""

    def run(
        self, *command: str, cwd: str | Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `python SCRIPT WORD...` does and prints, in this process's environment."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            with WarmProcess(command, cwd, os.environ, out.fileno(), errors.fileno()) as process:
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
            process = WarmProcess(command, cwd, {**os.environ, **env}, theirs, theirs)
        finally:
            os.close(theirs)
        process.stderr = os.fdopen(ours)
        return process


def warm_python() -> str:
    """`PYTHON`, once its import is over, which may take longer than a program may."""
    WarmPython().run(os.devnull, cwd="/", timeout=600)
    return str(PYTHON)


def programs(folder: Path) -> Path:
    """A folder for PATH, with `python` and `petbox`."""
    folder.mkdir(parents=True)
    for name, words in (("python", ""), ("petbox", " -m petbox")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{warm_python()}"{words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Names the socket in the environment; its first program starts the one Python."""
    before = os.environ.get(VARIABLE)  # of the tests that run this
    alive, ours = os.pipe()
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        os.environ[VARIABLE] = f"{folder}/socket"
        listener.bind(os.environ[VARIABLE])
        listener.listen(64)

        def serve_programs() -> None:
            if listener in select.select([listener, alive], [], [])[0]:
                fds = (listener.fileno(), alive)
                # Its own output, of which there should be none, goes where pytest's goes.
                command = [sys.executable, __file__, *map(str, fds)]
                subprocess.run(command, stdin=subprocess.DEVNULL, pass_fds=fds)
                listener.close()  # whoever waits for an answer gets none

        thread = threading.Thread(target=serve_programs, daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(ours)
            thread.join()
            os.close(alive)
            del os.environ[VARIABLE]
            if before:
                os.environ[VARIABLE] = before


def serve(listener: socket.socket, alive: int) -> Any:
    """Forks a keeper for each program, which forks it and waits for it.

    Returns a request only in the fork that runs it.
    """
    while alive not in select.select([listener, alive], [], [])[0]:
        reap(os.WNOHANG)
        control, _ = listener.accept()
        with control:
            message, fds, _, _ = socket.recv_fds(control, 1 << 20, 3)
            if message and os.fork() == 0:
                listener.close()
                os.close(alive)
                keep(control, *fds)
                return json.loads(message)
            for fd in fds:
                os.close(fd)
    reap()  # their programs end with the tests
    sys.exit()


def reap(options: int = 0) -> None:
    """Waits for the keepers, so that the CPU time of all programs is counted here."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def keep(control: socket.socket, *stdio: int) -> None:
    """Returns in a fork with these; tells its process id and its exit code.

    Kills it if the one who started it is gone.
    """
    pid = os.fork()
    if pid == 0:
        control.close()
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
            os.close(fd)
        # Those of the start have found out what their files were: a log, perhaps, not a pipe.
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        return
    for fd in stdio:
        os.close(fd)
    with contextlib.suppress(OSError):
        control.send(str(pid).encode())
        ended = os.pidfd_open(pid)
        if ended not in select.select([ended, control], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        control.send(str(code).encode())
    os._exit(0)


def become(command: list[str]) -> None:
    """Runs `[-u] (SCRIPT | -m MODULE) WORD...` in this process, and anything else in a cold one."""
    if command[0] == WORKER:  # -u -c CODE
        sys.argv = ["-c"]
        exec(command[-1], {"__name__": "__main__"})
        return
    cold, sys.executable = sys.executable, str(PYTHON)  # for the programs that it starts
    if command[0] == "-u":
        command = command[1:]
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    if command[0] == "-m":
        sys.path.pop(0)
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0].startswith("-"):
        os.execv(cold, [cold, *command])
    else:
        gc.set_threshold(*RARELY)  # a script ends soon; a module may be a server
        sys.argv = command
        sys.path[0] = str(Path(command[0]).resolve().parent)
        runpy.run_path(command[0], run_name="__main__")


def exit_code(command: list[str]) -> int:
    """Runs it to its end. Leaves out what Python does then: it would write to all that is shared.

    To take TensorFlow's modules apart costs more than most programs do.
    """
    code: Any = 0
    try:
        become(command)
    except KeyboardInterrupt:
        raise
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    return code


if __name__ == "__main__":
    # oneDNN compiles kernels for each shape in each process, which the tests' small networks do not
    # live long enough to gain by. Read once, at the import; containers and cold programs use it.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    for module in os.environ.get(IMPORTS, " ".join(TENSORFLOW)).split():
        importlib.import_module(module)
    gc.freeze()  # or a collection in a fork would copy what is shared
    request = serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # an import has found it out already, and TMPDIR may be another one
    os._exit(exit_code(request["command"]))
