"""CSV of what was found, for spreadsheets and data frames: a head, then a line a detection.

A picture without detections has no line. Boxes stay in fractions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from petbox.wire import Detection

HEAD = ("picture", "width", "height", "label", "id", "score", "ymin", "xmin", "ymax", "xmax")


def head() -> str:
    return _lines([HEAD])


def lines(picture: str, size: tuple[int, int], detections: Iterable[Detection]) -> str:
    return _lines(
        (picture, *size, one.name or "", one.label, one.score, *one.box) for one in detections
    )


def _lines(rows: Iterable[Iterable[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
