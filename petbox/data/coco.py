"""Your own photos with a COCO file, or in the form of SageMaker's "Object Detection - TensorFlow".

    COCO       {"images": [{"id", "file_name", "width", "height"}],
                "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height]}],
                "categories": [{"id", "name"}]}
    SageMaker  the same without categories, and "bbox": [xmin, ymin, xmax, ymax];
               annotations.json with images/ beside it

The form of the boxes follows from the file, unless `bbox` sets it; a box that does not fit its
image in that form is an error. An image without a box is a background. Masks are ignored. Opens no
image.

Category ids are kept, with their gaps, unless 0 is used, which is the background's: then all are
renumbered. A given label map is matched by name, or by id if the file has no names.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data.annotations import Animal, BadBox, Dataset, Division, Edges, Found, Photo
from petbox.data.problems import Problems
from petbox.errors import DataError, PetboxError

BoxForm = Literal["by-file", "xywh", "corners"]
MEANING = {"xywh": "x, y, width, height", "corners": "xmin, ymin, xmax, ymax"}
_FORM = "give --coco a COCO file, or annotations.json of SageMaker's form"
RENUMBERED = "category ids renumbered, because 0 is the background's"
ANNOTATIONS = ("annotations", "labels")  # usual names of the folder of such files


class WrongForm(PetboxError):
    """All boxes of a file are read in the wrong form, so one error is enough."""


@dataclass(frozen=True)
class _File:
    """One JSON file, its lists checked, and the folder of its images."""

    path: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[int, str] | None  # None in SageMaker's form
    folder: Path
    form: str  # of its boxes


def read(
    paths: Sequence[Path],
    *,
    images: Sequence[Path] = (),
    bbox: BoxForm = "by-file",
    division: Division = data_annotations.AS_IN_DATA,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
    problems: Problems | None = None,
) -> Dataset:
    """The data set of one file, or of one for each split."""
    if len(paths) > 3 or len(images) not in (0, 1, len(paths)):
        raise DataError(
            "--coco takes one file, two (train, test) or three (train, validation, test), and "
            "--images as many, or one folder"
        )
    folders = [*images] * len(paths) if len(images) < len(paths) else images
    pending = problems or Problems()
    files = [
        _file(path, folder, bbox, pending)
        for path, folder in zip_longest(paths, folders[: len(paths)])
    ]
    found: Found = defaultdict(list)
    stated = {str(file.path): file.categories for file in files}
    used = {a["category_id"] for file in files for a in file.annotations}
    classes = _classes(stated, used, labels, found)
    names = {1: [""], 2: ["train", "test"]}.get(len(files), ["train", "validation", "test"])
    photos = {
        split: _photos(file, classes, found, pending)
        for split, file in zip(names, files, strict=True)
    }
    if problems is None:
        pending.check()
    for file in files:
        found[f"boxes read as {MEANING[file.form]}"].append(file.path.name)
    _remark_on_unnamed_images(files, found)
    known = {image["file_name"] for image in files[0].images}
    splits = data_splits.divided(photos, known, {}, division, found, "the files of --coco")
    return Dataset(classes.labels, splits, data_annotations.remarks(found), turned)


# Photos


def _photos(file: _File, classes: _Classes, found: Found, problems: Problems) -> dict[str, Photo]:
    """The images by their file names."""
    of_image: defaultdict[int | str, list[dict[str, Any]]] = defaultdict(list)
    for annotation in file.annotations:
        of_image[annotation["image_id"]].append(annotation)
    whole = all(isinstance(image["id"], int) for image in file.images)
    photos = {}
    for position, image in enumerate(file.images, start=1):
        name, animals, path = image["file_name"], [], None
        with problems.collected():
            path = _image_path(file, name)
        for annotation in of_image[image["id"]]:
            with problems.collected(boxes_of=str(path)):
                animals.append(_animal(file, annotation, image, classes, found))
        if path is None:
            continue
        number = image["id"] if whole else position
        size, breed = (image["width"], image["height"]), data_annotations.breed_of(animals)
        photos[name] = Photo(path, number, breed, *size, tuple(animals), str(file.path))
    return photos


def _animal(
    file: _File, annotation: dict[str, Any], image: dict[str, Any], classes: _Classes, found: Found
) -> Animal:
    name, size = image["file_name"], (image["width"], image["height"])
    where = f"{file.path}: annotation {annotation['id']} of {name}"
    edges = _corners(annotation["bbox"], file.form)
    try:
        box = data_annotations.trimmed_box(where, edges, size, name, found)
    except BadBox as error:
        other = "corners" if file.form == "xywh" else "xywh"
        advice = f" (boxes are read as {MEANING[file.form]}"
        if _all_fit(file, other):
            advice += f"; all fit as {MEANING[other]}: if that is meant, give --bbox {other}"
            raise WrongForm(f"{error}{advice})") from error
        raise BadBox(f"{error}{advice})") from error
    label = classes.of[annotation["category_id"]]
    crowd = annotation.get("iscrowd", 0) == 1
    return Animal(box, classes.labels[label], label, crowd=crowd)


def _corners(bbox: Sequence[float], form: str) -> Edges:
    left, top, right, bottom = bbox
    return (left, top, left + right, top + bottom) if form == "xywh" else (left, top, right, bottom)


def _all_fit(file: _File, form: str) -> bool:
    sizes = {image["id"]: image for image in file.images}
    for annotation in file.annotations:
        image = sizes[annotation["image_id"]]
        width, height = image["width"], image["height"]
        edges = _corners(annotation["bbox"], form)
        xmin, ymin, xmax, ymax = data_annotations.trimmed(edges, width, height)
        if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):
            return False
    return True


def _image_path(file: _File, name: str) -> Path:
    for folder in (file.folder, file.path.parent):  # some names are relative to the JSON file
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{file.folder / name}: no such file, but {file.path} names it; put it there, or give "
        "--images the folder of the images"
    )


def _remark_on_unnamed_images(files: Sequence[_File], found: Found) -> None:
    named = {file.folder / image["file_name"] for file in files for image in file.images}
    present = {path for file in files for path in file.folder.glob("[!.]*")}
    found["image that no file names, ignored"].extend(
        path.name
        for path in present - named
        if path.suffix.lower() in data_annotations.IMAGE_SUFFIXES
    )


# The file


def _file(path: Path, folder: Path | None, bbox: BoxForm, problems: Problems) -> _File:
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_FORM}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); replace it") from error
    images, annotations = _list(path, stated, "images"), _list(path, stated, "annotations")
    names = _categories(path, stated)
    _check_images(path, images)
    annotations = _valid(path, annotations, {image["id"] for image in images}, problems)
    if bbox == "by-file":
        bbox = "corners" if names is None else "xywh"
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give --images the folder of the images")
    folder = folder or _folder(path, images[0]["file_name"])
    return _File(path, images, annotations, names, folder, bbox)


def _folder(path: Path, name: str) -> Path:
    """The folder of a file's images: beside the file or its folder, by the usual names."""
    split = path.stem.removeprefix("instances_")
    beside = path.parent
    around = [beside, beside.parent] if beside.name.lower() in ANNOTATIONS else [beside]
    usual = ("images", f"images/{split}", split, "JPEGImages", ".")
    folders = [data_splits.in_any_case(folder, under) for folder in around for under in usual]
    default = folders[0] if folders[0].is_dir() else beside
    return next((folder for folder in folders if (folder / name).is_file()), default)


