"""The precision-recall plot.

Few classes get a curve each, in the colors of their boxes; of many, the worst are named and the
others are gray.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from petbox.errors import needs
from petbox.evaluation.coco_metrics import ClassScore
from petbox.evaluation.table import number

FEW = 8
WORST = 5  # of many, those that are named
LONGEST = 32  # characters of a name
SIZE = (8.0, 5.6)  # inches
DPI = 110
TEXT = {"text.parse_math": False}  # a dollar sign in a name is a dollar sign


def plot(classes: Sequence[ClassScore], title: str) -> bytes:
    """A PNG of the curves at an overlap of 0.5."""
    # Not pyplot, which looks for a display.
    figure = needs("matplotlib.figure", "train").Figure(SIZE, dpi=DPI, layout="constrained")
    canvas = needs("matplotlib.backends.backend_agg", "train").FigureCanvasAgg(figure)
    with needs("matplotlib", "train").rc_context(TEXT):
        _draw(figure.add_subplot(), classes, title)
        file = io.BytesIO()
        canvas.print_png(file)
    return file.getvalue()


def _draw(axes: Any, classes: Sequence[ClassScore], title: str) -> None:
    defined = sorted(
        (one for one in classes if one.precision_at_half),
        key=lambda one: one.average_precision_at_half or 0.0,
    )
    named = defined if len(defined) <= FEW else defined[:WORST]
    entries = []
    for one in defined:
        if one not in named:
            axes.plot(*_points(one.precision_at_half), color="0.82", linewidth=0.9, zorder=1)
    for rank, one in enumerate(named, 1):
        # The colors of many classes are hard to distinguish.
        line = _curve(axes, one, one.label if len(named) == len(defined) else rank)
        name = one.name if len(one.name) <= LONGEST else one.name[: LONGEST - 1] + "…"
        entries.append((line, f"{name}  {number(one.average_precision_at_half)}"))
    if defined:
        entries.insert(0, (_mean_curve(axes, defined), f"all  {number(_mean(defined))}"))
    if len(named) < len(defined):
        other = axes.plot([], [], color="0.82")[0]
        entries.append((other, f"the other {len(defined) - len(named)}"))
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03), title=title)
    axes.set(xlabel="recall: share of the animals that were detected")
    axes.set(ylabel="precision: share of the boxes that are right")
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    if entries:
        lines, texts = zip(*entries, strict=True)
        heading = "AP@0.5" if len(named) == len(defined) else f"AP@0.5, the {WORST} worst classes"
        # Outside the axes, because the curves may lie anywhere.
        axes.legend(lines, texts, title=heading, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    else:
        axes.text(0.5, 0.5, "no animals, so no curves", ha="center")


def _curve(axes: Any, one: ClassScore, label: int) -> Any:
    from petbox.images import draw

    color = [channel / 255 for channel in draw.color(label)]
    return axes.plot(*_points(one.precision_at_half), color=color, linewidth=1.6, zorder=2)[0]


def _mean_curve(axes: Any, defined: Sequence[ClassScore]) -> Any:
    columns = zip(*(one.precision_at_half or () for one in defined), strict=True)
    means = [sum(column) / len(column) for column in columns]
    return axes.plot(*_points(means), color="black", linewidth=2.6, zorder=3)[0]


def _points(precision: Sequence[float] | None) -> tuple[list[float], list[float]]:
    values = list(precision or ())
    return [at / (len(values) - 1) for at in range(len(values))], values


def _mean(defined: Sequence[ClassScore]) -> float:
    return sum(one.average_precision_at_half or 0.0 for one in defined) / len(defined)
