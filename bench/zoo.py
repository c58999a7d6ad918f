"""The time of a call to the smallest model's Lambda function.

    python bench/zoo.py [--calls 2000]

The handler runs as in its zip: in a process that can import the standard library and boto3 alone.
S3 is moto's server on this machine, which is faster than AWS, and the file has the shape of an
export of `petbox zoo train`, with other numbers.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import report

FRONT = report.CHECKOUT / "serverless/zoo/zoo_front.py"
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
STARTS = 5
KINDS = 7
LEGS = (0, 2, 4, 5, 6, 8)

# What the process that stands for Lambda does; it prints seconds.
LAMBDA = """
import json, statistics, sys, time
paths, calls = sys.argv[2:], int(sys.argv[1])
sys.path[:0] = paths
out, sys.stdout = sys.stdout, sys.stderr
clock = time.perf_counter
begin = clock(); import boto3; boto3.client("s3"); boto3_alone = clock() - begin
begin = clock(); import zoo_front; imported = clock() - begin
x = json.dumps([0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0])
event = {"version": "2.0", "queryStringParameters": {"X": x}}
def call():
    begin = clock()
    assert zoo_front.handler(event, None)["statusCode"] == 200
    return clock() - begin
first = call()
warm = sorted(call() for _ in range(calls))
zoo_front.WEIGHTS.refresh = 0
asking = [call() for _ in range(calls // 20)]
print(json.dumps({
    "boto3": boto3_alone, "import": imported, "first": first,
    "p50": statistics.median(warm), "p99": warm[len(warm) * 99 // 100],
    "asking": statistics.median(asking),
}), file=out)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--calls", type=int, default=2000, help="warm ones, in each process")
    calls = parser.parse_args().calls
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="petbox-bench-zoo-") as folder:
            host, port = server.get_host_and_port()
            found = measured(f"http://{host}:{port}", Path(folder), calls)
    finally:
        server.stop()
    rows = [
        ["warm call, p50", f"{found['p50']:.3f}", report.at_most(found["p50"], 2)],
        ["warm call, p99", f"{found['p99']:.3f}", ""],
        ["warm call that queries S3 (unchanged, 304), p50", f"{found['asking']:.1f}", ""],
        ["first call, with the weights from S3", f"{found['first']:.0f}", ""],
        [
            "import beyond boto3 and its first client",
            f"{found['import']:.0f}",
            report.at_most(found["import"], 350),
        ],
        ["boto3 and its first client", f"{found['boto3']:.0f}", ""],
    ]
    head = ["smallest model", "ms", "bar"]
    print(report.write_table("zoo", "python bench/zoo.py", head, rows))


def measured(url: str, folder: Path, calls: int) -> dict[str, float]:
    """Milliseconds, of each kind the best of some starts."""
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(folder),
        "ZOO_WEIGHTS": "s3://zoo/weights.json",
    }
    put(env)
    for name in BOTO3:
        (folder / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    (folder / FRONT.name).symlink_to(FRONT)
    command = [sys.executable, "-I", "-S", "-c", LAMBDA, str(calls), str(folder)]
    starts: list[dict[str, float]] = []
    for _ in range(STARTS):
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
        starts.append(json.loads(done.stdout))
    return {name: 1000 * min(start[name] for start in starts) for name in starts[0]}


def put(env: dict[str, str]) -> None:
    import boto3

    os.environ.update(env)
    names = [f"trait {number}" for number in range(15)]
    inputs: list[dict[str, Any]] = [{"name": name, "values": [0, 1]} for name in names]
    inputs.insert(12, {"name": "legs", "values": LEGS})
    rows = len(names) + len(LEGS)
    weights = [[(row * 31 + kind * 17) % 13 / 7 for kind in range(KINDS)] for row in range(rows)]
    kinds = [f"kind {number}" for number in range(KINDS)]
    exported = {"inputs": inputs, "names": kinds, "weights": weights, "bias": [0.1] * KINDS}
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="zoo")
    s3.put_object(Bucket="zoo", Key="weights.json", Body=json.dumps(exported).encode())


if __name__ == "__main__":
    main()