def _list(path: Path, stated: Any, key: str) -> list[dict[str, Any]]:
    found = stated.get(key) if isinstance(stated, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(x, dict) for x in found):
        raise DataError(f"{path}: has no list of {key!r} with anything in it; {_FORM}")
    return found


def _categories(path: Path, stated: dict[str, Any]) -> dict[int, str] | None:
    if "categories" not in stated:
        return None
    names: dict[int, str] = {}
    for index, category in enumerate(_list(path, stated, "categories")):
        number, name = category.get("id"), category.get("name")
        if type(number) is not int or not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {index} has no id and name; it needs both")
        if number in names or name in names.values():
            raise DataError(f"{path}: category {number}, {name!r}, is there twice; remove one")
        names[number] = name
    return names


def _check_images(path: Path, images: Sequence[dict[str, Any]]) -> None:
    ids: set[int | str] = set()
    names: set[str] = set()
    for index, image in enumerate(images):
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(number, (int, str)) or not isinstance(name, str) or not name:
            raise DataError(f"{path}: image {index} has no id and file_name; it needs both")
        for key in ("width", "height"):
            if type(image.get(key)) is not int or image[key] < 1:
                raise DataError(
                    f"{path}: {name} has no {key} in whole pixels ({image.get(key)!r}); state it"
                )
        if number in ids or name in names:
            raise DataError(f"{path}: image {number}, {name}, is there twice; remove one")
        ids.add(number)
        names.add(name)


