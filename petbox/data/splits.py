"""Which images are trained on and which are held out: by folders, lists of names, or at random.

`petbox.data.validation` cuts the validation split from the training images.

A list is a text file with one name per line, as in VOC's ImageSets/Main. For your own data; the
lists of Oxford-IIIT Pet hold more (`petbox.data.pets`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from petbox.data.annotations import Division, Found, Photo
from petbox.errors import DataError

HELD_OUT = 0.2  # unless the data or an option has another
TRAIN = ("train", "trainval", "training")
HELD = {"validation": ("val", "valid", "validation"), "test": ("test",)}
ONLY = "the only images held out, so they are the test split"
AT_RANDOM = "held out at random, because no list says what is"

T = TypeVar("T")
Splits = dict[str, tuple[Photo, ...]]


def folders(
    root: Path, holds: Callable[[Path], bool], found: Found | None = None
) -> dict[str, Path]:
    """The folders of the splits in `root`, by their usual names; `root` as "" if undivided."""
    under = {path.name.lower(): path for path in sorted(root.glob("*")) if path.is_dir()}
    parts = {
        split: under[name]
        for split, names in {"train": TRAIN, **HELD}.items()
        for name in names[::-1]  # the first that there is
        if name in under and holds(under[name])
    }
    if "train" not in parts or len(parts) == 1:
        return {"": parts.get("train", root)}
    return with_test(parts, found if found is not None else Found(list), lambda part: part.name)


def in_any_case(folder: Path, path: str) -> Path:
    """`folder / path`, or what is there with other capitals in its name."""
    for name in path.split("/"):
        if not (folder / name).exists():
            name = next((p.name for p in folder.glob("*") if p.name.lower() == name.lower()), name)
        folder /= name
    return folder


def with_test(parts: Mapping[str, T], found: Found, name: Callable[[T], str]) -> dict[str, T]:
    """The same, with the only part that is held out as `test`, whatever its own name."""
    if "validation" not in parts or "test" in parts:
        return dict(parts)
    found[ONLY].append(name(parts["validation"]))
    return {"train": parts["train"], "test": parts["validation"]}


def divided(
    photos: Mapping[str, Mapping[str, Photo]],
    known: Collection[str],
    lists: Mapping[str, Path],
    division: Division,
    found: Found,
    what: str,
) -> Splits:
    """The splits of `photos`, which are by split already, or undivided under "".

    In the latter case by the names that lists call them; `known` are the names of those without
    boxes as well, `lists` the source's own. `what` names the source of a split in messages.
    """
    if "" in photos:
        return _chosen(photos[""], known, lists, division, found)
    if division.test_share or division.train_list or division.test_list:
        raise DataError(f"{what} already define what is held out; leave out the other option")
    splits = {split: tuple(by_name.values()) for split, by_name in photos.items()}
    seen: dict[Path, str] = {}
    for split, found_photos in splits.items():
        for photo in found_photos:
            before = seen.setdefault(photo.path.resolve(), split)
            if before != split:
                raise in_both(f"{photo.annotation}: {photo.path}", before)
    return splits


def in_both(what: str, split: str = "train") -> DataError:
    name = "training" if split == "train" else split
    return DataError(f"{what} is also in the {name} split; remove it from one of the two")


def _chosen(
    photos: Mapping[str, Photo],
    known: Collection[str],
    lists: Mapping[str, Path],
    division: Division,
    found: Found,
) -> Splits:
    own = lists if division.test_share is None else {}
    given = {"train": division.train_list, "test": division.test_list}
    if any(given.values()):
        own = {split: path for split, path in own.items() if split != "validation"}
    lists = {**own, **{split: path for split, path in given.items() if path}}
    if "test" in lists and "train" not in lists:
        raise DataError(f"{lists['test']}: names only the test split; give --train-list as well")
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
    splits = at_random(pool, share, division.seed)
    if division.test_share is None:
        found[AT_RANDOM].extend(photo.path.name for photo in splits["test"])
    return splits


def _by_lists(
    photos: Mapping[str, Photo],
    known: Collection[str],
    lists: Mapping[str, Path],
    found: Found,
) -> Splits:
    splits: Splits = {}
    listed: dict[str, str] = {}
    for split, path in lists.items():
        named = names(path)
        for name, where in named.items():
            if name not in known:
                raise DataError(f"{where}: there is no {name}; take it off the list")
            if name in listed:
                raise DataError(f"{where}: {name} is in {listed[name]} already; take it off one")
        listed |= named
        splits[split] = tuple(photos[name] for name in named if name in photos)
        if not any(photo.animals for photo in splits[split]):
            raise DataError(f"{path}: not one of its photos has boxes; name another list")
    found["on neither list"].extend(photos.keys() - listed.keys())
    return splits


def names(path: Path) -> dict[str, str]:
    """The names in a list, and the line of each."""
    found: dict[str, str] = {}
    for number, line in enumerate(text_lines(path, "a list has one name per line"), start=1):
        name, where = line.strip(), f"{path}: line {number}"
        if name in found:
            raise DataError(f"{where}: {name} is in {found[name]} already; remove one")
        if name:
            found[name] = where
    return found


def text_lines(path: Path, expected: str) -> list[str]:
    """The lines of a UTF-8 file; if it is missing, the error names what was `expected`."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {expected}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); replace it") from error


def at_random(photos: Sequence[Photo], share: float, seed: int, held_out: str = "test") -> Splits:
    """Two splits with about the same share of each breed held out; the same for the same seed."""
    shuffled = random.Random(f"{seed} {held_out}").sample(range(len(photos)), len(photos))
    by_breed = sorted(shuffled, key=lambda at: photos[at].breed)
    held = {
        at
        for rank, at in enumerate(by_breed)
        if int((rank + 1) * share + 0.5) > int(rank * share + 0.5)
    }
    splits = {
        "train": tuple(photo for at, photo in enumerate(photos) if at not in held),
        held_out: tuple(photo for at, photo in enumerate(photos) if at in held),
    }
    for split, chosen in splits.items():
        if not chosen:
            raise DataError(
                f"--{held_out}-share {share:g} of {len(photos)} photos leaves none in {split}; "
                "give another share, or more photos"
            )
    return splits
