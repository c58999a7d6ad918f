"""Images without objects from folders of their own, added to those that are trained on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from petbox.data.annotations import Dataset, Found, Photo, remarks
from petbox.errors import DataError

NAMED = "--backgrounds"
ADDED = "trained on without objects, from {}"
BESIDE = "background kept in the split of the photo that it was cut from"
CUT = re.compile(r"(.+)_\d+_\d+")  # of a file's name, as petbox.data.cut_backgrounds gives it


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
            photo = _background(path, number, f"{NAMED} {folder}")
            known[path.resolve()] = photo
            train.append(photo)
            found[ADDED.format(folder)].append(path.name)
    photos = {**dataset.photos, "train": tuple(train)}
    return replace(dataset, photos=photos, remarks={**dataset.remarks, **remarks(found)})


def beside_their_photos(dataset: Dataset) -> Dataset:
    """The data set with each background in the split of the photo that it was cut from.

    The place where a test photo was taken would be known from the training otherwise.
    """
    splits = {photo.name: split for split, of in dataset.photos.items() for photo in of}
    photos: dict[str, list[Photo]] = {split: [] for split in dataset.photos}
    found = Found(list)
    for split, of_split in dataset.photos.items():
        for photo in of_split:
            ours = photo.annotation.startswith(NAMED)
            cut = CUT.fullmatch(photo.name) if ours else None
            right = splits.get(cut[1], split) if cut else split
            photos[right].append(photo)
            if right != split:
                found[BESIDE].append(photo.path.name)
    return replace(
        dataset,
        photos={split: tuple(of) for split, of in photos.items()},
        remarks={**dataset.remarks, **remarks(found)},
    )


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
