"""Wall time of each step of the demo, of the start of `petbox serve`, and of one detection.

    python bench/chain.py

Runs the demo in a fresh clone under build/, first without any outputs, then again with all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import report

CLONE = report.CHECKOUT / "build" / "bench-chain"


def main() -> None:
    shutil.rmtree(CLONE, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", report.CHECKOUT, CLONE], check=True)
    first, second = demo(), demo()
    rows = [[title, seconds(first, title), seconds(second, title)] for title in first["steps"]]
    rows.append(["all", f"{first['all']:.1f}", f"{second['all']:.1f}"])
    rows.append(["mAP@0.5 on held-out images", f"{first['mAP@0.5']:.3f}", ""])
    rows.append(
        [
            "one detection over HTTP, p50, ms",
            *(f"{1000 * run['p50']:.1f}" for run in (first, second)),
        ]
    )
    head = ["step of the demo", "first run, s", "second run, s"]
    print(report.write_table("chain", "python bench/chain.py", head, rows))
    shutil.rmtree(CLONE)


def demo() -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(CLONE)}
    subprocess.run(
        [sys.executable, "scripts/demo.py", "--port", "8765"],
        cwd=CLONE,
        env=environment,
        check=True,
    )
    return json.loads(Path(CLONE, "demo", "timing.json").read_text())  # type: ignore[no-any-return]


def seconds(run: dict[str, Any], title: str) -> str:
    taken = run["steps"][title]
    return "exists" if taken is None else f"{taken:.1f}"


if __name__ == "__main__":
    main()
