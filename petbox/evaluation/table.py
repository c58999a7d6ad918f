"""The scores of each class as a table, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from petbox.evaluation.coco_metrics import ClassScore
from petbox.evaluation.thresholds import Threshold

HEAD = ("class", "animals", "AP", "AP@0.5", "AR@100", "F1", "from")


def table(classes: Sequence[ClassScore], thresholds: Mapping[int, Threshold | None]) -> str:
    """Lines for a terminal; a class without an animal has dashes and comes last.

    The best F1 stands before the score from which it holds.
    """
    rows = [HEAD, *(_row(one, thresholds[one.label]) for one in sorted(classes, key=_badness))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _badness(score: ClassScore) -> tuple[bool, float, str]:
    precision = score.average_precision
    return precision is None, precision or 0.0, score.name


def _row(score: ClassScore, best: Threshold | None) -> tuple[str, ...]:
    values = (
        *(score.average_precision, score.average_precision_at_half, score.average_recall),
        *((best.f1, best.score) if best else (None, None)),
    )
    return " ".join(score.name.split()), str(score.animals), *map(number, values)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join([f"{row[0]:<{len(name)}}", *numbers])
