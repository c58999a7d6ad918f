"""PASCAL VOC's XML: a picture's size, and the boxes in it.

    <annotation><filename>cat.jpg</filename><size><width>500</width>…</size>
      <object><name>cat</name>…<bndbox><xmin>119</xmin>…</bndbox></object></annotation>

A box that is empty, turned around or outside its picture is refused, not mended. Never opens the
picture itself.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from petbox.data import annotations as data_annotations
from petbox.data.annotations import Box
from petbox.errors import DataError


@dataclass(frozen=True)
class Object:
    """An `<object>`."""

    name: str
    box: Box
    pose: str
    truncated: bool
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """What an XML says of its picture."""

    filename: str  # empty where it says none
    width: int
    height: int
    objects: tuple[Object, ...]


def annotation(path: Path) -> Annotation:
    root = _parsed(path)
    width, height = _pixels(path, root, "size/width"), _pixels(path, root, "size/height")
    objects = tuple(_object(path, found, width, height) for found in root.findall("object"))
    return Annotation((root.findtext("filename") or "").strip(), width, height, objects)


def _object(path: Path, found: ElementTree.Element, width: int, height: int) -> Object:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: an <object> has no <name>; say there what it is")
    xmin, ymin, xmax, ymax = (
        _number(path, found, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    return Object(
        name=name,
        box=data_annotations.box(str(path), (xmin, ymin, xmax, ymax), width, height),
        pose=(found.findtext("pose") or "Unspecified").strip(),
        truncated=found.findtext("truncated", "0").strip() == "1",
        difficult=found.findtext("difficult", "0").strip() == "1",
    )


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
