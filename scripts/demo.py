"""The whole chain on drawn pets: train, export, serve, call it in three ways, draw the results.

    python scripts/demo.py [--port 8080]

Each step is a command of its own and is skipped if its output exists. Prints the path of the
contact sheet.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import boto3
import requests
from PIL import Image

from petbox import outputs, wire
from petbox.cli import program
from petbox.cli.progress import progress
from petbox.data import labels
from petbox.errors import PetboxError, ServiceError
from petbox.images import draw
from petbox.serving import requirements
from petbox.training import runs

DATA, RECORDS, RUN, MODEL = "data/toy", "data/toy-records", "runs/toy", "model/toy"
SHEET = Path("demo/contact_sheet.png")
TIMING, SERVER_LOG = Path("demo/timing.json"), Path("demo/serve.log")
ON_THE_SHEET, TIMED_REQUESTS = 12, 60
MIN_SCORE = 0.5


@dataclass(frozen=True)
class Options:
    port: Annotated[int, "port of the detector"] = 8080


@dataclass(frozen=True)
class Step:
    title: str
    product: Path
    command: tuple[str, ...]


STEPS = (
    Step("draw pets", Path(DATA), ("train/make_toy_pets.py", "--out", DATA)),
    Step(
        "write records", Path(RECORDS), ("train/make_records.py", "--pets", DATA, "--out", RECORDS)
    ),
    Step("train", Path(RUN), ("train/train.py", "--records", RECORDS, "--out", RUN)),
    Step(
        "evaluate",
        Path(RUN, runs.evaluation()),
        ("train/evaluate.py", "--run", RUN, "--records", RECORDS),
    ),
    Step(
        "export",
        Path(MODEL, "1"),
        ("export/exporter_savedmodel.py", "--run", RUN, "--out", f"{MODEL}/1"),
    ),
)


def main(options: Options) -> None:
    os.chdir(Path(__file__).resolve().parent.parent)
    requirements.check_platform()
    try:
        requirements.check_port_free("127.0.0.1", options.port)  # minutes before it is needed
    except ServiceError as error:
        raise ServiceError(f"{error}: make demo PORT=8081") from error
    start = time.monotonic()
    took = {step.title: make(step) for step in STEPS}
    heading("serve")
    with serving(options.port) as (url, took["serve"]):
        images = held_out()
        heading(f"detect 3 ways ({url})")
        took["detect 3 ways"], found = timed(lambda: detect_three_ways(url, images))
        p50 = statistics.median(seconds_per_image(url, images))
    heading("draw the contact sheet")
    took["contact sheet"], _ = timed(lambda: draw_sheet(images, found))
    total = time.monotonic() - start
    quality = json.loads((Path(RUN) / runs.evaluation()).read_text())["mAP@0.5"]
    timing = {"steps": took, "all": total, "p50": p50, "mAP@0.5": quality}
    with outputs.product(TIMING, replace=True) as partial:
        partial.write_text(json.dumps(timing, indent=1) + "\n")
    program.say(summary(took, p50, total, quality, options.port))
    print(SHEET)


def make(step: Step) -> float | None:
    """Runs a step's command; the seconds it took, or None if its product exists."""
    if step.product.exists():
        heading(f"{step.title}: {step.product} exists")
        return None
    heading(f"{step.title}: python {' '.join(step.command)}")
    seconds, code = timed(lambda: run([sys.executable, *step.command]))
    if code != 0:
        raise PetboxError(
            f"step '{step.title}' failed (exit code {code}); the lines above say why, "
            "and `make demo` resumes here"
        )
    return seconds


def run(command: Sequence[str]) -> int:
    """The exit code of a child, which is stopped if this process is."""
    with subprocess.Popen(command, stdout=sys.stderr) as child:
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            raise


