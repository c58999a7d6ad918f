"""What the embedded model server costs over calling the model directly, and how soon it is there.

    python bench/model_server.py [--requests 400]

A model that halves and adds two, and the demo's detector (model/toy) with a picture of 100 KB, are
called in this process and over a kept connection, in turns, so that both see the same machine; of
throughput there are rounds of both.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import report
from PIL import Image
from timing import Call, medians, rate, seconds

from petbox.model_server.model import Model, Running, load
from petbox.quiet_tensorflow import tf

OUT = report.CHECKOUT / "build" / "bench-model-server"
TOY = report.CHECKOUT / "model" / "toy"
CONNECTIONS = 8
STARTS = 3
ROUNDS = 5  # of throughput; of each number of threads the median counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    requests = parser.parse_args().requests
    if not TOY.is_dir():
        raise SystemExit(f"{TOY}: not here; type: make demo")
    picture = jpeg(100_000)
    rows = []
    with serving({"half_plus_two": half_plus_two(), "toy": TOY}) as port:
        small, toy = loaded(OUT / "half_plus_two"), loaded(TOY)
        numbers = {"x": np.array([1, 2, 5], np.float32)}
        body = json.dumps({"instances": [1.0, 2.0, 5.0]}).encode()
        calls = direct_call(small, numbers), http_call(port, "half_plus_two", body)
        direct, over_http = medians(calls, requests)
        rows.append(compared("half plus two, p50, ms", direct, over_http, "+1.5 ms"))
        pictures = {"inputs": np.array([picture], object)}
        body = json.dumps({"instances": [{"b64": base64.b64encode(picture).decode()}]}).encode()
        calls = direct_call(toy, pictures), http_call(port, "toy", body)
        direct, over_http = medians(calls, requests)
        rows.append(compared("toy detector, p50, ms", direct, over_http, "+5 %"))
        callers = [http_call(port, "toy", body) for _ in range(CONNECTIONS)]
        crews = [[direct_call(toy, pictures)] * count for count in (1, 2, 4, 8)] + [callers]
        rounds = [[rate(crew, requests) for crew in crews] for _ in range(ROUNDS)]
        *direct_rates, served = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        rows.append(compared("toy detector, images/s", max(direct_rates), served, "0.9 of direct"))
    alone, ready = (min(measure() for _ in range(STARTS)) for measure in (load_alone, serve))
    rows.append(compared("start, s", alone, ready, "+2 s"))
    head = ["", "direct", "embedded server", "", "bar"]
    print(report.write_table("model-server", "python bench/model_server.py", head, rows))


def compared(what: str, direct: float, served: float, bar: str) -> list[str]:
    difference = f"{served - direct:+.2f}, {served / direct:.2f}x"
    return [what, f"{direct:.2f}", f"{served:.2f}", difference, bar]


def direct_call(model: Model, inputs: dict[str, Any]) -> Call:
    signature = model.signatures["serving_default"]
    return lambda: model.run(signature, inputs)


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


def loaded(base: Path) -> Model:
    return load(base.name, 1, base / "1", Running())


def half_plus_two() -> Path:
    base = OUT / "half_plus_two"
    if not base.exists():
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], "x")
            v1.saved_model.simple_save(session, str(base / "1"), {"x": x}, {"y": x * 0.5 + 2.0})
    return base


def jpeg(size: int) -> bytes:
    """A picture of about `size` bytes, as noisy as it takes."""
    noise = np.random.default_rng(0).normal(0, 40, (480, 640, 3))
    shade = np.linspace(0, 255, 640)[None, :, None]
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
    server = subprocess.Popen([sys.executable, "-m", "petbox.model_server", *flags])
    try:
        while not is_open(port):
            assert server.poll() is None, "the model server did not start"
            time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait()


def load_alone() -> float:
    """A process that imports TensorFlow, without Keras, and loads the detector."""
    code = (
        "import sys; sys.modules['keras'] = sys.modules['tf_keras'] = None; import pathlib; "
        "from petbox.model_server.model import Running, load; "
        f"load('toy', 1, pathlib.Path({str(TOY / '1')!r}), Running())"
    )
    return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def serve() -> float:
    """Until `petbox serve` prints its address, which it does once /ping has answered 200."""
    command = [sys.executable, "-m", "petbox", "serve", str(TOY), f"--port={free_port()}"]
    path = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    begin = time.perf_counter()
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=path)
    assert program.stdout and program.stdout.readline()
    taken = time.perf_counter() - begin
    program.send_signal(signal.SIGTERM)
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
