"""What the serving tests share: a tiny detector, a stand-in engine, and programs they start.

The stand-in is a `tensorflow_model_server` for PATH: it loads when it is told to, keeps a request
until it is told to go on, and needs no TensorFlow, so that starts, deaths and signals are tested
in a moment. What goes over the wire is tested with the real embedded server.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from support.ports import free_port
from support.warm_python import WarmProcess, warm_python

CHECKOUT = Path(__file__).resolve().parents[2]
CONTAINER = CHECKOUT / "container"
LONG = 30.0  # seconds no healthy program needs

SERVE = [sys.executable, "-m", "petbox", "serve"]
# `petbox`, on a machine whose nginx has no Lua.
WITHOUT_LUA = (
    "import sys, pathlib; from petbox.serving import requirements; "
    "requirements.LUA = pathlib.Path('/absent'); "
    "from petbox.cli.main import main; sys.exit(main(sys.argv[1:]))"
)

# Files beside the stand-in steer it: while the pipe `load` is there it waits for a word from it
# before it opens its port, a request with `hold` in it waits for the pipe `hold`, `state` is what
# it says of its models, it logs what is in `log`, and with `broken` it leaves.
STAND_IN = """#!{python} -IS
import json, os, pathlib, re, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

here = pathlib.Path(__file__).parent
flags = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:])
names = ("CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH")
config = pathlib.Path(flags["model_config_file"]).read_text()
bases = re.findall(r'name: "(.*)" base_path: "(.*?)"', config)
models = {{n: {{v.name: str(v.resolve()) for v in pathlib.Path(b).iterdir()}} for n, b in bases}}

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        if self.path.startswith("/monitoring/"):
            return self.send_error(404)
        state = here / "state"
        available = json.dumps({{"model_version_status": [{{"state": "AVAILABLE"}}]}})
        self.answer(state.read_text() if state.exists() else available)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "hold" in body:
            (here / "hold").read_text()
        time.sleep(0.2 * body.count("slow"))
        env = {{name: os.environ[name] for name in names if name in os.environ}}
        batching = flags.get("batching_parameters_file")
        self.answer(json.dumps({{
            "path": self.path, "flags": flags, "env": env, "models": models, "body": len(body),
            "batching": batching and pathlib.Path(batching).read_text(),
        }}))

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 1024

print("the engine says that it is there", file=sys.stderr)
if (here / "log").exists():
    print((here / "log").read_text(), file=sys.stderr, flush=True)
if (here / "load").exists():
    (here / "load").read_text()
if (here / "broken").exists():
    print((here / "broken").read_text())
    sys.exit(255)
Server(("127.0.0.1", int(flags["rest_api_port"])), Handler).serve_forever()
"""


def stand_in_engine(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
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
        # Not in pytest's own folder, which is root's alone: nginx's workers read in theirs.
        self.temporary = Path(tempfile.mkdtemp(prefix="petbox-test-"))
        self.temporary.chmod(0o755)
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
                    "TMPDIR": str(self.temporary),
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

    def send_beside(self, number: signal.Signals) -> None:
        """To a thread that is not the main one, as the system may choose as well."""
        pid = self.process.pid
        threads = (int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir())
        beside = next(thread for thread in threads if thread != pid)
        assert ctypes.CDLL(None).tgkill(pid, beside, number) == 0

    def children(self) -> dict[str, int]:
        """Process ids of the supervisor's nginx and model server, by `nginx` and `engine`."""
        pids = [child for one in _children(self.process.pid) for child in _children(one)]
        lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
        names = {"nginx": b"nginx: master", "engine": b"--rest_api_port="}
        return {
            name: pid for name, sign in names.items() for pid, line in lines.items() if sign in line
        }

    def engine_port(self) -> int:
        """The port behind the front, from the file nginx was given."""
        (file,) = self.temporary.glob("*/settings.lua")
        return int(file.read_text().split("127.0.0.1:")[1].split('"')[0])


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def started(command: list[str], folder: Path, **env: str) -> Iterator[Program]:
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(command, folder, **env)
    try:
        yield program
    finally:
        program.send(signal.SIGINT)  # SIGTERM would take the supervisor 5 s
        try:
            program.process.wait(LONG)
        finally:
            program.process.kill()
            assert program.process.stdout
            program.process.stdout.close()
            shutil.rmtree(program.temporary)


class Front(NamedTuple):
    """The container's nginx, alone."""

    port: int
    program: Program
    folder: Path
    lines: queue.SimpleQueue[str]

    def log(self) -> dict[str, Any]:
        """The next line of the log."""
        line: dict[str, Any] = json.loads(self.lines.get(timeout=LONG))
        return line

    def workers(self) -> list[int]:
        """Process ids of those that do the work."""
        return _children(self.program.process.pid)


@contextmanager
def front(folder: Path, *engine_ports: int, **options: Any) -> Iterator[int]:
    """The port of a `whole_front`."""
    with whole_front(folder, *engine_ports, **options) as running:
        yield running.port


