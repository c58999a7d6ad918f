"""PASCAL VOC's XML, as Oxford-IIIT Pet uses it: a picture's size and the boxes in it.

    <annotation><size><width>500</width>…</size>
      <object><name>cat</name>…<bndbox><xmin>119</xmin>…</bndbox></object></annotation>

A box that is empty, turned around or outside its picture is refused, not mended. Never opens the
picture itself.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError

Box = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, in fractions


@dataclass(frozen=True)
class Animal:
    """One animal of a photo."""

    box: Box
    pose: str
    truncated: bool
    difficult: bool


def annotation(path: Path, species: str) -> tuple[int, int, tuple[Animal, ...]]:
    """Width and height of the picture that `path` describes, and its animals, all `species`."""
    root = _parsed(path)
    width, height = _pixels(path, root, "size/width"), _pixels(path, root, "size/height")
    objects = root.findall("object")
    if not objects:
        raise DataError(f"{path}: no <object> in it; delete the file if nothing is to be seen")
    return width, height, tuple(_animal(path, o, species, width, height) for o in objects)


def _animal(
    path: Path, found: ElementTree.Element, species: str, width: int, height: int
) -> Animal:
    name = (found.findtext("name") or "").strip()
    if name != species:
        raise DataError(
            f"{path}: an object is called {name!r} in a {species}'s photo; "
            f"<name> must be {species}, for the breed is in the file's name"
        )
    return Animal(
        box=_box(path, found, width, height),
        pose=(found.findtext("pose") or "Unspecified").strip(),
        truncated=found.findtext("truncated", "0").strip() == "1",
        difficult=found.findtext("difficult", "0").strip() == "1",
    )


def _box(path: Path, found: ElementTree.Element, width: int, height: int) -> Box:
    """The box in fractions, as the Object Detection API has them: pixels by size.

    VOC counts pixels from 1, others from 0; both are within a pixel of the truth, and both may
    touch the edges, as hundreds in Oxford-IIIT Pet do.
    """
    xmin, ymin, xmax, ymax = (
        _number(path, found, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    shown = f"box {xmin:g},{ymin:g} to {xmax:g},{ymax:g}"
    if min(xmin, xmax, ymin, ymax) < 0 or max(xmin, xmax) > width or max(ymin, ymax) > height:
        raise DataError(f"{path}: {shown} reaches out of its {width}x{height} picture; correct it")
    if xmin >= xmax or ymin >= ymax:
        raise DataError(f"{path}: {shown} is empty or turned around; min must be less than max")
    return ymin / height, xmin / width, ymax / height, xmax / width


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as XML ({error}); fetch it again") from error


def _pixels(path: Path, root: ElementTree.Element, tag: str) -> int:
    value = _number(path, root, tag)
    if value != int(value) or value < 1:
        raise DataError(f"{path}: <{tag}> is {value:g}; it must be a whole number of pixels")
    return int(value)


def _number(path: Path, root: ElementTree.Element, tag: str) -> float:
    text = root.findtext(tag)
    if text is None:
        raise DataError(f"{path}: no <{tag.replace('/', '><')}> in it; fetch it again")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:  # neither nan nor infinite
        raise DataError(f"{path}: <{tag}> is {text.strip()!r}, not a number; correct it")
    return value
