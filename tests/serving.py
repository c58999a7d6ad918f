"""What the serving tests share: a tiny detector, a stand-in engine, and programs they start.

The stand-in is a `tensorflow_model_server` for PATH: it loads when it is told to, keeps a request
until it is told to go on, and needs no TensorFlow, so that starts, deaths and signals are tested
in a moment. What goes over the wire is tested with the real embedded server.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

CHECKOUT = Path(__file__).parent.parent
CONTAINER = CHECKOUT / "container"
LONG = 30.0  # seconds no healthy program needs

SERVE = [sys.executable, "-m", "petbox", "serve"]

# Files beside the stand-in steer it: while the pipe `load` is there it waits for a word from it
# before it opens its port, a predict request with `hold` in it waits for the pipe `hold`, and
# `state` is what it says of its model.
STAND_IN = """#!{python}
import json, pathlib, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

here = pathlib.Path(__file__).parent
flags = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:])

def status(*states):
    return json.dumps({{"model_version_status": [{{"state": s}} for s in states]}})

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        state = here / "state"
        self.answer(state.read_text() if state.exists() else status("AVAILABLE"))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "hold" in body:
            (here / "hold").read_text()
        folder = pathlib.Path(flags["model_base_path"])
        seen = {{str(p.relative_to(folder)): str(p.resolve()) for p in folder.iterdir()}}
        self.answer(json.dumps({{"predictions": [seen]}}))

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass

if (here / "load").exists():
    (here / "load").read_text()
if (here / "broken").exists():
    sys.exit((here / "broken").read_text())
ThreadingHTTPServer(("127.0.0.1", int(flags["rest_api_port"])), Handler).serve_forever()
"""


def stand_in_engine(folder: Path) -> Path:
    folder.mkdir(parents=True)
    program = folder / "tensorflow_model_server"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    return folder


def empty_model(folder: Path) -> Path:
    """A folder that looks like a SavedModel, for engines that do not look inside."""
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    return folder


class Program:
    """A started program: its lines on stdout, all of its stderr, its end."""

    def __init__(self, command: list[str], folder: Path, **env: str) -> None:
        self.errors = folder / "stderr"
        temporary = folder / "tmp"
        temporary.mkdir()
        self.temporary = temporary
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(CHECKOUT),
                    "TMPDIR": str(temporary),
                    **env,
                },
            )

    def line(self) -> str:
        """The next line on stdout; "" when there will be none."""
        timer = threading.Timer(LONG, self.process.kill)  # a test never hangs
        timer.start()
        assert self.process.stdout
        line = self.process.stdout.readline()
        timer.cancel()
        return line.strip()

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr, once it is over."""
        code = self.process.wait(LONG)
        return code, self.errors.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def children(self) -> dict[str, int]:
        """Process ids of the children, by `nginx` and `engine`."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = {int(c): Path(f"/proc/{c}/cmdline").read_bytes() for c in children}
        return {"nginx" if b"nginx" in line else "engine": c for c, line in lines.items()}

    def engine_port(self) -> int:
        """The port behind the front, from the file nginx was given."""
        (file,) = self.temporary.glob("*/engine.conf")
        return int(file.read_text().split("127.0.0.1:")[1].split(";")[0])


@contextmanager
def started(command: list[str], folder: Path, **env: str) -> Iterator[Program]:
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(command, folder, **env)
    try:
        yield program
    finally:
        program.send(signal.SIGTERM)
        try:
            program.process.wait(LONG)
        finally:
            program.process.kill()
            assert program.process.stdout
            program.process.stdout.close()


@contextmanager
def front(folder: Path, engine_port: int, **changes: str) -> Iterator[int]:
    """The container's nginx before `engine_port`; `changes` are replaced in its configuration."""
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()
    conf = (CONTAINER / "nginx.conf").read_text()
    for old, new in changes.items():
        assert old in conf
        conf = conf.replace(old, new)
    (folder / "nginx.conf").write_text(conf)
    (folder / "gateway.js").write_text((CONTAINER / "gateway.js").read_text())
    (folder / "listen.conf").write_text(f"listen 127.0.0.1:{port};")
    (folder / "engine.conf").write_text(f"upstream engine {{ server 127.0.0.1:{engine_port}; }}")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    path = f"{os.environ['PATH']}:/usr/sbin"
    with started(command, folder / "run", PATH=path):
        await_port(port)
        yield port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def await_port(port: int, opened: bool = True) -> None:
    """Returns when the port takes connections, or no longer does."""
    gone_by = threading.Event()
    timer = threading.Timer(LONG, gone_by.set)
    timer.start()
    while is_open(port) != opened:
        assert not gone_by.wait(0.02), f"port {port} is not {'open' if opened else 'closed'}"
    timer.cancel()


def raw(port: int, request: bytes) -> bytes:
    """What comes back on the wire until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=LONG) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def predict_json(*pictures: bytes) -> bytes:
    instances = [{"b64": base64.b64encode(p).decode()} for p in pictures]
    return json.dumps({"instances": instances}).encode()


def post(port: int, body: bytes, kind: str, path: str = "/invocations") -> requests.Response:
    url = f"http://127.0.0.1:{port}{path}"
    return requests.post(url, data=body, headers={"Content-Type": kind}, timeout=LONG)


def png(width: int, height: int) -> bytes:
    """A small picture of one colour, by the format's own rules."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = (b"\0" + b"\x80\x40\x20" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiny_detector(folder: Path) -> Path:
    """A SavedModel with the exporter's signature whose boxes follow from the picture's size."""
    from petbox.quiet_tensorflow import tf

    def one(file):  # type: ignore[no-untyped-def]
        picture = tf.io.decode_image(file, channels=3, expand_animations=False)
        size = tf.cast(tf.shape(picture)[:2], tf.float32)
        share = 1.0 / (1.0 + size)  # so that the numbers need all their digits
        boxes = tf.stack([tf.concat([share, 1.0 - share], 0), tf.zeros(4)])
        return boxes, tf.constant([3.0, 1.0]), tf.stack([share[0], 0.0]), tf.constant(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def detect(inputs):  # type: ignore[no-untyped-def]
        shapes = [[2, 4], [2], [2], []]
        specs = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        boxes, classes, scores, count = tf.map_fn(one, inputs, fn_output_signature=specs)
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
            "num_detections": count,
        }

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": detect})
    return folder
