"""The overhead of `petbox detect` over the requests themselves.

    python bench/detect.py [--pictures 200] [--rounds 7]

The container's own gateway runs before the embedded model server. `hey` (Debian's package) and
`petbox detect` send it the same bodies, alternating: for the toy detector of `make demo`, the
smallest, and for a model that only decodes the image, where the client's own work shows most.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import report
from model_server import TOY, free_port, jpeg
from timing import medians, seconds

from petbox import wire
from petbox.client import transport
from petbox.client.detector import Detector

OUT = report.CHECKOUT / "build" / "bench-detect"
IN_FLIGHT = 8
CALLS = 200  # of each kind, one at a time
SIZE = 100_000  # bytes of a picture
DETECT = [sys.executable, "-m", "petbox", "detect"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7, help="of hey and petbox detect in turns")
    options = parser.parse_args()
    if not shutil.which("hey"):
        raise SystemExit("hey: not here; apt-get install hey")
    if not TOY.is_dir():
        raise SystemExit(f"{TOY}: not here; type: make demo")
    shutil.rmtree(OUT, ignore_errors=True)
    photos = OUT / "photos"
    photos.mkdir(parents=True)
    picture = jpeg(SIZE)
    for n in range(options.pictures):
        (photos / f"{n:04}.jpg").write_bytes(picture)
    body = OUT / "body.json"
    body.write_bytes(wire.request([picture], signature=transport.DETECT))
    rows = []
    for words in ("--help", "detect --help"):
        takes = help_takes(words.split())
        rows.append([f"petbox {words}, s", f"{takes:.2f}", "", report.at_most(takes, 0.3)])
    decoding = OUT / "model"
    model(decoding / "1")
    with serving(decoding) as url:
        bare, whole = one_at_a_time(url, photos / "0000.jpg", body.read_bytes())
        rows.append(["a call: request, ms", f"{bare:.2f}", "", ""])
        added, bar = f"+{whole - bare:.2f}", report.at_most(whole - bare, 10)
        rows.append(["a call: from file to line, ms", f"{whole:.2f}", added, bar])
        rows += many(url, "only decodes", body, photos, options.rounds, None)
    with serving(TOY) as url:
        rows += many(url, "toy detector", body, photos, options.rounds, 0.9)
    command = f"python bench/detect.py --pictures {options.pictures}"
    print(report.write_table("detect", command, ["", "measured", "against it", "bar"], rows))


def help_takes(words: list[str]) -> float:
    command = [sys.executable, "-m", "petbox", *words]
    times = [seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL)) for _ in range(5)]
    return statistics.median(times)


def one_at_a_time(url: str, photo: Path, body: bytes) -> tuple[float, float]:
    """p50 in milliseconds of the bare request, and of all from the file to the printed line."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    headers = {"Content-Type": "application/json"}

    def bare() -> None:
        connection.request("POST", "/invocations", body, headers)
        assert connection.getresponse().read().startswith(b'{\n    "predictions"')

    detector = Detector(url, min_score=0.0)

    def whole() -> None:
        json.dumps(detector.detect(photo).to_dict(), ensure_ascii=False)

    return medians((bare, whole), CALLS)


def many(
    url: str, model: str, body: Path, photos: Path, rounds: int, bar: float | None
) -> Iterator[list[str]]:
    """Rates of both clients; that of `petbox detect` without and with its start and end."""
    count = len(list(photos.iterdir()))
    taken = [
        (hey(url, body, count), command_takes(url, photos / "0000.jpg"), command_takes(url, photos))
        for _ in range(rounds)
    ]
    other, one, all_of_them = (statistics.median(kind) for kind in zip(*taken, strict=True))
    running, whole = (count - 1) / (all_of_them - one), count / all_of_them
    # Of one round, where both met the machine in the same mood.
    share = statistics.median(
        (count - 1) / (every - single) / rate for rate, single, every in taken
    )
    title = f"{model}: petbox detect --parallel {IN_FLIGHT}, images/s"
    yield [f"{model}: hey -c {IN_FLIGHT}, images/s", f"{other:.1f}", "", ""]
    yield [title, f"{running:.1f}", f"{share:.2f}", report.at_least(share, bar) if bar else ""]
    yield [f"{model}: the same with its start and end", f"{whole:.1f}", f"{whole / other:.2f}", ""]
    yield [f"{model}: petbox detect of one image, s", f"{one:.2f}", "", ""]


def hey(url: str, body: Path, requests: int) -> float:
    words = f"hey -n {requests} -c {IN_FLIGHT} -m POST -T application/json -D {body} -t 60"
    command = [*words.split(), f"{url}/invocations"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"[200]\t{requests} responses" in done.stdout, done.stdout
    found = re.search(r"Requests/sec:\s*([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def command_takes(url: str, photos: Path) -> float:
    """Seconds of the whole command, its start included."""
    command = [*DETECT, str(photos), "--url", url, "--json", f"--parallel={IN_FLIGHT}"]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken = time.perf_counter() - begin
    assert not any("error" in json.loads(line) for line in done.stdout.splitlines())
    return taken


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`petbox serve`, and its address."""
    command = [sys.executable, "-m", "petbox", "serve", str(folder), f"--port={free_port()}"]
    env = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "PETBOX_DRAIN_SECONDS": "1",  # by default a stop takes 5 s
    }
    with (OUT / "log").open("w") as log:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=env, text=True)
    try:
        assert program.stdout
        url = program.stdout.readline().strip().rstrip("/")
        assert url, (OUT / "log").read_text()
        yield url
    finally:
        program.terminate()
        program.wait()


def model(folder: Path) -> None:
    """A detector that says of each picture how large it is, with the exporter's signatures."""
    from petbox.tf import tf

    def one(file):  # type: ignore[no-untyped-def]
        picture = tf.io.decode_jpeg(file, channels=3)
        size = 1.0 / (1.0 + tf.cast(tf.shape(picture)[:2], tf.float32))
        return tf.concat([size, 1.0 - size], 0)[None]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def detect(inputs):  # type: ignore[no-untyped-def]
        boxes = tf.map_fn(one, inputs, fn_output_signature=tf.TensorSpec([1, 4], tf.float32))
        count = tf.ones(tf.shape(inputs))
        return {
            "detection_boxes": boxes,
            "detection_classes": count[:, None],
            "detection_names": tf.fill(tf.shape(count[:, None]), "Abyssinian"),
            "detection_scores": count[:, None],
            "num_detections": count,
        }

    signatures = {"serving_default": detect, transport.DETECT: detect}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


if __name__ == "__main__":
    main()
