"""The gateway under more load than the model servers take: fairness, JSON Lines, memory, pings.

    python bench/gateway.py [--seconds 10]

Needs no model of its own: a stand-in that takes 0.2 s for each request shows the queue, and a model
that halves and adds two the rest. Clients, gateway and model server share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socketserver
import statistics
import sys
import tempfile
import time
from pathlib import Path

import front
import report
from model_server import half_plus_two

SLOTS = 32
TAKES = 0.2  # seconds, for each request to the stand-in
CLIENTS = (32, 48, 64, 96, 128)
ROWS = 20_000
LARGE = 25 * 2**20  # bytes
JSON, LINES, IMAGE = "application/json", "application/jsonlines", "image/jpeg"
ANSWER = b'{"predictions": [1.0]}'
AVAILABLE = b'{"model_version_status": [{"state": "AVAILABLE"}]}'


class StandIn(socketserver.StreamRequestHandler):
    """A model server that reads what comes, and answers after a while."""

    def handle(self) -> None:
        while head := b"".join(iter(self.rfile.readline, b"\r\n")):
            found = re.search(rb"Content-Length: (\d+)", head)
            missing = int(found[1]) if found else 0
            while missing:
                missing -= len(self.rfile.read(min(missing, 2**20)))
            if found:
                time.sleep(TAKES)
            body = ANSWER if found else AVAILABLE
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.wfile.write(head + body)


class StandInServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        return await _exchange(reader, writer, request)
    finally:
        writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"Content-Length: (\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(found[1])) if found else b""
    return int(head.split()[1]), body


def post(body: bytes, kind: str) -> bytes:
    head = f"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def clients(port: int, count: int, seconds: float) -> tuple[list[float], int, list[int]]:
    """Latencies of clients that ask again and again, errors, and how often each was answered."""
    request = post(b'{"instances": [1.0]}', JSON)
    taken: list[float] = []
    errors, answered = 0, [0] * count
    end = time.perf_counter() + seconds

    async def work(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            status, _ = await _exchange(reader, writer, request)
            taken.append(time.perf_counter() - begin)
            answered[number] += 1
            errors += status != 200
        writer.close()

    await asyncio.gather(*map(work, range(count)))
    return taken, errors, answered


def fairness(port: int, count: int, seconds: float) -> list[str]:
    taken, errors, answered = asyncio.run(clients(port, count, seconds))
    fair = count / SLOTS * TAKES
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[int(0.99 * len(taken))]
    title = f"{count} clients on {SLOTS} slots of {TAKES:g} s, p50 and p99, ms"
    rest = f"p99 {p99 / fair:.2f}x the fair {1000 * fair:.0f}, {errors} errors, "
    rest += f"{min(answered)} to {max(answered)} each"
    bar = report.at_most(p99 / fair, 1.5, "x, no error", not errors)
    return [title, f"{1000 * p50:.0f}, {1000 * p99:.0f}", rest, bar]


def pings(both: front.Served) -> list[str]:
    request = b"\xff" * LARGE
    senders = [front.caller(both.front, "/invocations", request, IMAGE) for _ in range(4)]
    with front.at_work(senders):
        taken = sorted(front.ping(both) for _ in range(front.PINGS))
    title = "/ping while 4 connections send images of 25 MB, p50 and p99, ms"
    return _pinged(title, taken, 50)


def scrapes(both: front.Served) -> list[str]:
    askers = [front.caller(both.front, "/invocations", b"{}", JSON) for _ in range(48)]
    with front.at_work(askers):
        taken = sorted(front.ping(both, "/metrics") for _ in range(front.PINGS))
    title = "/metrics while 48 connections send requests, p50 and p99, ms"
    return _pinged(title, taken, 5)


def _pinged(title: str, taken: list[float], bar: float) -> list[str]:
    """The bar is one of the p99."""
    p99 = taken[int(0.99 * len(taken))]
    middle = f"{statistics.median(taken):.1f}, {p99:.1f}"
    return [title, middle, f"slowest {taken[-1]:.0f}", report.at_most(p99, bar)]


def lines(port: int, master: int) -> list[list[str]]:
    request = post(b"1.0\n" * ROWS, LINES)
    taken = []
    for _ in range(6):
        begin = time.perf_counter()
        status, body = asyncio.run(ask(port, request))
        taken.append(time.perf_counter() - begin)
        assert (status, body.count(b"\n")) == (200, ROWS)
    megabytes = sum(_resident(pid) for pid in front.children(master)) / 2**20
    p50, slowest = statistics.median(taken), f"slowest {max(taken):.3f}"
    title = f"{ROWS:,} rows as JSON Lines, p50 of 6, s"
    held = report.at_most(megabytes, 40)
    return [
        [title, f"{p50:.3f}", slowest, report.at_most(p50, 0.2)],
        ["memory of nginx's worker after them, MB", f"{megabytes:.0f}", "", held],
    ]


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--rest_api_port", type=int, help=argparse.SUPPRESS)  # runs the stand-in
    options, _ = parser.parse_known_args()
    if options.rest_api_port:
        StandInServer(("127.0.0.1", options.rest_api_port), StandIn).serve_forever()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "1").mkdir()
        (Path(folder) / "1" / "saved_model.pb").touch()
        command = f"{sys.executable} {Path(__file__).resolve()}"
        with front.served({"model": Path(folder)}, PETBOX_MODEL_SERVER=command) as both:
            rows += [fairness(both.front, count, options.seconds) for count in CLIENTS]
            rows += [scrapes(both), pings(both)]
    with front.served({"model": half_plus_two()}) as both:
        rows += lines(both.front, both.nginx)
    head = ["", "", "", "bar"]
    print(report.write_table("gateway", "python bench/gateway.py", head, rows))


if __name__ == "__main__":
    main()
