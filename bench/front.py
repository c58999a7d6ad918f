"""The overhead of nginx and its scripts over the model server's own port.

    python bench/front.py [--requests 1200]

A model that halves and adds two, and the demo's detector (model/toy) with images of 100 KB and 1
MB, are called at the model server's port and through the container's gateway, alternating, so that
the load of the machine affects both. The model server is tensorflow_model_server if it is on PATH,
else the embedded one.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import report
from model_server import TOY, free_port, half_plus_two, is_open, jpeg
from timing import TURNS, Call, medians, rate, seconds

from petbox.serving import requirements

PINGS = 300
STARTS = 7
PAUSE = 0.01  # seconds between two pings
LARGE = 25 * 2**20  # bytes
JSON = "application/json"
LINES = "application/jsonlines"
ONLY_PROXY = """
daemon off; pid nginx.pid; events {}
http {
    access_log off; keepalive_requests 1000000; client_body_buffer_size 1m;
    upstream engine { server 127.0.0.1:%d; keepalive 16; keepalive_requests 1000000; }
    server {
        listen 127.0.0.1:%d;
        location / {
            proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
        }
    }
}
"""


@dataclass(frozen=True)
class Served:
    """Where the two models answer: at the engine's own port, and through nginx."""

    engine: int
    front: int
    nginx: int  # process id of the master

    def at_engine(self, model: str, body: bytes) -> Call:
        return caller(self.engine, f"/v1/models/{model}:predict", body, JSON)

    def through(self, model: str, body: bytes, kind: str = JSON) -> Call:
        attribute = f"X-Amzn-SageMaker-Custom-Attributes: tfs-model-name={model}\r\n"
        return caller(self.front, "/invocations", body, kind, attribute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=1200, help="of each kind")
    parser.add_argument("--larger", type=Path, help="folder of versions of a detector of real size")
    options = parser.parse_args()
    requests = options.requests
    models = {"half_plus_two": half_plus_two(), "toy": TOY}
    if options.larger:
        if not options.larger.is_dir():
            make = "python bench/export_speed.py --only r50-640"
            raise SystemExit(f"{options.larger}: not here; type: {make}")
        models["larger"] = options.larger.resolve()
    if not TOY.is_dir():
        raise SystemExit(f"{TOY}: not here; type: make demo")
    with served(models) as both:
        rows = [
            # In this order: the first requests of all wait for nginx's scripts to be compiled.
            throughputs(both, "half_plus_two", numbers(), 16, 8 * requests, 0.75),
            one_connection(both, requests),
            *(
                throughputs(both, "toy", predict(jpeg(100_000)), connections, requests, bar)
                for connections, bar in ((1, 0.97), (4, 0.95), (16, 0.95))
            ),
            only_proxied(both, predict(jpeg(100_000)), requests),
            bare_picture(both, "toy", requests // 4),
            *(bare_picture(both, name, 2 * TURNS) for name in models if name == "larger"),
            *large_json(both),
            pings_under_load(both),
            *json_lines(both),
        ]
    rows.append(start())
    head = ["", "model server", "through nginx", "", "bar"]
    typed = " ".join(["python bench/front.py", *sys.argv[1:]])
    print(report.write_table("front", typed, head, rows))


def one_connection(both: Served, requests: int) -> list[str]:
    body = numbers()
    calls = both.at_engine("half_plus_two", body), both.through("half_plus_two", body)
    direct, through = medians(calls, 4 * requests)
    title = "half plus two, 1 connection, p50, ms"
    added = through - direct
    bar = report.at_most(added, 0.2, " ms")
    return [title, f"{direct:.2f}", f"{through:.2f}", f"{added:+.2f} ms", bar]


def throughputs(
    both: Served, model: str, body: bytes, connections: int, requests: int, bar: float
) -> list[str]:
    direct = [both.at_engine(model, body) for _ in range(connections)]
    through = [both.through(model, body) for _ in range(connections)]
    ratio, cells = rates(direct, through, max(requests // TURNS, connections))
    title = f"{model}, {connections} connections, requests/s"
    return [title, *cells, report.at_least(ratio, bar)]


def rates(direct: list[Call], through: list[Call], each: int) -> tuple[float, list[str]]:
    """The median of the turns' ratios; a turn of one kind follows one of the other."""
    both = [(rate(direct, each), rate(through, each)) for _ in range(TURNS)]
    ratio = statistics.median(b / a for a, b in both)
    first, second = (statistics.median(column) for column in zip(*both, strict=True))
    return ratio, [f"{first:.1f}", f"{second:.1f}", f"{ratio:.3f}"]


def only_proxied(both: Served, body: bytes, requests: int) -> list[str]:
    """Through an nginx that passes everything on: what no gateway of nginx can be faster than."""
    path, port = "/v1/models/toy:predict", free_port()
    with tempfile.TemporaryDirectory(prefix="petbox-bench-") as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(ONLY_PROXY % (both.engine, port))
        program = subprocess.Popen(["nginx", "-p", folder, "-c", config, "-e", "stderr"])
        try:
            await_open(port)
            calls = [both.at_engine("toy", body)], [caller(port, path, body, JSON)]
            _, cells = rates(*calls, requests // TURNS)
        finally:
            program.terminate()
            program.wait()
    return ["… with an nginx that only proxies, 1 connection", *cells, ""]


def bare_picture(both: Served, model: str, requests: int) -> list[str]:
    """The median of the ratios of two calls that follow each other: the machine drifts."""
    picture = jpeg(1_000_000, 1536, 2048)  # 3 megapixels, as photos of that size have
    calls = both.through(model, predict(picture)), both.through(model, picture, "image/jpeg")
    pairs = [(seconds(calls[0]), seconds(calls[1])) for _ in range(requests)]
    ratio = statistics.median(bare / wrapped for wrapped, bare in pairs)
    wrapped, bare = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    title = f"{model}: JPEG of {len(picture) / 1e6:.2f} MB, base64 in JSON against bare"
    cells = [f"{wrapped:.1f}", f"{bare:.1f}", f"{ratio:.3f}"]
    return [f"{title}, p50, ms", *cells, report.at_most(ratio, 1.05)]


def large_json(both: Served) -> Iterator[list[str]]:
    picture = jpeg(1_000_000, 1200, 1600)
    body = predict(*[picture] * int(0.75 * LARGE / len(picture)))
    before = peak(both.nginx)
    calls = both.at_engine("toy", body), both.through("toy", body)
    direct, through = medians(calls, TURNS, turns=TURNS // 2)
    added = (through - direct) / direct
    title = f"JSON of {len(body) / 2**20:.1f} MB"
    cells = [f"{direct:.0f}", f"{through:.0f}", f"{added:+.3f}"]
    yield [f"{title}, p50, ms", *cells, report.at_most(added, 0.25)]
    grown = peak(both.nginx) - before
    share, megabytes = grown / len(body), f"{grown / 2**20:.0f}"
    bar = report.at_most(share, 3, "x")
    yield [f"{title}, nginx grows by, MB", "", megabytes, f"{share:.1f}x", bar]


def start() -> list[str]:
    """The container's entrypoint, until its port takes a connection; the model loads meanwhile."""
    taken = []
    for _ in range(STARTS):
        front = free_port()
        begin = time.perf_counter()
        with supervisor({"toy": TOY}, free_port(), front):
            await_open(front)
            taken.append(time.perf_counter() - begin)
    title = f"container/serve until its port is open, p50 of {STARTS}, s"
    middle = statistics.median(taken)
    return [title, "", f"{middle:.2f}", f"slowest {max(taken):.2f}", report.at_most(middle, 0.5)]


def pings_under_load(both: Served) -> list[str]:
    body = predict(jpeg(100_000))
    with at_work([both.through("toy", body) for _ in range(16)]):
        slowest = sorted(ping(both) for _ in range(PINGS))
    p99 = slowest[int(0.99 * PINGS)]
    title = "/ping while 16 connections call the detector, p50 and p99, ms"
    return [title, "", f"{slowest[PINGS // 2]:.1f}", f"{p99:.1f}", report.at_most(p99, 50)]


def json_lines(both: Served) -> Iterator[list[str]]:
    record = json.dumps({"b64": base64.b64encode(jpeg(100_000)).decode()}).encode() + b"\n"
    times, pings = [], []
    for size in (1_000_000, 8_000_000):
        body = record * (size // len(record))
        with at_work([both.through("toy", body, LINES)], once=True) as working:
            while working():
                pings.append(ping(both))
        times.append(working.seconds)
    small, large = times
    title = "JSON Lines of images, 1 MB and 8 MB, s"
    ratio, slowest = large / small, max(pings)
    bar = report.at_most(ratio, 10, "x")
    yield [title, f"{small:.2f}", f"{large:.2f}", f"{ratio:.1f}x", bar]
    bar = report.at_most(slowest, 200)
    yield ["slowest /ping meanwhile, ms", "", "", f"{slowest:.0f}", bar]
    yield lines_against_singly(both, record)


def lines_against_singly(both: Served, record: bytes) -> list[str]:
    """Images in one request, and one by one over as many connections as the gateway uses."""
    count = 8_000_000 // len(record)
    together = both.through("toy", record * count, LINES)
    one = b'{"instances": [' + record.strip() + b"]}"
    singly = [both.through("toy", one) for _ in range(8)]
    taken = [(count / rate(singly, count // 8), seconds(together)) for _ in range(TURNS)]
    ratio = statistics.median(lines / single for single, lines in taken)
    first, second = (statistics.median(column) for column in zip(*taken, strict=True))
    title = f"{count} images singly over 8 connections, and as JSON Lines, s"
    cells = [f"{first:.2f}", f"{second:.2f}", f"{ratio:.2f}x"]
    return [title, *cells, report.at_most(ratio, 1.2, "x")]


def numbers() -> bytes:
    return json.dumps({"instances": [1.0, 2.0, 5.0]}).encode()


def predict(*pictures: bytes) -> bytes:
    instances = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    return json.dumps({"instances": instances}).encode()


class Working:
    """Whether those at work still are; how long they were."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        self._threads = threads
        self.seconds = 0.0

    def __call__(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)


@contextmanager
def at_work(callers: list[Call], once: bool = False) -> Iterator[Working]:
    """Callers that ask again and again until the block is left, or each only `once`."""
    over = threading.Event()
    begin = time.perf_counter()

    def work(call: Call) -> None:
        while True:
            call()
            if once or over.is_set():
                working.seconds = time.perf_counter() - begin
                return

    threads = [threading.Thread(target=work, args=(call,)) for call in callers]
    working = Working(threads)
    for thread in threads:
        thread.start()
    try:
        yield working
    finally:
        over.set()
        for thread in threads:
            thread.join()


def ping(both: Served, path: str = "/ping") -> float:
    """Milliseconds of a GET, over a new connection as a load balancer's is."""
    time.sleep(PAUSE)
    begin = time.perf_counter()
    with socket.create_connection(("127.0.0.1", both.front)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    return 1000 * (time.perf_counter() - begin)


def caller(port: int, path: str, body: bytes, kind: str, more: str = "") -> Call:
    """Over a kept connection, with as little of a client as will do: the server is measured."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\n{more}"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def call() -> bytes:
        connection.sendall(request)
        answer = connection.recv(65536)
        head, _, text = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), answer[:1000]
        missing = int(head.split(b"Content-Length: ")[1].split()[0]) - len(text)
        while missing > 0:
            missing -= len(connection.recv(65536))
        return text

    return call


def peak(master: int) -> int:
    """Bytes that nginx's workers have held at most, together."""
    texts = [Path(f"/proc/{child}/status").read_text() for child in children(master)]
    found = [re.search(r"VmHWM:\s+(\d+) kB", text) for text in texts]
    return sum(1024 * int(match[1]) for match in found if match)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def served(models: dict[str, Path], **more: str) -> Iterator[Served]:
    engine, front = free_port(), free_port()
    with supervisor(models, engine, front, **more) as run:
        await_open(engine)
        (pid,) = run.glob("*/nginx.pid")
        yield Served(engine, front, int(pid.read_text()))


@contextmanager
def supervisor(models: dict[str, Path], engine: int, front: int, **more: str) -> Iterator[Path]:
    """container/serve and the folder in which it runs."""
    with tempfile.TemporaryDirectory(prefix="petbox-bench-") as folder:
        run, served_models = Path(folder), Path(folder, "models")
        run.chmod(0o755)  # nginx's workers do not run as root
        served_models.mkdir()
        for name, base in models.items():
            (served_models / name).symlink_to(base)
        env = {
            "PETBOX_DRAIN_SECONDS": "1",  # by default a stop takes 5 s
            "PETBOX_MODELS": str(served_models),
            "PETBOX_MODEL_SERVER": " ".join(requirements.model_server_command()),
            "SAGEMAKER_BIND_TO_PORT": str(front),
            "SAGEMAKER_SAFE_PORT_RANGE": f"{engine}-65535",
            "TMPDIR": folder,
            **more,
        }
        program = subprocess.Popen(
            [report.CHECKOUT / "container" / "serve"],
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield run
            assert program.poll() is None, "container/serve exited"
        finally:
            program.terminate()
            program.wait()


def await_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while not is_open(port):
        assert time.monotonic() < deadline, f"port {port} does not open"
        time.sleep(0.005)


if __name__ == "__main__":
    main()
