"""The validation split, on which the checkpoint is chosen: cut from the training images.

Never from the test images: the published metrics would flatter a checkpoint chosen on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from petbox.data import splits
from petbox.data.annotations import Dataset, Division, Found, Photo, remarks
from petbox.errors import DataError

SHARE = 0.1  # of the training images, unless an option has another
AT_RANDOM = "cut from the training images at random, to choose the checkpoint on"


def cut(dataset: Dataset, division: Division) -> Dataset:
    """The data set with a validation split, unless it has one already."""
    photos, found = dict(dataset.photos), Found(list)
    if "validation" in photos:
        if division.validation_list or division.validation_share is not None:
            raise DataError(
                "the data defines its validation split; leave out --validation-list and "
                "--validation-share"
            )
        return dataset
    if division.validation_list:
        chosen = _listed(photos, division)
    else:
        chosen = _at_random(photos["train"], division)
        found[AT_RANDOM].extend(photo.path.name for photo in chosen)
    if not chosen:
        return dataset
    validation = {photo.path for photo in chosen}
    train = tuple(photo for photo in photos["train"] if photo.path not in validation)
    if not any(photo.animals for photo in train):
        raise DataError("no image with an object is left to train on; give fewer for validation")
    parts = {"train": train, "validation": chosen, "test": photos["test"]}
    return replace(dataset, photos=parts, remarks={**dataset.remarks, **remarks(found)})


def _listed(photos: splits.Splits, division: Division) -> tuple[Photo, ...]:
    path = division.validation_list
    assert path
    by_name = {
        split: {name: photo for photo in photos[split] for name in (photo.name, photo.path.name)}
        for split in ("train", "test")
    }
    chosen = []
    for name, where in splits.names(path).items():
        if name in by_name["test"]:
            raise DataError(f"{where}: {name} is in the test split; take it off the list")
        if name not in by_name["train"]:
            raise DataError(f"{where}: {name} is not among the training photos; correct the list")
        chosen.append(by_name["train"][name])
    if not chosen:
        raise DataError(f"{path}: names no photo; leave out --validation-list")
    return tuple(chosen)


def _at_random(photos: Sequence[Photo], division: Division) -> tuple[Photo, ...]:
    """About the same share of each breed; one image at least, where there are two."""
    share = SHARE if division.validation_share is None else division.validation_share
    if not share or len(photos) < 2:
        return ()
    share = max(share, 1 / len(photos))
    return splits.at_random(photos, share, division.seed, "validation")["validation"]
