"""Annotated photos: what every data set is read into, and what records are written from.

The readers are `petbox.data.pets`, `voc`, `coco` and `yolo`. Whether an image matches its
annotation is checked when it is written into a record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError

Box = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, in fractions
Edges = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax, in pixels
Remarks = dict[str, tuple[str, ...]]  # what was done on purpose, and to which files
Found = defaultdict[str, list[str]]  # remarks while a reader collects them

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class BadBox(DataError):
    """A box that is outside its image, empty or inverted."""


class UnknownClass(DataError):
    """A class that the label map lacks: one fault, however many boxes have it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Animal:
    """One animal in an image, or another object."""

    box: Box
    name: str  # of its class
    label: int = 0  # 0 until the label map is known
    pose: str = "Unspecified"
    truncated: bool = False
    difficult: bool = False
    crowd: bool = False  # one box around many


@dataclass(frozen=True)
class Photo:
    """An image as its annotation describes it."""

    path: Path
    number: int  # unique in its split, for COCO's metrics
    breed: str  # or its first animal's class, if any; a random split holds out a share of each
    width: int
    height: int
    animals: tuple[Animal, ...]  # none in a background
    annotation: str  # the file that describes it, for messages

    @property
    def name(self) -> str:
        return self.path.stem


def breed_of(animals: Sequence[Animal]) -> str:
    return animals[0].name if animals else ""


@dataclass(frozen=True)
class Dataset:
    """Annotated images by split and what was done on purpose.

    Splits are `train`, `validation`, on which the checkpoint is chosen, and `test`.
    """

    labels: dict[int, str]
    photos: dict[str, tuple[Photo, ...]]
    remarks: Remarks
    turned: str = "by-size"  # which way up the boxes were drawn; see petbox.data.image_files


@dataclass(frozen=True)
class Division:
    """How images are split: by lists, or a share held out at random; by default as in the data.

    The validation split is always cut from the training images.
    """

    train_list: Path | None = None
    test_list: Path | None = None
    test_share: float | None = None
    seed: int = 1
    validation_list: Path | None = None
    validation_share: float | None = None

    def check(self) -> None:
        if self.validation_share is not None:
            if not 0 <= self.validation_share < 1:
                raise DataError(
                    f"--validation-share {self.validation_share:g}: must be 0 or more, and below 1"
                )
            if self.validation_list:
                raise DataError(
                    "--validation-list and --validation-share both choose the validation images; "
                    "give one"
                )
        if self.test_share is None:
            return
        if not 0 < self.test_share < 1:
            raise DataError(f"--test-share {self.test_share:g}: must be between 0 and 1")
        if self.test_list:
            raise DataError("--test-list and --test-share both choose what is held out; give one")


AS_IN_DATA = Division()
TRIMMED = "box trimmed to its image, by less than a pixel"


def trimmed(edges: Edges, width: int, height: int) -> Edges:
    """The edges within the image, if rounding put them less than a pixel outside."""
    xmin, ymin, xmax, ymax = edges
    if min(xmin, ymin) <= -1 or xmax >= width + 1 or ymax >= height + 1:
        return edges
    return max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)


def box(where: str, edges: Edges, width: int, height: int) -> Box:
    """The box in fractions, as the Object Detection API has it.

    VOC counts pixels from 1, others from 0; both are within a pixel of the truth, and both may
    touch the image's edges. A box that is empty, inverted or outside is not fixed.
    """
    xmin, ymin, xmax, ymax = edges
    shown = f"box {xmin:g},{ymin:g} to {xmax:g},{ymax:g}"
    if min(edges) < 0 or max(xmin, xmax) > width or max(ymin, ymax) > height:
        raise BadBox(f"{where}: {shown} reaches out of its {width}x{height} image; correct it")
    if xmin >= xmax or ymin >= ymax:
        raise BadBox(f"{where}: {shown} is empty or inverted; min must be less than max")
    return ymin / height, xmin / width, ymax / height, xmax / width


def trimmed_box(
    where: str, edges: Edges, size: tuple[int, int], file_name: str, found: Found
) -> Box:
    """The box in fractions; if it was trimmed, `found` gets the file's name."""
    inside = trimmed(edges, *size)
    if inside != edges:
        found[TRIMMED].append(file_name)
    return box(where, inside, *size)


def label_of(name: str, labels: Mapping[int, str], where: str) -> int:
    """The id of a class; rejects a name that the label map does not have."""
    for label, known in labels.items():
        if known == name:
            return label
    raise UnknownClass(
        name,
        f"{where}: the class {name!r} is not in the label map; add it there, or leave out "
        "--label-map to take the classes as they are in the data",
    )


def remarks(found: Mapping[str, Sequence[str]]) -> Remarks:
    """The remarks about at least one file, with the names sorted."""
    return {what: tuple(sorted(names)) for what, names in found.items() if names}
