"""What a code/inference.py that only passes on adds to a request, beside the same model without it.

    python bench/hooks.py [--requests 400]

Two containers' worth of processes with a model that halves and adds two are called alternately, so
that the load of the machine affects both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import front
import report
from model_server import half_plus_two
from timing import TURNS, Call, medians, rate

from petbox.serving.http_client import Address, NoResponse, request

JSON = "application/json"
PASSES_ON = """
def input_handler(data, context):
    return data.read()


def output_handler(response, context):
    return response.content, "application/json"
"""


@contextmanager
def with_code() -> Iterator[Path]:
    """The model, and beside its version the code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "1").symlink_to(half_plus_two() / "1")
        (folder / "code").mkdir()
        (folder / "code" / "inference.py").write_text(PASSES_ON)
        yield folder


def await_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if request(Address("127.0.0.1", port), "GET", "/ping", seconds=5).status == 200:
                return
        except NoResponse:
            pass
        time.sleep(0.05)
    raise SystemExit("the container is not ready after 60 s")


def calls(ports: list[int], body: bytes) -> list[Call]:
    return [front.caller(port, "/invocations", body, JSON) for port in ports]


def latency(ports: list[int], title: str, values: int, requests: int) -> list[str]:
    body = json.dumps({"instances": [1.0] * values}).encode()
    bare, hooked = medians(calls(ports, body), requests)
    bar = report.at_most(hooked - bare, 2) if values == 1 else ""
    return [title, f"{bare:.2f}", f"{hooked:.2f}", f"+{hooked - bare:.2f}", bar]


def throughput(ports: list[int], connections: int, requests: int) -> list[str]:
    body = b'{"instances": [1.0]}'
    callers = [[calls([port], body)[0] for _ in range(connections)] for port in ports]
    rates: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for mine, found in zip(callers, rates, strict=True):
            found.append(rate(mine, max(requests // TURNS, connections)))
    bare, hooked = (sorted(found)[TURNS // 2] for found in rates)
    return [f"{connections} connections, requests/s", f"{bare:.0f}", f"{hooked:.0f}", "", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    requests = parser.parse_args().requests
    python = {"PETBOX_PYTHON": sys.executable}
    with (
        with_code() as model,
        front.served({"model": half_plus_two()}) as bare,
        front.served({"model": model}, **python) as hooked,
    ):
        ports = [bare.front, hooked.front]
        for port in ports:
            await_ready(port)
        rows = [
            latency(ports, "1 connection, 1 value, p50, ms", 1, requests),
            latency(ports, "1 connection, 100,000 values, p50, ms", 100_000, requests // 10),
            throughput(ports, 4, 4 * requests),
        ]
    head = ["", "without code", "with code", "", "bar"]
    print(report.write_table("hooks", "python bench/hooks.py", head, rows))


if __name__ == "__main__":
    main()
