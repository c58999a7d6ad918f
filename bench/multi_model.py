"""Models that come and go on a multi-model endpoint, and what the others notice of it.

    python bench/multi_model.py [--models 50]

The demo's detector (model/toy) is loaded, asked and unloaded again and again, while a client asks
another copy of it, which stays, some 15 times a second, but for the moment in which the loaded one
is asked. The model server is tensorflow_model_server if it is on PATH, else the embedded one.
Client, gateway and model server share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import front
import report
from model_server import TOY, free_port

from petbox.serving import requirements
from petbox.serving.http_client import Address, NoResponse, Response, request

SERVE = Path(__file__).resolve().parents[1] / "container" / "serve"
QUIET_SECONDS = 30.0
PAUSE = 0.05  # seconds between two requests
LOADED, UNLOADED = 4, 2  # seconds


@contextmanager
def endpoint() -> Iterator[tuple[Address, int]]:
    """The address of container/serve, and the model server's process id."""
    at = Address("127.0.0.1", free_port())
    env = {
        "PETBOX_HOST": at.host,
        "PETBOX_MODEL_SERVER": " ".join(map(str, requirements.model_server_command())),
        "SAGEMAKER_BIND_TO_PORT": str(at.port),
        "SAGEMAKER_MULTI_MODEL": "true",
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for nginx's worker, which is not root
        log = (Path(folder) / "log").open("w")
        env |= {"TMPDIR": folder}
        command = ["bash", str(SERVE)]
        server = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
        try:
            while not _is_ready(at):
                assert server.poll() is None, (Path(folder) / "log").read_text()
                time.sleep(0.1)
            (engine,) = [pid for pid in front.children(server.pid) if _is_engine(pid)]
            yield at, engine
        finally:
            server.terminate()  # shells ignore SIGINT in what they start with &
            server.wait()


def _is_ready(at: Address) -> bool:
    try:
        return request(at, "GET", "/ping", seconds=5).status == 200
    except NoResponse:
        return False


def _is_engine(pid: int) -> bool:
    return b"--rest_api_port=" in Path(f"/proc/{pid}/cmdline").read_bytes()


def ask(at: Address, method: str, path: str, body: bytes = b"", status: int = 200) -> Response:
    found = request(at, method, path, body, {"Content-Type": "application/json"}, seconds=600)
    assert found.status == status, f"{method} {path}: {found.status} {found.body!r}"
    return found


def load(at: Address, name: str) -> float:
    body = json.dumps({"model_name": name, "url": str(TOY.resolve())}).encode()
    begin = time.perf_counter()
    ask(at, "POST", "/models", body)
    return time.perf_counter() - begin


class Asker:
    """Asks the model that stays, again and again."""

    def __init__(self, at: Address, body: bytes) -> None:
        self.taken: list[float] = []
        self._stop = threading.Event()
        self.turn = threading.Lock()  # held by whoever asks
        self._at, self._body = at, body
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            with self.turn:
                begin = time.perf_counter()
                ask(self._at, "POST", "/models/stays/invoke", self._body)
                self.taken.append(time.perf_counter() - begin)

    def stop(self) -> list[float]:
        self._stop.set()
        self._thread.join()
        return sorted(self.taken)


def _p99(taken: list[float]) -> float:
    return 1000 * taken[int(0.99 * len(taken))]


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--models", type=int, default=50, help="loaded one after the other")
    options = parser.parse_args()
    if not TOY.is_dir():
        raise SystemExit(f"{TOY}: not here; type: make demo")
    body = front.predict(front.jpeg(100_000))
    loads, unloads, resident = [], [], []
    with endpoint() as (at, engine):
        load(at, "stays")
        ask(at, "POST", "/models/stays/invoke", body)
        asker = Asker(at, body)
        time.sleep(QUIET_SECONDS)
        quiet = asker.stop()
        asker = Asker(at, body)
        for number in range(options.models):
            loads.append(load(at, f"model-{number}"))
            with asker.turn:
                ask(at, "POST", f"/models/model-{number}/invoke", body)
            resident.append(_resident(engine))
            begin = time.perf_counter()
            ask(at, "DELETE", f"/models/model-{number}")
            unloads.append(time.perf_counter() - begin)
        busy = asker.stop()
    first = resident[min(4, len(resident) - 1)]
    grown = max(resident[4:] or resident) / first - 1
    ratio = _p99(busy) / _p99(quiet)
    p99 = f"{_p99(quiet):.0f}, {_p99(busy):.0f}"
    middle = f"{1000 * statistics.median(quiet):.0f}, {1000 * statistics.median(busy):.0f}"
    rows = [
        ["load beside others, p50 and longest, s", *_middle_and_longest(loads, LOADED)],
        ["unload, p50 and longest, s", *_middle_and_longest(unloads, UNLOADED)],
        ["memory of the model server at the 5th model, MB", f"{first:.0f}", "", ""],
        [
            f"… its most until the {options.models}th",
            f"{max(resident):.0f}",
            f"{grown:+.1%}",
            report.at_most(100 * grown, 10, " %"),
        ],
        ["another model meanwhile: p50 before and during, ms", middle, "", ""],
        [
            f"… p99 before and during, {len(quiet) + len(busy)} requests, ms",
            p99,
            f"{ratio:.2f}x",
            report.at_most(ratio, 1.5, "x"),
        ],
    ]
    head = ["", "", "", "bar"]
    command = f"python bench/multi_model.py --models {options.models}"
    print(report.write_table("multi_model", command, head, rows))


def _middle_and_longest(taken: list[float], bar: float) -> list[str]:
    """The bar is one of the middle."""
    middle = statistics.median(taken)
    return [f"{middle:.2f}, {max(taken):.2f}", "", report.at_most(middle, bar)]


if __name__ == "__main__":
    main()
