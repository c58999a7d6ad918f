"""container/serve without Docker, as it was started, before a stand-in engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from support.ports import free_port, some_ports
from support.serving import CONTAINER, LONG, is_open, stand_in_engine
from support.serving_image import until

SERVE = CONTAINER / "serve"
JSON = "application/json"


class Serve:
    """container/serve as it was started, with all that it says kept."""

    def __init__(
        self, folder: Path, words: tuple[str, ...], port: int, env: dict[str, str], stdout: Any
    ) -> None:
        self.folder, self.port = folder, port
        self.errors, self.requests = folder / "stderr", folder / "stdout"
        self.temporary = Path(env["TMPDIR"])
        with self.errors.open("w") as errors, self.requests.open("w") as file:
            self.process = subprocess.Popen(
                [SERVE, *words], stdout=stdout or file, stderr=errors, env=env
            )

    def ping(self) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}/ping", timeout=LONG)

    def ask(self, body: bytes = b"{}", **headers: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/invocations"
        headers = {"Content-Type": JSON, **headers}
        answer = requests.post(url, data=body, headers=headers, timeout=LONG)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ready(self) -> Serve:
        until(lambda: self.over() or (is_open(self.port) and self.ping().ok), self.errors.read_text)
        assert not self.over(), self.errors.read_text()
        return self

    def over(self) -> bool:
        return self.process.poll() is not None

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr, once it is over; nothing of it is left."""
        code = self.process.wait(LONG)
        assert not is_open(self.port)
        assert not [*self.temporary.iterdir()]
        return code, self.errors.read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def nginx(self) -> int:
        """The process id of its master."""
        (file,) = self.temporary.glob("*/nginx.pid")
        return int(file.read_text())

    def engines(self) -> list[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(c) for c in children if b"rest_api_port" in _command(int(c))]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def serving(
    folder: Path, *words: str, port: int = 0, stdout: Any = None, **env: str
) -> Iterator[Serve]:
    """`serve` with models in folder/opt and folder/models; `env` is its own environment."""
    # Not in pytest's own folder, which is root's alone: nginx's workers read in theirs.
    temporary = tempfile.mkdtemp(prefix="petbox-test-")
    Path(temporary).chmod(0o755)
    port = port or free_port()
    inherited = {"LANG", "HOME", "LD_LIBRARY_PATH"} & set(os.environ)
    settings = {
        **{name: os.environ[name] for name in inherited},
        "PATH": f"{stand_in_engine(folder / 'engine')}:{os.environ['PATH']}",
        "PETBOX_MODELS": f"{folder / 'opt'} {folder / 'models'}",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_SAFE_PORT_RANGE": some_ports(),
        "TMPDIR": temporary,
        **env,
    }
    started = Serve(folder, words, port, settings, stdout)
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGINT)
        try:
            started.process.wait(LONG)
        finally:
            started.process.kill()
            shutil.rmtree(temporary)
