"""A folder of records made of TFRecord files of another tool, such as the Object Detection API's.

The files are taken as they are, by links where possible. Splits are folders, or else the files'
names tell: `test`, `val` or `eval` in one is held out.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from petbox.data import labels, record_check, records, splits
from petbox.data.annotations import Found, remarks
from petbox.data.problems import Problems
from petbox.errors import DataError

NAME = re.compile(r"\.(tf)?records?(-\d+-of-\d+)?$")
SPLITS = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}


@dataclass
class _Counts:
    images: int = 0
    without: int = 0
    objects: Counter[int] = field(default_factory=Counter)


def files(folder: Path) -> list[Path]:
    """The TFRecord files in a folder, also deeper in it; or the one that it is itself."""
    found = (path for path in (folder, *folder.rglob("[!.]*")) if NAME.search(path.name))
    return sorted(path for path in found if path.is_file())


def counted(folders: Sequence[Path]) -> dict[str, int]:
    """How many images each split has, by the lengths that the files state; opens no image."""
    parts = _parts(folders, Found(list))
    return {split: sum(map(_length, paths)) for split, paths in parts.items()}


def _length(path: Path) -> int:
    count, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            file.seek(length + 8, os.SEEK_CUR)  # with a checksum before it and one behind it
            count += 1
    return count


def write(folders: Sequence[Path], names_in: Path, out: Path) -> None:
    """Makes `out` of one folder, of train and test, or of train, validation and test.

    Fails with all boxes that are outside their images, and all classes that have no name.
    """
    if len(folders) not in SPLITS:
        raise DataError(f"--tfrecords: give one folder, two or three, not {len(folders)}")
    found = Found(list)
    parts = _parts(folders, found)
    names, problems = labels.read(names_in), Problems()
    out.mkdir(parents=True)
    counts: dict[str, _Counts] = {}
    for split, paths in parts.items():
        counts[split] = _counted(paths, names, str(names_in), problems)
        for path, shard in zip(paths, records.shard_paths(out, split, len(paths)), strict=True):
            _link(path, shard)
    problems.check()
    if not counts["train"].images:
        raise DataError(f"{folders[0]}: its records hold no image; name others")
    labels.write(out / labels.FILE_NAME, names)
    info = records.RecordsInfo(
        source=" ".join(map(str, folders)),
        seed=0,
        labels=names,
        pictures={split: one.images for split, one in counts.items()},
        shards={split: len(paths) for split, paths in parts.items()},
        animals={s: {n: one.objects[i] for i, n in names.items()} for s, one in counts.items()},
        remarks=remarks(found),
        without_objects={split: one.without for split, one in counts.items()},
    )
    records.write_info(out, info)


def _parts(folders: Sequence[Path], found: Found) -> dict[str, list[Path]]:
    """The files of each split."""
    parts: dict[str, list[Path]] = {}
    for split, folder in zip(SPLITS[len(folders)], folders, strict=True):
        of_folder = files(folder)
        if not of_folder:
            raise DataError(
                f"{folder}: no TFRecord file (*.record, *.tfrecord, *.record-00000-of-00010); "
                "name the folder that has them"
            )
        for path in of_folder:
            named = _split(path.name.lower()) if len(folders) == 1 else split
            parts.setdefault(named, []).append(path)
    if "train" not in parts:
        raise DataError(
            f"{folders[0]}: all its TFRecord files are held out by their names (test, val); "
            "add files to train on, or name a folder for each split"
        )
    return splits.with_test(parts, found, lambda paths: ", ".join(path.name for path in paths))


def _split(name: str) -> str:
    if "test" in name:
        return "test"
    return "validation" if "val" in name else "train"


def label_map(folders: Sequence[Path]) -> Path:
    """The one label map beside the files, or beside the folders of the splits."""
    places = [folder if folder.is_dir() else folder.parent for folder in folders]
    found = [path for place in places for path in sorted(place.rglob("[!.]*.pbtxt"))]
    if not found and len(places) > 1:
        found = [path for place in places for path in place.parent.glob("[!.]*.pbtxt")]
    contents = {path.read_bytes() for path in found}
    if len(contents) != 1:
        trouble = ", ".join(map(str, found)) if found else "there is no *.pbtxt"
        raise DataError(
            f"{folders[0]}: needs one label map ({trouble}); name it with --label-map, or put it "
            "there"
        )
    return found[0]


def _counted(
    paths: Sequence[Path], names: Mapping[int, str], label_map: str, problems: Problems
) -> _Counts:
    counts = _Counts()
    for path in paths:
        with problems.collected():
            for number, example in enumerate(records.read(path), start=1):
                counts.images += 1
                counts.without += not example.classes
                counts.objects.update(example.classes)
                if trouble := record_check.problem(example, names, label_map):
                    problems.add(f"{path}: record {number} ({example.name}): {trouble}")
    return counts


def _link(path: Path, shard: Path) -> None:
    try:
        os.link(path.resolve(), shard)
    except OSError:  # on another disk
        shutil.copyfile(path, shard)
