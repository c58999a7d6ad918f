"""Models with a code/inference.py behind the real gateway, before a stand-in model server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from support.ports import free_port, some_ports
from support.serving import CONTAINER, LONG, Program, empty_model, started
from support.serving_image import until

HANDLERS = Path(__file__).resolve().parents[1] / "handlers"

# Adds one to every number of `instances`; 400 for other JSON.
MODEL_SERVER = """
import json, re, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def plus_one(value):
    return [plus_one(one) for one in value] if isinstance(value, list) else value + 1

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        self.answer(200, {"model_version_status": [{"state": "AVAILABLE"}]})

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "instances" in told:
            self.answer(200, {"predictions": plus_one(told["instances"])})
        else:
            self.answer(400, {"error": "Missing 'inputs' or 'instances' key"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

port = next(one.split("=")[1] for one in sys.argv if one.startswith("--rest_api_port="))
ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


class Served(NamedTuple):
    port: int
    program: Program

    def post(self, body: bytes | str, kind: str | None = None, **headers: str) -> Any:
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        fields |= {"Content-Type": kind} if kind else {}
        url = f"http://127.0.0.1:{self.port}/invocations"
        return requests.post(url, data=body, headers=fields, timeout=LONG)

    def get(self, path: str = "/ping") -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=LONG)

    def ready(self) -> Served:
        until(lambda: self.over() or self.status() == 200, self.said)
        assert not self.over(), self.said()
        return self

    def status(self) -> int:
        try:
            return self.get().status_code
        except requests.ConnectionError:
            return 0

    def over(self) -> bool:
        return self.program.process.poll() is not None

    def said(self) -> str:
        return self.program.errors.read_text()


@contextmanager
def serving(folder: Path, inference: Path | str, **env: str) -> Iterator[Served]:
    """container/serve with a model whose code/inference.py is this file or this text."""
    model = folder / "model"
    if not model.exists():
        empty_model(model / "1")
    (model / "code").mkdir(exist_ok=True)
    text = inference.read_text() if isinstance(inference, Path) else inference
    (model / "code" / "inference.py").write_text(text)
    server = folder / "model_server.py"
    server.write_text(MODEL_SERVER)
    port = free_port()
    settings = {
        "PETBOX_MODELS": str(model),
        "PETBOX_MODEL_SERVER": f"{sys.executable} {server}",
        "PETBOX_PYTHON": sys.executable,
        "PETBOX_HOST": "127.0.0.1",
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_GUNICORN_WORKERS": "1",
        "SAGEMAKER_SAFE_PORT_RANGE": some_ports(),
        **env,
    }
    with started([str(CONTAINER / "serve")], folder / "run", **settings) as program:
        yield Served(port, program)
