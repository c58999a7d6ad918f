"""Annotated photos: what every data set is read into, and what records are written from.

The readers are `petbox.data.pets`, `voc`, `coco` and `yolo`. Whether a photo matches its annotation
is checked when it is written into a record.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError

Box = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, in fractions
Edges = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax, in pixels
Remarks = dict[str, tuple[str, ...]]  # what was done on purpose, and to which files

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Animal:
    """One animal of a photo, or whatever else the classes are."""

    box: Box
    label: int
    name: str  # of its class
    pose: str = "Unspecified"
    truncated: bool = False
    difficult: bool = False
    crowd: bool = False  # one box around many


@dataclass(frozen=True)
class Photo:
    """A photo as its annotation describes it."""

    path: Path
    number: int  # unique in its split, for COCO's metrics
    breed: str  # its breed or its first animal's class: a random split is fair to each
    width: int
    height: int
    animals: tuple[Animal, ...]
    annotation: str  # what says all this, for messages

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Dataset:
    """Photos with boxes by split, `train` and `test`, and what was done on purpose."""

    labels: dict[int, str]
    photos: dict[str, tuple[Photo, ...]]
    remarks: Remarks
    turned: str = "by-size"  # whose boxes a photo's are when its EXIF turns it; see picture_files


@dataclass(frozen=True)
class Division:
    """How photos become two splits: by lists, or a share held out at random."""

    train_list: Path | None = None
    test_list: Path | None = None
    test_share: float | None = None
    seed: int = 1

    def check(self) -> None:
        if self.test_share is None:
            return
        if not 0 < self.test_share < 1:
            raise DataError(f"--test-share {self.test_share:g}: must be between 0 and 1")
        if self.test_list:
            raise DataError("--test-list and --test-share both say what is held out; give one")


TRIMMED = "box trimmed to its image, by less than a pixel"


def trimmed(edges: Edges, width: int, height: int) -> Edges:
    """Within the image, if rounding led less than a pixel out of it."""
    xmin, ymin, xmax, ymax = edges
    if min(xmin, ymin) <= -1 or xmax >= width + 1 or ymax >= height + 1:
        return edges
    return max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)


def box(where: str, edges: Edges, width: int, height: int, advice: str = "") -> Box:
    """The box in fractions, as the Object Detection API has it.

    VOC counts pixels from 1, others from 0; both are within a pixel of the truth, and both may
    touch the image's edges. A box that is empty, inverted or outside is not fixed.
    """
    xmin, ymin, xmax, ymax = edges
    shown = f"box {xmin:g},{ymin:g} to {xmax:g},{ymax:g}"
    if min(edges) < 0 or max(xmin, xmax) > width or max(ymin, ymax) > height:
        raise DataError(
            f"{where}: {shown} reaches out of its {width}x{height} image; correct it{advice}"
        )
    if xmin >= xmax or ymin >= ymax:
        raise DataError(f"{where}: {shown} is empty or inverted; min must be less than max{advice}")
    return ymin / height, xmin / width, ymax / height, xmax / width


def by_chance(photos: Sequence[Photo], share: float, seed: int) -> dict[str, tuple[Photo, ...]]:
    """Two splits with about the same share of each breed held out; the same for the same seed."""
    shuffled = random.Random(f"{seed} test").sample(range(len(photos)), len(photos))
    in_breeds = sorted(shuffled, key=lambda at: photos[at].breed)
    held = {
        at
        for place, at in enumerate(in_breeds)
        if int((place + 1) * share + 0.5) > int(place * share + 0.5)
    }
    splits = {
        "train": tuple(photo for at, photo in enumerate(photos) if at not in held),
        "test": tuple(photo for at, photo in enumerate(photos) if at in held),
    }
    for split, chosen in splits.items():
        if not chosen:
            raise DataError(
                f"--test-share {share:g} of {len(photos)} photos leaves none in {split}; "
                "give another share, or more photos"
            )
    return splits


def numbered(names: Sequence[str], labels: Mapping[int, str] | None) -> dict[int, str]:
    """The label map: the one given, or the names in alphabetical order from 1 on."""
    return dict(labels) if labels is not None else dict(enumerate(sorted(set(names)), start=1))


def remarks(found: Mapping[str, Sequence[str]]) -> Remarks:
    """Those that have something to say, each with its names in order."""
    return {what: tuple(sorted(names)) for what, names in found.items() if names}
