"""The confusion matrix: which class each object was detected as.

Rows are the true classes, columns the detected ones. The last row counts detections on no object,
the last column objects without a detection. A detection counts from its class's threshold on, and
is on the object with which it overlaps most, at least by half, whatever its class.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from petbox.errors import needs
from petbox.evaluation.coco_metrics import EvaluatedImage, pixels
from petbox.evaluation.curves import DPI, LONGEST, TEXT

OVERLAPS = 0.5
MOST_NUMBERED = 16  # classes whose cells have room for a number
BACKGROUND = "background"


def matrix(images: Sequence[EvaluatedImage], thresholds: Mapping[int, float]) -> list[list[int]]:
    """Counts by true and by detected class, both in the order of `thresholds`."""
    index = {label: at for at, label in enumerate(thresholds)}
    none = len(index)
    counts = [[0] * (none + 1) for _ in range(none + 1)]
    for image in images:
        kept = [one for one in image.detections if one.score >= thresholds.get(one.label, 2.0)]
        kept.sort(key=lambda one: -one.score)
        left = {at for at, one in enumerate(image.truth) if not one.ignored}
        for one, overlaps in zip(kept, _overlaps(image, kept), strict=True):
            at = max(left, key=lambda at: overlaps[at], default=None)
            if at is not None and overlaps[at] >= OVERLAPS:
                left.discard(at)
                counts[index[image.truth[at].label]][index[one.label]] += 1
            elif not any(
                overlap >= OVERLAPS and truth.ignored
                for overlap, truth in zip(overlaps, image.truth, strict=True)
            ):
                counts[none][index[one.label]] += 1
        for at in left:
            counts[index[image.truth[at].label]][none] += 1
    return counts


def _overlaps(image: EvaluatedImage, found: Sequence[Any]) -> Sequence[Sequence[float]]:
    """COCO's overlap of each detection with each object."""
    if not found or not image.truth:
        return [[] for _ in found]
    table: Sequence[Sequence[float]] = needs("pycocotools.mask", "train").iou(
        [pixels(image, one.box) for one in found],
        [pixels(image, one.box) for one in image.truth],
        [int(one.crowd) for one in image.truth],
    )
    return table


def plot(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> bytes:
    """A PNG of the matrix, each row shaded by its shares."""
    figure = needs("matplotlib.figure", "train").Figure(
        _inches(len(names)), dpi=DPI, layout="constrained"
    )
    canvas = needs("matplotlib.backends.backend_agg", "train").FigureCanvasAgg(figure)
    with needs("matplotlib", "train").rc_context(TEXT):
        _draw(figure.add_subplot(), counts, [*names, BACKGROUND], title)
        file = io.BytesIO()
        canvas.print_png(file)
    return file.getvalue()


def _inches(classes: int) -> tuple[float, float]:
    side = min(14.0, 4.0 + 0.4 * classes)
    return side + 1.5, side


def _draw(axes: Any, counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> None:
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    shown = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]
    size = 9 if len(names) <= 2 * MOST_NUMBERED else 6
    axes.set_xticks(ticks, [*shown[:-1], "missed"], rotation=90, fontsize=size)
    axes.set_yticks(ticks, [*shown[:-1], "no object"], fontsize=size)
    axes.set(title=title, xlabel="detected as", ylabel="true class")
    if len(names) > MOST_NUMBERED + 1:
        return
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                color = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, count, ha="center", va="center", color=color)
