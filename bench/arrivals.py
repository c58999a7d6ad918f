"""Images that arrive in S3, through one process of the S3 front and through two.

    python bench/arrivals.py [--images 600] [--endpoint-ms 200]

The functions are the real zip, S3 and SQS are moto's in this process, and the endpoint responds
after the time given. A process has five images at once. Nothing goes wrong here; `make soak` has
that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import report

sys.path.insert(0, str(report.CHECKOUT / "tests"))

from support.arrivals import NONE, Fleet, arrivals
from support.lambda_runtime import build, unpacked

BAR = 1.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--endpoint-ms", type=int, default=200)
    options = parser.parse_args()
    rows, rates = [], []
    with tempfile.TemporaryDirectory(prefix="petbox-bench-arrivals-") as name:
        fronts = unpacked(build(Path(name), "s3_front"), Path(name))
        for processes in (1, 2):
            with arrivals(f"of-{processes}", NONE, hidden=60) as there:
                fleet = Fleet(there, fronts, Path(name) / f"{processes}", options.endpoint_ms / 1e3)
                done = fleet.work(options.images, processes)
            assert set(there.latencies) == set(there.expected), "images were lost"
            rates.append(done.images / done.seconds)
            cells = [f"{done.quantile(part):.2f}" for part in (0.5, 0.99)]
            rows.append([str(processes), f"{rates[-1]:.1f}", *cells, ""])
    ratio = rates[1] / rates[0]
    rows.append(["2 to 1", f"{ratio:.2f}", "", "", report.at_least(ratio, BAR)])
    head = ["processes", "images per second", "upload to result, p50, s", "p99, s", "bar"]
    command = f"python bench/arrivals.py --images {options.images}"
    print(report.write_table("arrivals", command, head, rows))


if __name__ == "__main__":
    main()
