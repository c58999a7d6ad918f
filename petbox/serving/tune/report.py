"""What `petbox tune` measured: a table for the terminal, a plot, one object for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from petbox import outputs
from petbox.errors import needs
from petbox.serving.tune.choice import Curve
from petbox.serving.tune.load import Level

BAR = 20  # characters
MARKS = [part * 10.0**power for power in range(-1, 6) for part in (1, 2, 5)]  # ms
COLORS = ("black", "tab:red", "tab:blue")


def table(curves: Sequence[Curve]) -> str:
    """A row for each number of connections and setting, with a bar for the throughput."""
    rows: list[tuple[str, ...]] = [("connections", "setting", "requests/s", "p50 ms", "p99 ms", "")]
    most = max(level.rate for curve in curves for level in curve.levels) or 1.0
    for connections in sorted({one.connections for curve in curves for one in curve.levels}):
        for curve in curves:
            for level in curve.levels:
                if level.connections == connections:
                    rows.append(_row(curve, level, most))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_aligned(row, widths) for row in rows)


def _row(curve: Curve, level: Level, most: float) -> tuple[str, ...]:
    bar = "▇" * max(1, round(BAR * level.rate / most))
    failed = f" {level.failed} failed" * bool(level.failed)
    return (
        str(level.connections),
        curve.setting.name,
        f"{level.rate:.1f}",
        f"{level.p50:.1f}",
        f"{level.p99:.1f}",
        bar + failed,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    connections, setting, *numbers, bar = row
    cells = [connections.rjust(widths[0]), setting.ljust(widths[1])]
    cells += [one.rjust(width) for one, width in zip(numbers, widths[2:-1], strict=True)]
    return "  ".join([*cells, bar]).rstrip()


def plain(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    return [
        {
            "setting": curve.setting.name,
            "variables": dict(curve.setting.variables),
            "levels": [
                {name: one if math.isfinite(one) else None for name, one in asdict(level).items()}
                for level in curve.levels
            ],
        }
        for curve in curves
    ]


def check_drawing() -> None:
    """Before minutes of measuring."""
    needs("matplotlib.figure", "train")


def plot(curves: Sequence[Curve], path: Path, title: str, limit: float | None) -> None:
    """Throughput, and p50 and p99, by connections."""
    figure = needs("matplotlib.figure", "train").Figure((9, 3.6), dpi=110, layout="constrained")
    canvas = needs("matplotlib.backends.backend_agg", "train").FigureCanvasAgg(figure)
    throughput, latency = figure.subplots(1, 2)
    for at, curve in enumerate(curves):
        color = COLORS[at % len(COLORS)]
        style = {"marker": "o", "color": color}
        x = [one.connections for one in curve.levels]
        throughput.plot(x, [one.rate for one in curve.levels], label=curve.setting.name, **style)
        latency.plot(x, [one.p50 for one in curve.levels], **style)
        latency.plot(x, [one.p99 for one in curve.levels], linestyle="--", **style)
    if limit is not None:
        latency.axhline(limit, color="0.6", linewidth=1)
    throughput.set(ylabel="requests a second", ylim=(0, None))
    throughput.legend(fontsize=8)
    latency.set(ylabel="milliseconds; p99 is dashed", yscale="log")
    least, most = latency.get_ylim()
    latency.set_yticks([mark for mark in MARKS if least <= mark <= most])
    latency.set_yticklabels([f"{mark:g}" for mark in latency.get_yticks()])
    ticks = sorted({one.connections for curve in curves for one in curve.levels})
    for axes in (throughput, latency):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(one) for one in ticks])
        axes.set(xlabel="connections")
        axes.minorticks_off()
        axes.grid(color="0.93")
    figure.suptitle(title, fontsize=9)
    with outputs.product(path) as partial:
        canvas.print_png(str(partial))
