"""Presets with fewer operations compared with the full one: operations and speed of their exports.

    python bench/presets.py

The weights are random: this measures speed, not accuracy. Each export is loaded in its own process,
and they are called alternately with a 4:3 photo. Exports of the same commit are used again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import export_speed
import report
from flops import of_products

OUT = report.CHECKOUT / "build" / "bench-presets"
PRESETS = (
    "faster_rcnn_resnet50_pets",  # the others are compared with it
    "faster_rcnn_resnet50_fast_pets",
    "faster_rcnn_resnet50_light_pets",
)
CANVAS = 640
SHARE = 512 / 640  # of the canvas that a 4:3 photo is exported for
BAR = 0.55  # of the full one's p50, for the fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=15, help="of each preset")
    options = parser.parse_args()
    flops = [of_products(made(preset), SHARE) / 1e9 for preset in PRESETS]
    p50, of_cpu = spent([model(preset) for preset in PRESETS], options.requests)
    least = min(one / p50[0] for one in p50)
    rows = [
        [
            preset,
            f"{flops[at]:.0f}",
            f"{flops[at] / flops[0]:.2f}",
            f"{1000 * p50[at]:.0f}",
            f"{p50[at] / p50[0]:.2f}",
            f"{of_cpu[at]:.2f}",
            f"{of_cpu[at] / of_cpu[0]:.2f}",
            report.at_most(least, BAR) if p50[at] / p50[0] == least else "",
        ]
        for at, preset in enumerate(PRESETS)
    ]
    head = ["4:3, 640", "GFLOP", "ratio", "p50, ms", "ratio", "CPU, s", "ratio", "bar of p50"]
    typed = " ".join(["python bench/presets.py", *sys.argv[1:]])
    print(report.write_table("presets", typed, head, rows))


def spent(models: Sequence[Path], requests: int) -> tuple[list[float], list[float]]:
    """The seconds of each for a 4:3 photo, on the clock and of the processor."""
    times: list[list[Any]] = [[] for _ in models]
    with ExitStack() as stack:
        asks = [stack.enter_context(export_speed.server(one)) for one in models]
        for ask in asks:
            ask("load")
            ask("answer", export_speed.photo("4:3"))
        for _ in range(requests):
            for ask, of_one in zip(asks, times, strict=True):
                of_one.append(ask("answer", export_speed.photo("4:3")))
    wall, cpu = (
        [statistics.median(spent[name] for spent in of_one) for of_one in times]
        for name in ("seconds", "cpu")
    )
    return wall, cpu


def model(preset: str) -> Path:
    return OUT / preset / "1"


def made(preset: str) -> Any:
    """Exports the preset with random weights; returns the products of its network."""
    folder = OUT / preset
    record = folder / "made.json"
    if record.exists():
        told = json.loads(record.read_text())
        if told["commit"] == report.commit():
            return told["products"]
    shutil.rmtree(folder, ignore_errors=True)
    products = export_speed.task("run", folder / "run", preset, CANVAS)
    export_speed.export(folder / "run", model(preset), "ours")
    record.write_text(json.dumps({"commit": report.commit(), "products": products}))
    return products


if __name__ == "__main__":
    main()
