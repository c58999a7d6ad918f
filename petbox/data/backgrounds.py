"""Images without objects from folders of their own, added to those that are trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from petbox.data.annotations import Dataset, Found, Photo, remarks
from petbox.errors import DataError

ADDED = "trained on without objects, from {}"


def added(dataset: Dataset, folders: Iterable[Path]) -> Dataset:
    """The data set with the images of `folders` in its split `train`."""
    known = {p.path.resolve(): p for photos in dataset.photos.values() for p in photos}
    number = max((photo.number for photo in known.values()), default=0)
    train, found = list(dataset.photos["train"]), Found(list)
    for folder in folders:
        for path in _images(folder):
            if other := known.get(path.resolve()):
                raise DataError(
                    f"{path}: --backgrounds names it, but {other.annotation} does as well; "
                    "take it out of one"
                )
            number += 1
            photo = _background(path, number, f"--backgrounds {folder}")
            known[path.resolve()] = photo
            train.append(photo)
            found[ADDED.format(folder)].append(path.name)
    photos = {**dataset.photos, "train": tuple(train)}
    return replace(dataset, photos=photos, remarks={**dataset.remarks, **remarks(found)})


def _images(folder: Path) -> list[Path]:
    from petbox.images import photos

    return [Path(name) for name in photos.list_images([str(folder)])]


def _background(path: Path, number: int, annotation: str) -> Photo:
    """With the size of the upright image; an invalid one is reported when its record is written."""
    from petbox.data import image_files

    photo = Photo(path, number, "", 0, 0, (), annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        try:
            width, height = image_files.upright_size(photo)
        except DataError:
            return photo
    return replace(photo, width=width, height=height)
