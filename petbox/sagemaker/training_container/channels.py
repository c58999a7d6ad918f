"""Recognizes a channel's content by its files: records, photos in a known layout, or weights.

    records.json                     records of train/make_records.py, taken as they are
    images/ and annotations.json     SageMaker's "Object Detection - TensorFlow", or COCO
    images/ and annotations/         Oxford-IIIT Pet
    Annotations/ with XMLs           PASCAL VOC
    *.record, *.tfrecord             records of another tool, with a label map

Opens no image. For any other content, the error lists the files that were found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from petbox.data import records, tfrecords
from petbox.errors import DataError

FILES_SHOWN = 8
EXPECTED = (
    "records.json with its records, or images/ and annotations.json, or images/ and "
    "annotations/list.txt, or Annotations/*.xml and JPEGImages/, or TFRecord files and a .pbtxt"
)


def photos(folder: Path, validation: Path | None, test: Path | None) -> list[str]:
    """The arguments of `petbox records` for `folder`; none if it holds records."""
    held_out = [channel for channel in (validation, test) if channel]
    if (folder / records.INFO).is_file():
        found = []
    elif (folder / "annotations.json").is_file():
        return _coco([folder, *held_out])
    elif (folder / "annotations/list.txt").is_file():
        found = ["--pets", str(folder)]
    elif _has_xml(folder / "Annotations") or _has_xml(folder):
        found = ["--voc", str(folder)]
    elif tfrecords.files(folder):
        return [f"--tfrecords={one}" for one in (folder, *held_out)]
    else:
        raise DataError(
            f"{folder}: nothing to train on; found: {seen(folder)}; expected: {EXPECTED}"
        )
    if held_out:
        raise DataError(
            f"{held_out[0]}: a {held_out[0].name} channel goes with images/ and annotations.json, "
            f"or with TFRecord files, only; {folder} has its own splits, so leave the channel out"
        )
    return found


def _coco(folders: list[Path]) -> list[str]:
    for folder in folders:
        if not (folder / "annotations.json").is_file():
            raise DataError(
                f"{folder}: has no annotations.json; found: {seen(folder)}; put it there"
            )
    return [f"--coco={folder / 'annotations.json'}" for folder in folders]


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix == ".xml" for path in folder.iterdir())


def weights(folder: Path) -> Path:
    """The weights in a channel: its only file, or the folder of a checkpoint."""
    files = list(_files(folder))
    if len(files) == 1:
        return files[0]
    if any(path.suffix == ".index" for path in files):
        return folder
    raise DataError(
        f"{folder}: not weights; found: {seen(folder)}; expected: one file, as MobileNetV2's .h5, "
        "or one checkpoint, ckpt-*.index with its data"
    )


def seen(folder: Path) -> str:
    """The first files under `folder`, for a message."""
    names = [path.relative_to(folder).as_posix() for path in _files(folder)]
    more = f" and {len(names) - FILES_SHOWN} more" if len(names) > FILES_SHOWN else ""
    return (", ".join(names[:FILES_SHOWN]) + more) or "nothing"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
