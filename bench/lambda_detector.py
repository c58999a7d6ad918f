"""The detector in Lambda: its cold start, a warm call, its memory.

    python bench/lambda_detector.py --model model/toy --model model/toy-litert [--calls 30]

A model's folder determines what runs it: TensorFlow as in serverless/detector.Dockerfile, here with
this Python's own packages, or LiteRT from its real zip. Each runs in new processes, with the models
on this machine's disk; Lambda's time to load an image or a zip is not included. An event is API
Gateway's, with a photo of 640x480.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import report

EVENT = report.CHECKOUT / "tests/events/api_gateway_v1.json"
STARTS = 3
LITE = "model.tflite"
COLD_BAR = 0.6  # seconds, of the zip

# What the process that stands for Lambda does: two lines, when it has answered and when it is over.
LAMBDA = """
import base64, json, os, re, sys, time
(calls, picture, event), sys.path[:0] = sys.argv[1:4], sys.argv[4:]
out, sys.stdout = sys.stdout, open(os.devnull, "w")
import detector
event = json.load(open(event))
body = base64.b64encode(open(picture, "rb").read()).decode()
event |= {"body": body, "isBase64Encoded": True}
class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "bench"
def call():
    begin = time.perf_counter()
    answer = detector.handler(event, Context)
    assert answer["statusCode"] == 200, answer
    return time.perf_counter() - begin
call()
print("answered", file=out, flush=True)
processor = time.process_time()  # of all threads, since the process began
warm = [call() for _ in range(int(calls))]
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
found = {"processor": processor, "warm": warm, "peak": peak}
print(json.dumps(found), file=out, flush=True)
os._exit(0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--calls", type=int, default=30, help="warm ones, in each process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="petbox-bench-detector-") as name:
        folder = Path(name)
        (folder / "picture.jpg").write_bytes(picture())
        rows = [row(model, folder, options.calls) for model in options.model]
    head = ["model", "by", "cold start to first response, s", "bar", "its processor time, s"]
    head += ["warm, p50, ms", "memory, MB"]
    models = " ".join(f"--model {model}" for model in options.model)
    print(
        report.write_table(
            "lambda-detector", f"python bench/lambda_detector.py {models}", head, rows
        )
    )


def row(model: Path, folder: Path, calls: int) -> list[str]:
    lite = any(model.rglob(LITE))
    flags, path = (["-I", "-S"], zipped(folder)) if lite else (["-I"], task(folder))
    found = [measured(model.resolve(), flags, path, folder, calls) for _ in range(STARTS)]
    cold, processor, warm, peak = map(statistics.median, zip(*found, strict=True))
    start = [f"{cold:.2f}", report.at_most(cold, COLD_BAR) if lite else "", f"{processor:.2f}"]
    by = "LiteRT" if lite else "TensorFlow"
    return [str(model), by, *start, f"{1000 * warm:.0f}", f"{peak / 1024:.0f}"]


def task(folder: Path) -> Path:
    """What the image has in /var/task."""
    task = folder / "task"
    if not task.exists():
        task.mkdir()
        (task / "petbox").symlink_to(report.CHECKOUT / "petbox")
        (task / "detector.py").symlink_to(report.CHECKOUT / "serverless/detector.py")
    return task


def zipped(folder: Path) -> Path:
    """What the zip has."""
    tree = folder / "detector"
    if not tree.exists():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        script = report.CHECKOUT / "scripts/package_lambda.sh"
        command = [script, "--python", version, "--out", folder, "detector"]
        env = {**os.environ, "PYTHON": sys.executable}
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(folder / "detector.zip") as archive:
            archive.extractall(tree)
    return tree


def measured(
    model: Path, flags: list[str], path: Path, folder: Path, calls: int
) -> tuple[float, ...]:
    """Seconds to the first answer, of the processor until then and of a warm call; the most kB."""
    words = [str(calls), str(folder / "picture.jpg"), str(EVENT), str(path)]
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *flags, "-c", LAMBDA, *words],
        env={"PATH": os.environ["PATH"], "MODEL": str(model), "AWS_REGION": "us-east-1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "answered\n", "it failed; its words are above"
        cold = time.perf_counter() - begin
        found = json.loads(process.stdout.readline())
    return cold, found["processor"], statistics.median(found["warm"]), found["peak"]


def picture() -> bytes:
    """A photo's worth of detail, so that its decoding takes as long."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((640, 480), 60).save(file, "JPEG", quality=88)
    return file.getvalue()


if __name__ == "__main__":
    main()
