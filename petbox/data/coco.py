"""Your own photos with a COCO file, or in the form of SageMaker's "Object Detection - TensorFlow".

    COCO       {"images": [{"id", "file_name", "width", "height"}],
                "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height]}],
                "categories": [{"id", "name"}]}
    SageMaker  the same without categories, and "bbox": [xmin, ymin, xmax, ymax];
               annotations.json with images/ beside it

The form of the boxes is the one that goes with the file, or `bbox` says it; a box that does not
fit its picture in that form stops the reading. A picture without a box is left out and told of.
Masks are passed over. Opens no picture.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from petbox.data import annotations as data_annotations
from petbox.data import categories
from petbox.data import splits as data_splits
from petbox.data.annotations import PICTURES, Animal, Box, Dataset, Division, Photo
from petbox.data.categories import Classes
from petbox.errors import DataError

BoxForm = Literal["by-file", "xywh", "corners"]
MEANING = {"xywh": "x, y, width, height", "corners": "xmin, ymin, xmax, ymax"}
TRIMMED = "box trimmed to its picture, by less than a pixel"
_FORM = "give --coco a COCO file, or annotations.json of SageMaker's form"
Found = defaultdict[str, list[str]]


@dataclass(frozen=True)
class _File:
    """One JSON file whose lists have been looked through, and where its pictures are."""

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
    division: Division | None = None,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
) -> Dataset:
    """The data set of one file, or of two: the first to train on, the second held out.

    `images` are the folders of their pictures: by default images/ beside a file, or else the
    folder it lies in.
    """
    division = division or Division()
    if len(paths) > 2 or len(images) not in (0, 1, len(paths)):
        raise DataError("--coco takes one file or two, the second held out, and --images as many")
    folders = [*images, *images] if len(images) < len(paths) else images
    files = [
        _file(path, folder, bbox) for path, folder in zip_longest(paths, folders[: len(paths)])
    ]
    found: Found = defaultdict(list)
    stated = {str(file.path): file.categories for file in files}
    used = {a["category_id"] for file in files for a in file.annotations}
    classes = categories.classes(stated, used, labels, found)
    photos = [_photos(file, classes, found) for file in files]
    for file in files:
        found[f"boxes read as {MEANING[file.form]}"].append(file.path.name)
    _remark_on_the_rest(files, found)
    if len(files) == 1:
        known = {image["file_name"] for image in files[0].images}
        splits = data_splits.divided(photos[0], known, {}, division, found)
    elif division.test_share or division.train_list or division.test_list:
        raise DataError("two files of --coco say what is held out; leave out the other option")
    else:
        splits = {"train": tuple(photos[0].values()), "test": tuple(photos[1].values())}
        _refuse_shared(splits)
    return Dataset(classes.labels, splits, data_annotations.remarks(found), turned)


# Photos


def _photos(file: _File, classes: Classes, found: Found) -> dict[str, Photo]:
    """Those with boxes, by their file names."""
    of_image: defaultdict[int | str, list[dict[str, Any]]] = defaultdict(list)
    for annotation in file.annotations:
        of_image[annotation["image_id"]].append(annotation)
    whole = all(isinstance(image["id"], int) for image in file.images)
    photos = {}
    for place, image in enumerate(file.images, start=1):
        name = image["file_name"]
        if image["id"] not in of_image:
            found["left out, no box"].append(name)
            continue
        animals = tuple(_animal(file, a, image, classes, found) for a in of_image[image["id"]])
        path, number = _picture(file, name), image["id"] if whole else place
        size = image["width"], image["height"]
        photos[name] = Photo(path, number, animals[0].name, *size, animals, str(file.path))
    return photos


def _animal(
    file: _File, annotation: dict[str, Any], image: dict[str, Any], classes: Classes, found: Found
) -> Animal:
    edges = _corners(annotation["bbox"], file.form)
    trimmed = _trimmed(edges, image)
    if trimmed != edges:
        found[TRIMMED].append(image["file_name"])
    label = classes.of[annotation["category_id"]]
    crowd = annotation.get("iscrowd", 0) == 1
    return Animal(_box(file, annotation, image, trimmed), label, classes.labels[label], crowd=crowd)


def _box(
    file: _File,
    annotation: dict[str, Any],
    image: dict[str, Any],
    edges: tuple[float, float, float, float],
) -> Box:
    where = f"{file.path}: annotation {annotation['id']} of {image['file_name']}"
    try:
        return data_annotations.box(where, edges, image["width"], image["height"])
    except DataError as error:
        other = "corners" if file.form == "xywh" else "xywh"
        advice = f" (boxes are read as {MEANING[file.form]}"
        if _all_fit(file, other):
            advice += f"; all fit as {MEANING[other]}: say --bbox {other} if that is meant"
        raise DataError(f"{error}{advice})") from error


def _corners(bbox: Sequence[float], form: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = bbox
    return (left, top, left + right, top + bottom) if form == "xywh" else (left, top, right, bottom)


def _trimmed(
    edges: tuple[float, float, float, float], image: Mapping[str, Any]
) -> tuple[float, float, float, float]:
    """Within the picture, where rounding led less than a pixel out of it."""
    xmin, ymin, xmax, ymax = edges
    width, height = image["width"], image["height"]
    if min(xmin, ymin) <= -1 or xmax >= width + 1 or ymax >= height + 1:
        return edges
    return max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)


def _all_fit(file: _File, form: str) -> bool:
    sizes = {image["id"]: image for image in file.images}
    for annotation in file.annotations:
        image = sizes[annotation["image_id"]]
        xmin, ymin, xmax, ymax = _trimmed(_corners(annotation["bbox"], form), image)
        if not (0 <= xmin < xmax <= image["width"] and 0 <= ymin < ymax <= image["height"]):
            return False
    return True


def _picture(file: _File, name: str) -> Path:
    beside = file.path.parent / name  # some names are seen from the JSON file
    for path in (file.folder / name, beside):
        if path.is_file():
            return path
    raise DataError(
        f"{file.folder / name}: no such file, but {file.path} names it; put it there, or say "
        "with --images where the pictures are"
    )


def _remark_on_the_rest(files: Sequence[_File], found: Found) -> None:
    named = {file.folder / image["file_name"] for file in files for image in file.images}
    lying = {path for file in files for path in file.folder.glob("*") if _is_picture(path)}
    found["picture that no file names, passed over"].extend(path.name for path in lying - named)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def _refuse_shared(splits: Mapping[str, Sequence[Photo]]) -> None:
    trained = {photo.path.resolve() for photo in splits["train"]}
    for photo in splits["test"]:
        if photo.path.resolve() in trained:
            raise DataError(
                f"{photo.annotation}: {photo.path} is trained on as well, so it measures nothing; "
                "take it out of one file"
            )


# The file


def _file(path: Path, folder: Path | None, bbox: BoxForm) -> _File:
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_FORM}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); replace it") from error
    images, annotations = _list(path, stated, "images"), _list(path, stated, "annotations")
    names = _categories(path, stated)
    _check_images(path, images)
    _check_annotations(path, annotations, {image["id"] for image in images})
    if bbox == "by-file":
        bbox = "corners" if names is None else "xywh"
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give --images the folder of the pictures")
    beside = path.parent / "images"
    folder = folder or (beside if beside.is_dir() else path.parent)
    return _File(path, images, annotations, names, folder, bbox)


def _list(path: Path, stated: Any, key: str) -> list[dict[str, Any]]:
    found = stated.get(key) if isinstance(stated, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(x, dict) for x in found):
        raise DataError(f"{path}: has no list of {key!r} with anything in it; {_FORM}")
    return found


def _categories(path: Path, stated: dict[str, Any]) -> dict[int, str] | None:
    if "categories" not in stated:
        return None
    names: dict[int, str] = {}
    for place, category in enumerate(_list(path, stated, "categories")):
        number, name = category.get("id"), category.get("name")
        if type(number) is not int or not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {place} has no id and name; it needs both")
        if number in names or name in names.values():
            raise DataError(f"{path}: category {number}, {name!r}, is there twice; remove one")
        names[number] = name
    return names


def _check_images(path: Path, images: Sequence[dict[str, Any]]) -> None:
    ids: set[int | str] = set()
    names: set[str] = set()
    for place, image in enumerate(images):
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(number, (int, str)) or not isinstance(name, str) or not name:
            raise DataError(f"{path}: image {place} has no id and file_name; it needs both")
        for key in ("width", "height"):
            if type(image.get(key)) is not int or image[key] < 1:
                raise DataError(
                    f"{path}: {name} has no {key} in whole pixels ({image.get(key)!r}); state it"
                )
        if number in ids or name in names:
            raise DataError(f"{path}: image {number}, {name}, is there twice; remove one")
        ids.add(number)
        names.add(name)


def _check_annotations(
    path: Path, annotations: Sequence[dict[str, Any]], images: set[int | str]
) -> None:
    for place, annotation in enumerate(annotations):
        where = f"{path}: annotation {annotation.setdefault('id', place)}"
        image = annotation.get("image_id")
        if not isinstance(image, (int, str)) or image not in images:
            raise DataError(f"{where}: there is no image {image!r}; correct its image_id")
        if type(annotation.get("category_id")) is not int:
            raise DataError(f"{where}: has no category_id that is a whole number; state it")
        bbox = annotation.get("bbox")
        if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
            raise DataError(f"{where}: its bbox is {bbox!r}; it must be four numbers")
    if all(abs(number) <= 1 for annotation in annotations for number in annotation["bbox"]):
        raise DataError(f"{path}: all its boxes lie between 0 and 1; they must be in pixels")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
