"""Your own photos in Pascal VOC's form: an XML for each, with its size and its boxes.

    Annotations/NAME.xml     or annotations/, or beside the photos
    JPEGImages/NAME.jpg      or images/, or beside the XMLs; any format that Pillow reads
    ImageSets/Main/*.txt     one NAME per line: trainval or train, and test or val; optional
    train/, valid/, test/    instead: each with XMLs and photos

    <annotation><filename>cat.jpg</filename><size><width>500</width>…</size>
      <object><name>cat</name>…<bndbox><xmin>119</xmin>…</bndbox></object></annotation>

A photo without XML counts as not annotated, one whose XML has no object as empty; both are left out
and reported. Any other contradiction stops the reading and names the file. Opens no photo.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data.annotations import PICTURES, Animal, Box, Dataset, Division, Photo
from petbox.errors import DataError

FOLDERS = ("Annotations", "annotations", "annotations/xmls", "xmls", "labels", ".")
IMAGES = ("JPEGImages", "images", "Images", "imgs", ".")
_LAYOUT = (
    "give --voc a folder with Annotations/*.xml and JPEGImages/, or with XMLs and photos together"
)


def read(
    root: Path,
    *,
    division: Division | None = None,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
) -> Dataset:
    """The data set in `root`; without `labels` the names in it are numbered."""
    division, found = division or Division(), defaultdict[str, list[str]](list)
    parts = data_splits.folders(root, lambda folder: bool(xmls(folder)), found)
    files = {split: _xmls(folder) for split, folder in parts.items()}
    said = {xml: annotation(xml) for names in files.values() for xml in names.values()}
    classes = data_annotations.numbered([o.name for a in said.values() for o in a.objects], labels)
    numbers = {xml: number for number, xml in enumerate(said, start=1)}
    photos: dict[str, dict[str, Photo]] = {}
    known: set[str] = set()
    for split, folder in parts.items():
        images = _files(folder, files[split])
        stems: defaultdict[str, list[Path]] = defaultdict(list)
        for path in images.values():
            stems[path.stem].append(path)
        paths = {n: _picture(xml, said[xml], images, stems) for n, xml in files[split].items()}
        _refuse_shared(files[split], paths)
        photos[split] = {}
        for name, xml in files[split].items():
            if said[xml].objects:
                photos[split][name] = _photo(numbers[xml], xml, said[xml], paths[name], classes)
            else:
                found["left out, its XML has no object"].append(name)
        if not photos[split]:
            raise DataError(f"{folder}: not one XML has an object in it; {_LAYOUT}")
        without = set(images.values()) - set(paths.values())
        found["left out, no XML"].extend(path.name for path in without)
        known |= files[split].keys() | {path.stem for path in without}
    if "" in parts:
        splits = data_splits.divided(photos[""], known, _lists(root), division, found)
    else:
        what = " and ".join(f"{folder.name}/" for folder in parts.values())
        splits = data_splits.by_folders(photos, division, f"{root}: {what}")
    return Dataset(classes, splits, data_annotations.remarks(found), turned)


def xmls(root: Path) -> dict[str, Path]:
    """The XMLs of a folder by their names, from the first of the usual places that has any."""
    for name in FOLDERS:
        if found := {p.stem: p for p in sorted((root / name).glob("*.xml")) if _shown(p)}:
            return found
    return {}


def _xmls(root: Path) -> dict[str, Path]:
    found = xmls(root)
    if not found:
        trouble = "has no .xml in it" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {trouble}; {_LAYOUT}")
    return found


def _lists(root: Path) -> dict[str, Path]:
    """VOC's own lists of both splits, if it has them."""
    main = root / "ImageSets" / "Main"
    for train, test in (("trainval", "test"), ("train", "test"), ("train", "val")):
        lists = {"train": main / f"{train}.txt", "test": main / f"{test}.txt"}
        if all(path.is_file() for path in lists.values()):
            return lists
    return {}


def _photo(
    number: int, xml: Path, said: Annotation, path: Path, labels: Mapping[int, str]
) -> Photo:
    ids = {name: label for label, name in labels.items()}
    for thing in said.objects:
        if thing.name not in ids:
            raise DataError(
                f"{xml}: an object is called {thing.name!r}, which is not in the label map; add "
                "it there, or leave out --label-map to number the names that are found"
            )
    animals = tuple(
        Animal(o.box, ids[o.name], o.name, o.pose, o.truncated, o.difficult) for o in said.objects
    )
    return Photo(path, number, animals[0].name, said.width, said.height, animals, str(xml))


# Images


def _files(root: Path, xmls: Mapping[str, Path]) -> dict[str, Path]:
    """The image files by their names; of two with one name, the first folder's."""
    files: dict[str, Path] = {}
    beside = next(iter(xmls.values())).parent
    for folder in (*(root / name for name in IMAGES), beside):
        for path in sorted(folder.glob("*")):
            if path.suffix.lower() in PICTURES and _shown(path):
                files.setdefault(path.name, path)
    return files


def _picture(
    xml: Path,
    said: Annotation,
    files: Mapping[str, Path],
    stems: Mapping[str, list[Path]],
) -> Path:
    """The image with the XML's own name, or else with the `<filename>` in it."""
    own, named = stems.get(xml.stem, []), files.get(said.filename)
    if named in own:
        return named
    candidates = [*own, named] if named else own
    if not candidates:
        or_named = f" nor {said.filename}" if said.filename else ""
        raise DataError(
            f"{xml}: its image is missing, there is no {xml.stem}.jpg{or_named} in JPEGImages/, "
            "images/ or beside it; put it there, or take the XML away"
        )
    if len(candidates) > 1:
        raise DataError(
            f"{xml}: its image may be {candidates[0]} or {candidates[1]}; "
            "say which in <filename>, and let the other have another name"
        )
    return candidates[0]


def _refuse_shared(xmls: Mapping[str, Path], paths: Mapping[str, Path]) -> None:
    """Two XMLs of one image, each of which would describe only a part."""
    described: dict[Path, str] = {}
    for name, path in paths.items():
        if path in described:
            raise DataError(
                f"{xmls[name]}: {path} is {xmls[described[path]]}'s image already; "
                "correct its <filename>, or make the two one"
            )
        described[path] = name


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")


# The XML


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
    """What an XML says about its image."""

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
