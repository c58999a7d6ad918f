"""A multi-model endpoint: container/serve and its model server, asked as SageMaker does."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from support.ports import free_port
from support.serving import CONTAINER, Program, is_open, started
from support.serving_image import VERY_LONG, until

EMBEDDED = f"{sys.executable} -m petbox.serving.model_server"
ASKED = b'{"instances": [1]}'


class Endpoint:
    def __init__(self, port: int, program: Program) -> None:
        self.port, self.program = port, program
        self.url = f"http://127.0.0.1:{port}"

    def load(self, name: Any, url: Path | str) -> requests.Response:
        body = json.dumps({"model_name": name, "url": str(url)})
        return requests.post(f"{self.url}/models", body, timeout=VERY_LONG)

    def loaded(self, name: str, url: Path | str) -> None:
        answer = self.load(name, url)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"modelName": name, "modelUrl": str(url)}

    def unload(self, name: str) -> int:
        return requests.delete(f"{self.at(name)}", timeout=VERY_LONG).status_code

    def invoke(
        self, name: str, body: bytes = ASKED, kind: str = "application/json", attributes: str = ""
    ) -> requests.Response:
        headers = {"Content-Type": kind, "X-Amzn-SageMaker-Custom-Attributes": attributes}
        return requests.post(f"{self.at(name)}/invoke", body, headers=headers, timeout=VERY_LONG)

    def at(self, name: str) -> str:
        return f"{self.url}/models/{quote(name, safe='')}"

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=VERY_LONG)

    def names(self) -> list[str]:
        return [model["modelName"] for model in self.get("/models").json()["models"]]

    def run_folder(self) -> Path:
        (file,) = self.program.temporary.glob("*/nginx.pid")
        return file.parent

    def processes(self, sign: bytes) -> list[int]:
        """Process ids of the supervisor's children whose command line has this."""
        pids = children(self.program.process.pid)
        return [pid for pid in pids if sign in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def links(self) -> list[str]:
        """The numbered folders in which versions are linked."""
        return [path.name for path in (self.run_folder() / "multi").iterdir() if path.is_dir()]


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def multi_model_endpoint(folder: Path, model_server: str = EMBEDDED) -> Iterator[Endpoint]:
    port = free_port()
    env = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "PETBOX_HOST": "127.0.0.1",
        "PETBOX_MODEL_SERVER": model_server,
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_SAFE_PORT_RANGE": f"{free_port()}-65535",
    }
    with started([str(CONTAINER / "serve")], folder / "run", **env) as program:
        endpoint = Endpoint(port, program)
        assert program.process.stdout  # nginx waits for who reads its log
        threading.Thread(target=program.process.stdout.read, daemon=True).start()
        until(
            lambda: (
                program.process.poll() is not None or (is_open(port) and endpoint.get("/ping").ok)
            ),
            program.errors.read_text,
            VERY_LONG,
            0.1,
        )
        assert program.process.poll() is None, program.errors.read_text()
        yield endpoint