def _valid(
    path: Path,
    annotations: Sequence[dict[str, Any]],
    images: set[int | str],
    problems: Problems,
) -> list[dict[str, Any]]:
    """The annotations that are complete; `problems` gets the others."""
    valid = []
    for index, annotation in enumerate(annotations):
        with problems.collected():
            where = f"{path}: annotation {annotation.setdefault('id', index)}"
            _check_annotation(where, annotation, images)
            valid.append(annotation)
    if valid and all(abs(number) <= 1 for one in valid for number in one["bbox"]):
        raise DataError(f"{path}: all its boxes lie between 0 and 1; they must be in pixels")
    return valid


def _check_annotation(where: str, annotation: dict[str, Any], images: set[int | str]) -> None:
    image = annotation.get("image_id")
    if not isinstance(image, (int, str)) or image not in images:
        raise DataError(f"{where}: there is no image {image!r}; correct its image_id")
    if type(annotation.get("category_id")) is not int:
        raise DataError(f"{where}: has no category_id that is a whole number; state it")
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise DataError(f"{where}: its bbox is {bbox!r}; it must be four numbers")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


# Categories


class _Classes(NamedTuple):
    labels: dict[int, str]
    of: dict[int, int]  # which of its ids each category id becomes


def _classes(
    stated: Mapping[str, Mapping[int, str] | None],
    used: Collection[int],
    labels: Mapping[int, str] | None,
    found: Found,
) -> _Classes:
    """`stated` are the categories of each file, if it has any; `used` the ids of boxes."""
    names = _together(stated)
    for number in sorted(used):
        if names is not None and number not in names:
            raise DataError(
                f"{' or '.join(stated)}: a box is of category {number}, which is not among the "
                "categories; add it there"
            )
    if names is None:
        own = {number: f"class_{number}" for number in sorted(used)}
        names = own if labels is None else own | dict(labels)
    if labels is not None:
        problems, known = Problems(), {}
        for number in sorted(used):
            with problems.collected():
                where = " or ".join(stated)
                known[number] = data_annotations.label_of(names[number], labels, where)
        problems.check()
        return _Classes(dict(labels), known)
    return _numbered(names, used, found)


def _together(stated: Mapping[str, Mapping[int, str] | None]) -> dict[int, str] | None:
    together: dict[int, str] = {}
    for path, names in stated.items():
        if names is None and any(others is not None for others in stated.values()):
            raise DataError(f"{path}: has no categories, but the other file has; add them")
        for number, name in (names or {}).items():
            if together.setdefault(number, name) != name or name in {
                other for n, other in together.items() if n != number
            }:
                raise DataError(
                    f"{path}: category {number} is {name!r}, not as in the other file; "
                    "give each name one id"
                )
    return together or None


def _numbered(names: Mapping[int, str], used: Collection[int], found: Found) -> _Classes:
    if min(names) < 0:
        raise DataError(f"category {min(names)}, {names[min(names)]!r}: ids must be 0 or more")
    if 0 in names and 0 not in used:  # some tools put a name of the data set there
        found["category 0 left out, it has no box"].append(names[0])
        names = {number: name for number, name in names.items() if number}
    if 0 not in names:
        return _Classes(dict(sorted(names.items())), {number: number for number in names})
    of = {number: label for label, number in enumerate(sorted(names), start=1)}
    found[RENUMBERED].extend(
        f"{names[number]}: {number} is {label}" for number, label in of.items()
    )
    return _Classes({label: names[number] for number, label in of.items()}, of)
