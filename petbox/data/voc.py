"""Your own photos in Pascal VOC's form: an XML for each, with its size and its boxes.

    Annotations/NAME.xml     or annotations/, or beside the photos
    JPEGImages/NAME.jpg      or images/, or beside the XMLs; any format that Pillow reads
    ImageSets/Main/*.txt     one NAME per line: train or trainval, val, test; optional
    train/, valid/, test/    instead: each with XMLs and photos

    <annotation><filename>cat.jpg</filename><size><width>500</width>…</size>
      <object><name>cat</name>…<bndbox><xmin>119</xmin>…</bndbox></object></annotation>

An image whose XML has no object is a background. One without an XML is left out and reported. Any
other contradiction is an error that names the file. Opens no image.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data.annotations import Animal, Dataset, Division, Found, Photo
from petbox.data.problems import Problems
from petbox.errors import DataError

FOLDERS = ("annotations", "annotations/xmls", "xmls", "labels", ".")  # and with capitals
IMAGES = ("JPEGImages", "images", "image", "imgs", "img", "photos", "pictures", ".")
LISTS = (  # in ImageSets/Main; the first whose files all exist
    {"train": "train", "validation": "val", "test": "test"},
    {"train": "trainval", "test": "test"},
    {"train": "train", "test": "test"},
    {"train": "train", "test": "val"},
)
_LAYOUT = (
    "give --voc a folder with Annotations/*.xml and JPEGImages/, or with XMLs and photos together"
)


def read(
    root: Path,
    *,
    division: Division = data_annotations.AS_IN_DATA,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
    problems: Problems | None = None,
) -> Dataset:
    """The data set in `root`; without `labels`, its class names are numbered in order."""
    found, pending = Found(list), problems or Problems()
    parts = data_splits.folders(root, lambda folder: bool(xmls(folder)), found)
    files = {split: _xmls(folder) for split, folder in parts.items()}
    known = {name for part in files.values() for name in part}
    annotations: dict[Path, Annotation] = {}
    for xml in (xml for part in files.values() for xml in part.values()):
        with pending.collected():
            annotations[xml] = annotation(xml, pending)
    files = {s: {n: x for n, x in part.items() if x in annotations} for s, part in files.items()}
    names = {animal.name for each in annotations.values() for animal in each.animals}
    classes = dict(labels) if labels is not None else dict(enumerate(sorted(names), start=1))
    numbers = {xml: number for number, xml in enumerate(annotations, start=1)}
    photos: dict[str, dict[str, Photo]] = {}
    for split, folder in parts.items():
        images = _images(folder, files[split])
        paths = _image_paths(files[split], annotations, images, pending)
        photos[split] = {}
        for name, path in paths.items():
            xml = files[split][name]
            content = annotations[xml]
            photos[split][name] = _photo(numbers[xml], xml, content, path, classes, pending)
        if not any(photo.animals for photo in photos[split].values()):
            pending.check()
            raise DataError(f"{folder}: not one XML has an object in it; {_LAYOUT}")
        without = set(images.values()) - set(paths.values())
        found["left out, no XML"].extend(path.name for path in without)
        known |= {path.stem for path in without}
    what = f"{root}: its folders"
    if problems is None:
        pending.check()
    splits = data_splits.divided(photos, known, _lists(root), division, found, what)
    return Dataset(classes, splits, data_annotations.remarks(found), turned)


def xmls(root: Path) -> dict[str, Path]:
    """The XMLs of a data set by their names, from the first of the usual folders that has any."""
    for folder in (data_splits.in_any_case(root, name) for name in FOLDERS):
        if found := {path.stem: path for path in sorted(folder.glob("[!.]*.xml"))}:
            return found
    return {}


def _xmls(root: Path) -> dict[str, Path]:
    found = xmls(root)
    if not found:
        trouble = "has no .xml in it" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {trouble}; {_LAYOUT}")
    return found


def _lists(root: Path) -> dict[str, Path]:
    """VOC's own lists of its splits, if it has them."""
    main = root / "ImageSets" / "Main"
    for lists in LISTS:
        paths = {split: main / f"{name}.txt" for split, name in lists.items()}
        if all(path.is_file() for path in paths.values()):
            return paths
    return {}


