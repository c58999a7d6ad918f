"""The overhead of the embedded model server over calling the model directly, and its start.

    python bench/model_server.py [--requests 400]

A model that halves and adds two, and the demo's detector (model/toy) with an image of 100 KB, are
called in this process and over a persistent connection, alternating, so that the load of the
machine affects all. Direct calls are made in two ways: by the signature from `tf.saved_model.load`,
as Python users do, and by a session, as the server does.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import report
from PIL import Image
from timing import Call, medians, rate, seconds

from petbox.serving.model_server.model import load
from petbox.serving.model_server.tensorflow_engine import TensorFlow
from petbox.tf import tf

OUT = report.CHECKOUT / "build" / "bench-model-server"
TOY = report.CHECKOUT / "model" / "toy"
CONNECTIONS = 8
CROWDS = (1, 2, 4, 8)  # threads that call directly
STARTS = 3
ROUNDS = 5  # of throughput; of each number of threads the median counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    requests = parser.parse_args().requests
    if not TOY.is_dir():
        raise SystemExit(f"{TOY}: not here; type: make demo")
    picture = jpeg(100_000)
    numbers, pictures = np.array([1, 2, 5], np.float32), np.array([picture], object)
    bodies = {
        "half_plus_two": {"instances": [1.0, 2.0, 5.0]},
        "toy": {"instances": [{"b64": base64.b64encode(picture).decode()}]},
    }
    rows = []
    with serving({"half_plus_two": half_plus_two(), "toy": TOY}) as port:

        def over_http(name: str) -> Call:
            return http_call(port, name, json.dumps(bodies[name]).encode())

        calls = [*direct_calls(OUT / "half_plus_two", "x", numbers), over_http("half_plus_two")]
        rows.append(compared("half plus two, p50, ms", medians(calls, requests), added=1.5))
        direct = direct_calls(TOY, "inputs", pictures)
        p50 = medians([*direct, over_http("toy")], requests)
        rows.append(compared("toy detector, p50, ms", p50, most=1.05))
        crews = [[call] * count for call in direct for count in CROWDS]
        crews.append([over_http("toy") for _ in range(CONNECTIONS)])
        rounds = [[rate(crew, requests) for crew in crews] for _ in range(ROUNDS)]
        rates = [statistics.median(each) for each in zip(*rounds, strict=True)]
        best = [max(rates[: len(CROWDS)]), max(rates[len(CROWDS) : -1]), rates[-1]]
        rows.append(compared("toy detector, images/s", best, least=0.9))
    alone, ready = (min(measure() for _ in range(STARTS)) for measure in (load_alone, serve))
    rows.append(compared("start, s", [alone, ready], added=2))
    head = ["", "signature", "session", "embedded server", "against these", "bar"]
    print(report.write_table("model-server", "python bench/model_server.py", head, rows))


def compared(what: str, measured: Sequence[float], **bars: float) -> list[str]:
    """Each bar is against the last of the direct calls: what is `added`, or a ratio."""
    *direct, served = measured
    judged = {
        "added": lambda bar: report.at_most(served - direct[-1], bar),
        "most": lambda bar: report.at_most(served / direct[-1], bar, "x"),
        "least": lambda bar: report.at_least(served / direct[-1], bar, "x"),
    }
    ((kind, bar),) = bars.items()
    against = ", ".join(f"{served - one:+.2f} ({served / one:.2f}x)" for one in direct)
    cells = [f"{one:.2f}" for one in measured]
    return [what, *[""] * (3 - len(cells)), *cells, against, judged[kind](bar)]


def direct_calls(base: Path, name: str, value: Any) -> list[Call]:
    """The loaded signature, and the same model in a session as the server has one."""
    signature = tf.saved_model.load(str(base / "1")).signatures["serving_default"]
    model = load(base.name, 1, base / "1", TensorFlow())
    inputs = {name: value}

    def by_signature() -> dict[str, Any]:
        found = signature(**{name: tf.constant(value)})
        return {key: one.numpy() for key, one in found.items()}

    return [by_signature, lambda: model.run("serving_default", inputs)]


def http_call(port: int, name: str, body: bytes) -> Call:
    """Over a kept connection, with as little of a client as will do: the server is measured."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    def call() -> None:
        connection.sendall(request)
        answer = connection.recv(65536)
        head, _, text = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), answer
        missing = int(head.split(b"Content-Length: ")[1]) - len(text)
        while missing > 0:
            missing -= len(connection.recv(65536))

    return call


def half_plus_two() -> Path:
    base = OUT / "half_plus_two"
    if not base.exists():
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], "x")
            v1.saved_model.simple_save(session, str(base / "1"), {"x": x}, {"y": x * 0.5 + 2.0})
    return base


def jpeg(size: int, height: int = 480, width: int = 640) -> bytes:
    """An image of about `size` bytes, as noisy as it takes."""
    noise = np.random.default_rng(0).normal(0, 40, (height, width, 3))
    shade = np.linspace(0, 255, width)[None, :, None]
    image = Image.fromarray(np.clip(shade + noise, 0, 255).astype(np.uint8))
    for quality in range(95, 5, -2):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= size:
            break
    return file.getvalue()


@contextmanager
def serving(models: dict[str, Path]) -> Iterator[int]:
    OUT.mkdir(parents=True, exist_ok=True)
    entries = [
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}'
        for name, base in models.items()
    ]
    config = OUT / "models.config"
    config.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    port = free_port()
    flags = [f"--rest_api_port={port}", f"--model_config_file={config}"]
    server = subprocess.Popen([sys.executable, "-m", "petbox.serving.model_server", *flags])
    try:
        while not is_open(port):
            assert server.poll() is None, "the model server did not start"
            time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait()


def load_alone() -> float:
    """A process that loads the detector with the server's engine."""
    code = (
        "import pathlib; "
        "from petbox.serving.model_server.model import load; "
        "from petbox.serving.model_server.tensorflow_engine import TensorFlow; "
        f"load('toy', 1, pathlib.Path({str(TOY / '1')!r}), TensorFlow())"
    )
    return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def serve() -> float:
    """Until `petbox serve` prints its address, which it does once /ping has answered 200."""
    command = [sys.executable, "-m", "petbox", "serve", str(TOY), f"--port={free_port()}"]
    env = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "PETBOX_DRAIN_SECONDS": "1",  # by default a stop takes 5 s
    }
    begin = time.perf_counter()
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
    assert program.stdout and program.stdout.readline()
    taken = time.perf_counter() - begin
    program.terminate()
    program.wait()
    return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
