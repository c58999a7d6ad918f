"""The servers that bench/peers.py compares: installed, started, and what they use."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import report
from model_server import free_port

from petbox.serving import requirements

OUT = report.CHECKOUT / "build" / "peers"
SERVERS = report.CHECKOUT / "bench" / "peer_servers"
MEGABYTE = 2**20
TICKS = os.sysconf("SC_CLK_TCK")  # a second


@dataclass(frozen=True)
class Peer:
    """How one is installed, started and asked."""

    name: str
    packages: tuple[str, ...]
    command: str  # of its environment; {port} and the like are filled in
    ready: str = "/ping"
    ask: str = "/invocations"
    kind: str = "image/jpeg"


PEERS = (
    Peer("petbox", (), "python -m petbox serve {model} --port {port}"),
    Peer(
        "flask + gunicorn + nginx",
        ("flask==3.1.3", "gunicorn==27.0.1"),
        "python flask_serve.py {port} {nginx}",
    ),
    Peer(
        "FastAPI + uvicorn",
        ("fastapi==0.165.0", "uvicorn==0.54.0"),
        "uvicorn fastapi_server:app --port {port} --log-level warning",
    ),
    Peer(
        "MLServer",
        ("mlserver==1.7.1", "uvloop==0.21.0"),  # it does not start with a later uvloop
        "mlserver start {folder}",
        "/v2/health/ready",
        "/v2/models/detector/infer",
        "application/json",
    ),
    Peer(
        "BentoML",
        ("bentoml==1.4.39",),
        "bentoml serve bentoml_service:Detector --port {port}",
        "/readyz",
    ),
    Peer(
        "LitServe",
        ("litserve==0.2.19",),
        "python litserve_server.py {port}",
        "/health",
        "/predict",
    ),
)


@dataclass
class Running:
    peer: Peer
    port: int
    process: subprocess.Popen[bytes]
    started: float  # seconds to its first answer
    body: Path


def install(peer: Peer) -> None:
    """An environment with the peer's packages, which sees the TensorFlow that is here already."""
    folder = OUT / slug(peer)
    if not peer.packages or (folder / "ready").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {peer.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, *peer.packages], check=True)
    where = sysconfig.get_path("purelib", vars={"base": str(folder)})
    # Last on the path: what the peer brings itself comes first.
    (Path(where) / "zz-tensorflow.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "ready").touch()


def slug(peer: Peer) -> str:
    return peer.name.split()[0].lower()


@contextmanager
def running(peer: Peer, model: Path, picture: bytes) -> Iterator[Running]:
    port = free_port()
    folder = OUT / "run" / slug(peer)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    body = folder / "body"
    body.write_bytes(picture)
    if peer.name == "MLServer":
        _mlserver_folder(folder, port)
        data = base64.b64encode(picture).decode()
        about = {"name": "picture", "shape": [1], "datatype": "BYTES", "data": [data]}
        body.write_text(
            json.dumps({"inputs": [{**about, "parameters": {"content_type": "base64"}}]})
        )
    version = model / "1"  # other things may lie beside it
    words = peer.command.format(
        port=port, model=version, folder=folder, nginx=requirements.find_nginx()
    ).split()
    python = OUT / slug(peer) / "bin" / "python" if peer.packages else Path(sys.executable)
    environment = {
        **os.environ,
        "PEER_MODEL": str(version),
        "PYTHONPATH": str(SERVERS if peer.packages else report.CHECKOUT),
        "PATH": f"{python.parent}:{os.environ['PATH']}:/usr/sbin",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    begin = time.perf_counter()
    with (folder / "log").open("wb") as log:
        where = SERVERS if peer.packages else report.CHECKOUT
        process = subprocess.Popen(
            [python.parent / words[0], *words[1:]],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=where,
        )
    try:
        asked = _answers(peer, port, body.read_bytes(), process, folder / "log")
        yield Running(peer, port, process, asked - begin, body)
    finally:
        family = tree(process.pid)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for pid in family:  # LitServe leaves its workers behind
            end(pid)


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _mlserver_folder(folder: Path, port: int) -> None:
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "detector", "implementation": "mlserver_runtime.Detector"}
    (folder / "model-settings.json").write_text(json.dumps(model))


def _answers(
    peer: Peer, port: int, body: bytes, process: subprocess.Popen[bytes], log: Path
) -> float:
    """The moment of its first answer to the picture."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{peer.name} ended: {log.read_text()[-2000:]}")
        try:
            if _status(port, "GET", peer.ready, None, peer.kind) == 200:
                status = _status(port, "POST", peer.ask, body, peer.kind)
                if status == 200:
                    return time.perf_counter()
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise SystemExit(f"{peer.name} does not answer: {log.read_text()[-2000:]}")


def _status(port: int, method: str, path: str, body: bytes | None, kind: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def tree(pid: int) -> list[int]:
    """The process and all that it has started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Of the whole tree since it was started."""
    ticks = 0
    for one in tree(pid):
        with suppress(OSError):
            after_name = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, after_name[11:13]))
    return ticks / TICKS


def megabytes(pid: int) -> int:
    """Of the whole tree; what processes share is counted once."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return round(total / MEGABYTE)