def _photo(
    number: int,
    xml: Path,
    content: Annotation,
    path: Path,
    labels: Mapping[int, str],
    problems: Problems,
) -> Photo:
    animals = []
    for animal in content.animals:
        with problems.collected():
            label = data_annotations.label_of(animal.name, labels, str(xml))
            animals.append(replace(animal, label=label))
    breed, size = data_annotations.breed_of(animals), (content.width, content.height)
    return Photo(path, number, breed, *size, tuple(animals), str(xml))


# Images


def _images(root: Path, xmls: Mapping[str, Path]) -> dict[str, Path]:
    """The image files by their names; of two with the same name, the first folder's."""
    files: dict[str, Path] = {}
    beside = [xml.parent for xml in xmls.values()][:1]
    for folder in (*(data_splits.in_any_case(root, name) for name in IMAGES), *beside):
        for path in sorted(folder.glob("[!.]*")):
            if path.suffix.lower() in data_annotations.IMAGE_SUFFIXES:
                files.setdefault(path.name, path)
    return files


def _image_paths(
    xmls: Mapping[str, Path],
    annotations: Mapping[Path, Annotation],
    images: Mapping[str, Path],
    problems: Problems,
) -> dict[str, Path]:
    """The image of each XML; rejects two XMLs of one image, which would each describe a part."""
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in images.values():
        by_stem[path.stem].append(path)
    paths: dict[str, Path] = {}
    described: dict[Path, Path] = {}
    for name, xml in xmls.items():
        with problems.collected():
            path = _image_path(xml, annotations[xml].filename, images, by_stem[xml.stem])
            if described.setdefault(path, xml) != xml:
                raise DataError(
                    f"{xml}: {path} is {described[path]}'s image already; correct its <filename>, "
                    "or merge the two XMLs"
                )
            paths[name] = path
    return paths


def _image_path(xml: Path, filename: str, images: Mapping[str, Path], own: Sequence[Path]) -> Path:
    """The image with the XML's own name, or else with the `<filename>` in it."""
    named = images.get(filename)
    if named and named in own:
        return named
    candidates = [*own, named] if named else [*own]
    if not candidates:
        or_named = f" nor {filename}" if filename else ""
        raise DataError(
            f"{xml}: its image is missing, there is no {xml.stem}.jpg{or_named} in JPEGImages/, "
            "images/ or beside it; put it there, or remove the XML"
        )
    if len(candidates) > 1:
        raise DataError(
            f"{xml}: its image may be {candidates[0]} or {candidates[1]}; "
            "name one in <filename>, and rename the other"
        )
    return candidates[0]


# The XML


@dataclass(frozen=True)
class Annotation:
    """An XML's content."""

    filename: str  # of the image; empty if the XML has none
    width: int
    height: int
    animals: tuple[Animal, ...]  # without labels
    objects: int  # of which some may be bad


def annotation(path: Path, problems: Problems | None = None) -> Annotation:
    """The content of an XML; `problems` gets what is wrong with its objects."""
    root, pending = _parsed(path), problems or Problems()
    width, height = _pixels(path, root, "size/width"), _pixels(path, root, "size/height")
    animals, objects = [], root.findall("object")
    for found in objects:
        with pending.collected(boxes_of=str(path)):
            animals.append(_animal(path, found, width, height))
    if problems is None:
        pending.check()
    filename = (root.findtext("filename") or "").strip()
    return Annotation(filename, width, height, tuple(animals), len(objects))


def _animal(path: Path, found: ElementTree.Element, width: int, height: int) -> Animal:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: an <object> has no <name>; write its class there")
    xmin, ymin, xmax, ymax = (
        _number(path, found, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    return Animal(
        data_annotations.box(str(path), (xmin, ymin, xmax, ymax), width, height),
        name,
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