@contextmanager
def serving(port: int) -> Iterator[tuple[str, float]]:
    """`petbox serve` as a child: its address and the seconds until it was ready."""
    start = time.monotonic()
    command = [sys.executable, "-m", "petbox", "serve", MODEL, "--port", str(port)]
    env = {**os.environ, "PETBOX_DRAIN_SECONDS": "1"}  # by default a stop takes 5 s
    SERVER_LOG.parent.mkdir(exist_ok=True)
    with (
        SERVER_LOG.open("w") as log,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip().rstrip("/")  # printed when /ping is 200
            if not url:
                last = (SERVER_LOG.read_text().splitlines() or ["(nothing)"])[-1]
                why = last.removeprefix("error: ").removeprefix("serve: ")
                raise ServiceError(f"petbox serve did not start: {why}")
            yield url, time.monotonic() - start
        finally:
            server.terminate()
            server.wait()


def held_out() -> list[Path]:
    """Images that the detector was not trained on."""
    names = [
        line.split()[0] for line in Path(DATA, "annotations/test.txt").read_text().splitlines()
    ]
    evenly = names[:: max(1, len(names) // ON_THE_SHEET)][:ON_THE_SHEET]
    return [Path(DATA, "images", f"{name}.jpg") for name in evenly]


def detect_three_ways(url: str, images: Sequence[Path]) -> list[list[wire.Detection]]:
    """The detections in each image, equal for every kind of request."""
    found = []
    with progress("detect", len(images)) as advance:
        for path in images:
            responses = {way: call(url, path.read_bytes()) for way, call in WAYS.items()}
            first, *rest = responses.values()
            if any(other != first for other in rest):
                raise ServiceError(f"{path}: the responses differ: {responses}; please report this")
            found.append(first)
            advance(1, "")
    return found


def call_as_tutorials_do(url: str, image: bytes) -> list[wire.Detection]:
    b64 = {"b64": base64.b64encode(image).decode()}
    named = _json_response(url, {"instances": [{"inputs": b64}]})
    bare = _json_response(url, {"instances": [b64]})
    if named != bare:
        raise ServiceError(
            "a named and a bare instance give different responses; please report this"
        )
    return named


def _json_response(url: str, body: Any) -> list[wire.Detection]:
    return _detections(requests.post(f"{url}/invocations", json=body, timeout=60))


def call_with_bare_image(url: str, image: bytes) -> list[wire.Detection]:
    headers = {"Content-Type": "image/jpeg"}
    response = requests.post(f"{url}/invocations", data=image, headers=headers, timeout=60)
    return _detections(response)


def call_with_boto3(url: str, image: bytes) -> list[wire.Detection]:
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106  # signs requests that nothing checks
    )
    body = wire.request([image])
    response = runtime.invoke_endpoint(
        EndpointName="toy", ContentType="application/json", Body=body
    )
    return wire.detections(response["Body"].read())[0]


WAYS: dict[str, Callable[[str, bytes], list[wire.Detection]]] = {
    "requests, JSON": call_as_tutorials_do,
    "requests, bare image": call_with_bare_image,
    "boto3": call_with_boto3,
}


def _detections(response: requests.Response) -> list[wire.Detection]:
    return wire.detections(response.content)[0]


def seconds_per_image(url: str, images: Sequence[Path]) -> list[float]:
    with requests.Session() as session:
        bodies = [path.read_bytes() for path in images]
        headers = {"Content-Type": "image/jpeg"}
        seconds = []
        for turn in range(TIMED_REQUESTS):
            body = bodies[turn % len(bodies)]
            taken, _ = timed(
                lambda body=body: session.post(  # type: ignore[misc]
                    f"{url}/invocations", data=body, headers=headers, timeout=60
                )
            )
            seconds.append(taken)
    return seconds


def draw_sheet(images: Sequence[Path], found: Sequence[Sequence[wire.Detection]]) -> None:
    names = labels.read(Path(MODEL, "1", "assets", labels.FILE_NAME))
    drawn = []
    for path, detections in zip(images, found, strict=True):
        with Image.open(path) as image:
            shown = [one for one in detections if one.score >= MIN_SCORE]
            drawn.append(draw.drawn(image, shown, names))
    with outputs.product(SHEET, replace=True) as partial:
        draw.contact_sheet(drawn, columns=4).save(partial, format="PNG")


def summary(
    took: dict[str, float | None], p50: float, total: float, quality: float, port: int
) -> str:
    made = {step.title: str(step.product) for step in STEPS} | {"contact sheet": str(SHEET)}
    rows = [
        f"  {title:<16} {'exists' if seconds is None else f'{seconds:7.1f} s':>11}   "
        f"{made.get(title, '')}".rstrip()
        for title, seconds in took.items()
    ]
    return "\n".join(
        [
            "",
            *rows,
            f"  {'all':<16} {total:9.1f} s",
            "",
            f"mAP@0.5 {quality:.3f} on held-out images; "
            f"a detection takes {1000 * p50:.0f} ms (p50 of {TIMED_REQUESTS} over HTTP)",
            f"look at {SHEET}; then type:",
            "",
            f"  .venv/bin/petbox serve {MODEL}{'' if port == 8080 else f' --port {port}'}",
            "",
        ]
    )


def heading(text: str) -> None:
    program.say(f"== {text}")


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    start = time.monotonic()
    result = act()
    return time.monotonic() - start, result


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