@contextmanager
def whole_front(
    folder: Path,
    *engine_ports: int,
    places: int = 32,
    settings: Mapping[str, object] | None = None,
    changes: Mapping[str, str] | None = None,
) -> Iterator[Front]:
    """The container's nginx before engines of `places` each.

    `settings` are values by name in settings.lua, `changes` are replaced in nginx.conf.
    """
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()
    shutil.copytree(CONTAINER / "gateway", folder / "gateway")
    for name in ("nginx.conf", "modules.conf", "settings.conf", "settings.lua"):
        (folder / name).write_text((CONTAINER / name).read_text())
    for old, new in (changes or {}).items():
        _edit(folder / "nginx.conf", re.escape(old), new)
    addresses = [f"127.0.0.1:{engine}" for engine in engine_ports]
    ours = {"engines": addresses, "slots": places * len(engine_ports)}
    for name, value in {**ours, **(settings or {})}.items():
        _edit(folder / "settings.lua", rf"(?<= {name} = ).*?(?=,( --.*)?\n)", _lua(value))
    (folder / "listen.conf").write_text(f"listen 127.0.0.1:{port};\n")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    if os.geteuid() == 0:  # pytest's folder is root's alone
        command += ["-g", "user root;"]
    path = f"{os.environ['PATH']}:/usr/sbin"
    with started(command, folder / "run", PATH=path) as program:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(program, lines), daemon=True).start()
        await_port(port)
        yield Front(port, program, folder, lines)


def _lua(value: object) -> str:
    text = json.dumps(value)
    return f"{{{text[1:-1]}}}" if isinstance(value, list) else text


def _read(program: Program, lines: queue.SimpleQueue[str]) -> None:
    """All of its log, as somebody must: nginx waits for who reads it."""
    assert program.process.stdout
    with contextlib.suppress(ValueError):  # closed at its end
        for line in program.process.stdout:
            lines.put(line)


class Engine(NamedTuple):
    """The embedded model server, alone."""

    port: int
    pid: int


@contextmanager
def embedded_engine(folder: Path, **models: Path) -> Iterator[Engine]:
    """The model server with every version of `models`, once they are loaded."""
    folder.mkdir()
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" '
        "model_version_policy { all {} } }"
        for name, base in models.items()
    )
    (folder / "models.config").write_text(f"model_config_list {{ {entries} }}")
    port = free_port()
    flags = [f"--rest_api_port={port}", f"--model_config_file={folder / 'models.config'}"]
    command = ("-m", "petbox.serving.model_server", *flags)
    with (
        (folder / "log").open("w") as log,
        WarmProcess(command, folder, os.environ, log.fileno(), log.fileno()) as program,
    ):
        await_port(port)
        for name in models:  # the port opens when the first version of each is loaded
            while "LOADING" in (status := model_status(port, name)) or "START" in status:
                time.sleep(0.02)
        yield Engine(port, program.pid)


def model_status(port: int, name: str) -> str:
    return requests.get(f"http://127.0.0.1:{port}/v1/models/{name}", timeout=LONG).text


def _edit(file: Path, pattern: str, new: str) -> None:
    text, found = re.subn(pattern, lambda _: new, file.read_text())
    assert found, f"{file.name} has no {pattern}"
    file.write_text(text)


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


def await_gauge(port: int, name: str, value: int) -> None:
    line = f"petbox_{name} {value}\n"
    deadline = time.monotonic() + LONG
    url = f"http://127.0.0.1:{port}/metrics"
    while line not in (text := requests.get(url, timeout=LONG).text):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


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


@contextmanager
def served_detector(folder: Path) -> Iterator[tuple[int, Program]]:
    """`petbox serve` with the embedded model server and a tiny detector, and its port."""
    with served_model(folder, tiny_detector(folder / "tiny" / "1").parent) as served:
        yield served


@contextmanager
def served_model(folder: Path, model: Path, **env: str) -> Iterator[tuple[int, Program]]:
    """`petbox serve` with this model, in forks of the warm Python, and its port."""
    port = free_port()
    command = [warm_python(), *SERVE[1:], str(model), "--port", str(port)]
    with started(command, folder / "run", **env) as program:
        assert program.line() == f"http://localhost:{port}/", program.errors.read_text()
        yield port, program


def tiny_detector(folder: Path, named: bool = False) -> Path:
    """A SavedModel with the exporter's signature whose boxes follow from the picture's size.

    A `named` one has the exporter's other two signatures as well; what it draws is the picture.
    """
    from petbox.tf import tf

    def decoded(file):  # type: ignore[no-untyped-def]
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    def one(file):  # type: ignore[no-untyped-def]
        size = tf.cast(tf.shape(decoded(file))[:2], tf.float32)
        share = 1.0 / (1.0 + size)  # so that the numbers need all their digits
        boxes = tf.stack([tf.concat([share, 1.0 - share], 0), tf.zeros(4)])
        return boxes, tf.constant([3.0, 1.0]), tf.stack([share[0], 0.0]), tf.constant(1.0)

    specification = [tf.TensorSpec([None], tf.string, "inputs")]

    @tf.function(input_signature=specification)
    def classic(inputs):  # type: ignore[no-untyped-def]
        shapes = [[2, 4], [2], [2], []]
        specs = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        boxes, classes, scores, count = tf.map_fn(one, inputs, fn_output_signature=specs)
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
            "num_detections": count,
        }

    @tf.function(input_signature=specification)
    def detect(inputs):  # type: ignore[no-untyped-def]
        whole = classic(inputs)
        found = {name: whole[name][:, :1] for name in whole if name != "num_detections"}
        count = tf.ones(tf.shape(inputs))
        names = tf.fill(tf.shape(found["detection_classes"]), "Abyssinian")
        return {**found, "detection_names": names, "num_detections": count}

    @tf.function(input_signature=specification)
    def draw(inputs):  # type: ignore[no-untyped-def]
        jpegs = tf.map_fn(lambda file: tf.io.encode_jpeg(decoded(file)), inputs, dtype=tf.string)
        return {"image_bytes": jpegs}

    signatures = {"serving_default": classic}
    if named:
        signatures |= {"detect": detect, "draw": draw}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder
