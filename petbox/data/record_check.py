"""Checks records that another program wrote, before hours are spent on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from petbox.data import records
from petbox.data.problems import Problems
from petbox.data.records import Example
from petbox.errors import DataError

ROUNDING = 0.01  # of the image; a box that reaches out by less is trimmed where it is used


@dataclass(frozen=True)
class Counted:
    images: int
    without_objects: int


def check(files: Iterable[Path], names: Mapping[int, str], label_map: str) -> Counted:
    """Counts the images; rejects boxes outside the image and classes without a name."""
    problems = Problems()
    images = without = 0
    for path in files:
        try:
            for number, example in enumerate(records.read(path), start=1):
                images += 1
                without += not example.classes
                if trouble := problem(example, names, label_map):
                    problems.add(f"{path}: record {number} ({example.name}): {trouble}")
        except DataError as error:  # the rest of the file cannot be read
            problems.add(error)
    problems.check()
    if not images:
        raise DataError("the records hold no image; name others")
    return Counted(images, without)


def problem(example: Example, names: Mapping[int, str], label_map: str) -> str:
    if len(example.boxes) != len(example.classes):
        return f"{len(example.boxes)} boxes, but {len(example.classes)} classes; write it again"
    for label in example.classes:
        if label not in names:
            return f"its class {label} is not in {label_map}; add it there, or write it again"
    for ymin, xmin, ymax, xmax in example.boxes:
        shown = f"box {xmin:g},{ymin:g} to {xmax:g},{ymax:g}"
        if not (min(ymin, xmin) >= -ROUNDING and max(ymax, xmax) <= 1 + ROUNDING):
            return f"{shown} is not in fractions of the image; divide it by the image's size"
        if not (ymin < ymax and xmin < xmax):
            return f"{shown} is empty or inverted; min must be less than max"
    return ""
