"""petbox compared with other servers for a TensorFlow detector, alternating on one machine.

    python bench/peers.py                                    both models, a quarter of an hour
    python bench/peers.py --models toy --pictures 40         a first look

Each peer is installed from its public package into its own environment under build/peers, and set
up as documented (bench/peer_servers); all use the same installation of TensorFlow with its default
number of threads. All run at once and are called in turns by `hey` (Debian's package) with the same
image. The responses contain all of `serving_default`.
"""

from __future__ import annotations

import argparse
import base64
import csv
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import report
from model_server import TOY, free_port, jpeg

from petbox.serving import requirements

OUT = report.CHECKOUT / "build" / "peers"
SERVERS = report.CHECKOUT / "bench" / "peer_servers"
LARGER = report.CHECKOUT / "build" / "bench-export-speed" / "r50-640"
CONNECTIONS = (1, 4, 16)
MEGABYTE = 2**20


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
)


@dataclass
class Load:
    """What `hey` saw in all turns, at one number of connections."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: int = 0


@dataclass
class Running:
    peer: Peer
    port: int
    process: subprocess.Popen[bytes]
    started: float  # seconds to its first answer
    body: Path
    loads: dict[int, Load]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--models", nargs="+", choices=("toy", "larger"), default=["toy", "larger"])
    parser.add_argument("--pictures", type=int, default=200, help="a peer and turn, of the toy's")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    models = {"toy": TOY, "larger": LARGER}
    for name in options.models:
        if not models[name].is_dir():
            make = "make demo" if name == "toy" else "python bench/export_speed.py --only r50-640"
            raise SystemExit(f"{models[name]}: not here; type: {make}")
    if not shutil.which("hey"):
        raise SystemExit("hey: not here; apt-get install hey")
    for peer in PEERS:
        install(peer)
    picture = jpeg(100_000)
    head = ["server", "connections", "images/s", "p50, ms", "p99, ms", "errors"]
    head += ["memory, MB", "first response, s"]
    for name in options.models:
        pictures = options.pictures if name == "toy" else max(options.pictures // 20, 4)
        done = measured(models[name], picture, pictures, options.turns)
        plot(name, {one.peer.name: one.loads for one, _memory in done})
        typed = f"python bench/peers.py --models {name} --pictures {options.pictures}"
        typed += f" --turns {options.turns}"
        print(report.write_table(f"peers-{name}", typed, head, [row(*one) for one in done]))


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


def measured(
    model: Path, picture: bytes, pictures: int, turns: int
) -> list[tuple[Running, list[int]]]:
    """Every peer under every load, in turns; and the megabytes of each: idle, after the load."""
    with ExitStack() as stack:
        up = []
        for peer in PEERS:
            print(f"{model.name}: starting {peer.name}", file=sys.stderr)
            up.append(stack.enter_context(running(peer, model, picture)))
        idle = [megabytes(one.process.pid) for one in up]
        for one in up:  # the first of each worker, and of many at once, sets things up
            hey(one, 4, 8)
            one.loads[4] = Load()
        for turn in range(turns):
            for connections in CONNECTIONS:
                # The order changes: what follows a heavy one finds the machine hot.
                for one in up[turn % len(up) :] + up[: turn % len(up)]:
                    told = hey(one, connections, max(pictures, connections))
                    print(f"{one.peer.name}, {connections}: {told:.1f}/s", file=sys.stderr)
        after = [megabytes(one.process.pid) for one in up]
        return [(one, [a, b]) for one, a, b in zip(up, idle, after, strict=True)]


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
        yield Running(peer, port, process, asked - begin, body, {at: Load() for at in CONNECTIONS})
    finally:
        family = tree(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            for pid in family:
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


def hey(one: Running, connections: int, requests: int) -> float:
    """Asks so often; keeps what it saw, and gives the rate."""
    each = requests // connections
    words = f"hey -n {each * connections} -c {connections} -t 120 -m POST -T {one.peer.kind}"
    url = f"http://127.0.0.1:{one.port}{one.peer.ask}"
    done = subprocess.run(
        [*words.split(), "-D", one.body, "-o", "csv", url],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = list(csv.DictReader(done.stdout.splitlines()))
    load = one.loads[connections]
    good = [line for line in seen if line["status-code"] == "200"]
    load.errors += each * connections - len(good)
    load.seconds += [float(line["response-time"]) for line in good]
    end = max((float(line["offset"]) + float(line["response-time"]) for line in good), default=1.0)
    load.rates.append(len(good) / end)
    return load.rates[-1]


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


def row(one: Running, memory: Sequence[int]) -> list[str]:
    def each(of: str) -> str:
        return " / ".join(of for of in [_of(one.loads[at], of) for at in CONNECTIONS])

    return [
        one.peer.name,
        " / ".join(map(str, CONNECTIONS)),
        each("rate"),
        each("p50"),
        each("p99"),
        str(sum(load.errors for load in one.loads.values())),
        f"{memory[0]}, after the load {memory[1]}",
        f"{one.started:.1f}",
    ]


def _of(load: Load, what: str) -> str:
    if what == "rate":
        return f"{statistics.median(load.rates):.1f}"
    return f"{1000 * quantile(load.seconds, int(what[1:])):.0f}"


def quantile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)] if values else 0.0


def plot(model: str, peers: dict[str, dict[int, Load]]) -> None:
    """Throughput on the left, p99 on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained")
    for name, loads in peers.items():
        style = {"linewidth": 2.6, "zorder": 3} if name == "petbox" else {"linewidth": 1.3}
        rates = [statistics.median(loads[at].rates) for at in CONNECTIONS]
        slowest = [1000 * quantile(loads[at].seconds, 99) for at in CONNECTIONS]
        for values, axis in zip((rates, slowest), axes, strict=True):
            axis.plot(CONNECTIONS, values, marker="o", label=name, **style)
    for title, axis in zip(("pictures a second", "p99, ms"), axes, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log", base=2)
        axis.set_xticks(CONNECTIONS, map(str, CONNECTIONS))
        axis.set_xlabel("connections")
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[1].legend(fontsize=8)
    figure.savefig(report.CHECKOUT / "bench" / f"peers-{model}.png", dpi=110)


if __name__ == "__main__":
    main()
