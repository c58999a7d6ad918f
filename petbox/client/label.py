"""Writes annotations of photos, made from a model's detections, to be corrected.

By default Pascal VOC: an XML beside each photo, with the photo's own name, as
LabelImg, CVAT and `petbox train` read it. A photo that has an XML keeps it, so
corrections are safe and the same command continues after an interruption;
--overwrite replaces them. --format coco writes one JSON file, by default
annotations.json beside the photos. A photo without a detection is written
without objects: check those, since training takes it as background. Boxes are
those of the upright photo; if EXIF turns one upside down, its size does not
tell so, and training needs --turned follow.

examples:
  petbox label photos/ --model model/pets
  petbox label photos/ --format coco -o photos/annotations.json --min-score 0.7
  petbox train photos/ --init imagenet
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

from petbox import outputs
from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.client.detections import Detection, Detections
from petbox.client.options import DetectorOptions
from petbox.errors import DataError
from petbox.images import exif


@dataclass(frozen=True)
class LabelOptions(DetectorOptions):
    photos: Annotated[
        tuple[str, ...], "a photo, a folder of photos, or a quoted pattern", POSITIONAL
    ]
    format: Annotated[Literal["voc", "coco"], "form of the annotations"] = "voc"
    out: Annotated[
        Path | None, "folder for the XMLs, or the JSON file (default: beside the photos)", "PATH"
    ] = None
    overwrite: Annotated[bool, "replace annotations that exist"] = False


def label(options: LabelOptions) -> None:
    photos = _photos(options)
    to_write: Voc | Coco = (Voc if options.format == "voc" else Coco)(options, photos)
    left = to_write.without_annotation(photos)
    if len(left) < len(photos):
        say(f"{len(photos) - len(left)} photos keep the annotation that they have (--overwrite)")
    if not left:
        return
    classes: Counter[str] = Counter()
    failed = nothing = turned = 0
    with (
        options.detector() as detector,
        progress("label", len(left)) as advance,
        closing(detector.detect_many(left, keep_images=False)) as results,
    ):
        for _, found in results:
            if found.error:
                failed += 1
                say(f"error: {found.error}")
            else:
                nothing += not found
                turned += _turned_unseen(found)
                classes.update(one.name for one in found)
                to_write.add(Path(found.name), found)
            advance(1, "")
    if failed < len(left):
        print(to_write.finish(), flush=True)
    objects = ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))
    say(f"{len(left) - failed} photos: {objects or 'no objects'}; {nothing} without a detection")
    if turned:
        say(
            f"photos that EXIF turns without a change of their size: {turned}; give "
            "--turned follow to `petbox train` or `petbox records`"
        )
    if failed:
        raise DataError(f"{failed} of {len(left)} photos failed; see the errors above")


def _turned_unseen(found: Detections) -> bool:
    """Whether EXIF turns the photo, and it is as wide and high as before."""
    orientation = exif.orientation(Path(found.name).read_bytes())
    same = orientation not in exif.SIDEWAYS or found.width == found.height
    return orientation != exif.UPRIGHT and same


def _photos(options: LabelOptions) -> list[str]:
    from petbox.images.photos import ADDRESS, STDIN, list_images  # not before: --help needs neither

    for one in options.photos:
        if one == STDIN or ADDRESS.match(one):
            raise DataError(f"{one}: annotations lie beside files; save the photo to a folder")
    return list_images(options.photos)


class Voc:
    """An XML for each photo."""

    def __init__(self, options: LabelOptions, photos: list[str]) -> None:
        self._folder, self._overwrite = options.out, options.overwrite
        self._written: list[Path] = []
        paths: dict[Path, str] = {}
        for photo in photos:
            other = paths.setdefault(self._path(Path(photo)), photo)
            if other != photo:
                raise DataError(
                    f"{photo}: has the name of {other}, and both would have the same XML; "
                    "rename one, or label them into two folders"
                )

    def _path(self, photo: Path) -> Path:
        return (self._folder or photo.parent) / f"{photo.stem}.xml"

    def without_annotation(self, photos: list[str]) -> list[str]:
        if self._overwrite:
            return photos
        return [photo for photo in photos if not self._path(Path(photo)).exists()]

    def add(self, photo: Path, found: Detections) -> None:
        path = self._path(photo)
        with outputs.product(path, replace=True) as partial:
            partial.write_bytes(_xml(photo, found))
        self._written.append(path)

    def finish(self) -> Path:
        """What to print: the folder of the XMLs."""
        return Path(os.path.commonpath([path.parent for path in self._written]) or ".")


class Coco:
    """One JSON file for all photos."""

    def __init__(self, options: LabelOptions, photos: list[str]) -> None:
        self._path = options.out or Path(photos[0]).parent / "annotations.json"
        if self._path.suffix.lower() != ".json":
            raise DataError(f"{self._path}: COCO is one file; end its name with .json")
        if not options.overwrite:
            outputs.reject_existing(self._path)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}

    def without_annotation(self, photos: list[str]) -> list[str]:
        return photos

    def add(self, photo: Path, found: Detections) -> None:
        number = len(self._images) + 1
        name = os.path.relpath(photo, self._path.parent)
        size = {"width": found.width, "height": found.height}
        self._images.append({"id": number, "file_name": Path(name).as_posix(), **size})
        for one, (ymin, xmin, ymax, xmax) in _boxes(found):
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": one.label,
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                    "area": (xmax - xmin) * (ymax - ymin),
                    "iscrowd": 0,
                    "score": one.score,
                }
            )
        self._names.update({one.label: one.name for one in found})

    def finish(self) -> Path:
        categories = [{"id": label, "name": name} for label, name in sorted(self._names.items())]
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        with outputs.product(self._path, replace=True) as partial:
            partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return self._path


def _xml(photo: Path, found: Detections) -> bytes:
    root = ElementTree.Element("annotation")
    _add(root, folder=photo.resolve().parent.name, filename=photo.name)
    size = ElementTree.SubElement(root, "size")
    _add(size, width=found.width, height=found.height, depth=3)
    _add(root, segmented=0)
    for one, (ymin, xmin, ymax, xmax) in _boxes(found):
        tag = ElementTree.SubElement(root, "object")
        _add(tag, name=one.name, pose="Unspecified", truncated=0, difficult=0)
        _add(ElementTree.SubElement(tag, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ElementTree.indent(root)
    return f"{ElementTree.tostring(root, 'unicode')}\n".encode()


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def _boxes(found: Detections) -> Iterator[tuple[Detection, tuple[int, int, int, int]]]:
    """In whole pixels within the photo; without boxes that become empty."""
    for one in found:
        ymin, xmin, ymax, xmax = one.box.pixels
        if ymin < ymax and xmin < xmax:
            yield one, (ymin, xmin, ymax, xmax)
