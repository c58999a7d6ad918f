"""Which photos are trained on and which are held out: by folders, lists of names, or at random.

A list is a text file with one name per line, as in VOC's ImageSets/Main. For your own data; the
lists of Oxford-IIIT Pet hold more (`petbox.data.pets`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from petbox.data import annotations as data_annotations
from petbox.data.annotations import Division, Photo
from petbox.errors import DataError

HELD_OUT = 0.2  # unless the data or an option says otherwise
TRAIN = ("train", "trainval", "training")
TEST = ("test", "val", "valid", "validation")  # the first that there is
UNUSED = "not used, for {} is held out"
BY_CHANCE = "held out at random, because no list says what is"


def folders(
    root: Path, holds: Callable[[Path], bool], found: defaultdict[str, list[str]] | None = None
) -> dict[str, Path]:
    """The folders of both splits in `root`, by their usual names; `root` as "" if undivided.

    A third one is noted in `found`.
    """
    under = {path.name.lower(): path for path in sorted(root.glob("*")) if path.is_dir()}
    train, test = (
        next((under[name] for name in names if name in under and holds(under[name])), None)
        for names in (TRAIN, TEST)
    )
    if train and test:
        if found is not None:
            others = [under[n] for n in TEST if under.get(n, test) != test and holds(under[n])]
            found[UNUSED.format(test.name)].extend(path.name for path in others)
        return {"train": train, "test": test}
    return {"": train or root}


def by_folders(
    parts: Mapping[str, Mapping[str, Photo]], division: Division, what: str
) -> dict[str, tuple[Photo, ...]]:
    """Both splits as the data has them; `what` says so, in messages."""
    if division.test_share or division.train_list or division.test_list:
        raise DataError(f"{what} say what is held out; leave out the other option")
    splits = {split: tuple(photos.values()) for split, photos in parts.items()}
    trained = {photo.path.resolve() for photo in splits["train"]}
    for photo in splits["test"]:
        if photo.path.resolve() in trained:
            raise DataError(
                f"{photo.annotation}: {photo.path} is trained on as well, so it measures nothing; "
                "remove it from one of the two"
            )
    return splits


def divided(
    photos: Mapping[str, Photo],
    known: Collection[str],
    lists: Mapping[str, Path],
    division: Division,
    found: defaultdict[str, list[str]],
) -> dict[str, tuple[Photo, ...]]:
    """The splits of `photos`, by the names that lists call them; what is not used goes to `found`.

    `known` are the names of those without boxes as well; `lists` are the source's own, by split.
    """
    own = lists if division.test_share is None else {}
    given = {"train": division.train_list, "test": division.test_list}
    lists = {**own, **{split: path for split, path in given.items() if path}}
    if "test" in lists and "train" not in lists:
        raise DataError(f"{lists['test']}: says what is held out; say --train-list as well")
    if "test" in lists:
        return _by_lists(photos, known, lists, found)
    share = division.test_share
    if share is None:
        share = HELD_OUT
        if "train" in lists:
            raise DataError(f"{lists['train']}: give --test-list or --test-share as well")
    pool = list(photos.values())
    if "train" in lists:
        pool = list(_by_lists(photos, known, {"train": lists["train"]}, found)["train"])
    splits = data_annotations.by_chance(pool, share, division.seed)
    if division.test_share is None:
        found[BY_CHANCE].extend(photo.path.name for photo in splits["test"])
    return splits


def _by_lists(
    photos: Mapping[str, Photo],
    known: Collection[str],
    lists: Mapping[str, Path],
    found: defaultdict[str, list[str]],
) -> dict[str, tuple[Photo, ...]]:
    splits: dict[str, tuple[Photo, ...]] = {}
    taken: dict[str, str] = {}
    for split, path in lists.items():
        names = _names(path)
        for name, where in names.items():
            if name not in known:
                raise DataError(f"{where}: there is no {name}; take it off the list")
            if name in taken:
                raise DataError(f"{where}: {name} is in {taken[name]} already; take it off one")
        taken |= names
        splits[split] = tuple(photos[name] for name in names if name in photos)
        if not splits[split]:
            raise DataError(f"{path}: not one of its photos has boxes; name another list")
    found["on neither list"].extend(photos.keys() - taken.keys())
    return splits


def _names(path: Path) -> dict[str, str]:
    """The names in a list, and where each stands."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; a list has a name a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); replace it") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, where = line.strip(), f"{path}: line {number}"
        if name in names:
            raise DataError(f"{where}: {name} is in {names[name]} already; remove one")
        if name:
            names[name] = where
    return names
