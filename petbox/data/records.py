"""Records: photos and boxes as TFRecords with the Object Detection API's keys, in one folder.

    train.record-00000-of-00003   …   a few hundred images a shard
    validation.record-00000-of-00001    on which the checkpoint is chosen
    test.record-00000-of-00001
    label_map.pbtxt               class ids and names
    records.json                  counts, the source, and what was changed on purpose

Later stages read only this folder, not the photos. `petbox.data.record_writer` writes it. Records
of the Object Detection API's tools can be read as well.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.errors import DataError, needs

INFO = "records.json"


@dataclass(frozen=True)
class RecordsInfo:
    """The content of a folder of records; old ones have no split `validation`."""

    source: str
    seed: int
    labels: dict[int, str]
    pictures: dict[str, int]
    shards: dict[str, int]
    animals: dict[str, dict[str, int]]  # by split and class
    remarks: dict[str, tuple[str, ...]]  # what was done on purpose, and to which files
    without_objects: dict[str, int] = field(default_factory=dict)  # images, by split


@dataclass(frozen=True)
class Example:
    """An image read back from its record."""

    name: str
    source_id: str  # whatever its writer called it; neither always a number nor always unique
    encoded: bytes
    width: int
    height: int
    classes: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...]  # ymin, xmin, ymax, xmax
    crowds: tuple[bool, ...]  # of each box, whether it is around many
    difficult: tuple[bool, ...]  # of each box, whether it is hard to recognize


def read_info(folder: Path) -> RecordsInfo:
    """The content of `folder`, after a check that its files exist; needs no TensorFlow."""
    path = folder / INFO
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        stated["remarks"] = {k: tuple(v) for k, v in stated["remarks"].items()}
        info = RecordsInfo(labels=labels.read(folder / labels.FILE_NAME), **stated)
        expected = [p for split, n in info.shards.items() for p in shard_paths(folder, split, n)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{folder}: no records (there is no {INFO}); make them with `petbox records`"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not as `petbox records` writes it; run it again") from error
    for shard in expected:
        if not shard.exists():
            raise DataError(f"{shard}: no such file, but {INFO} counts it; make the records again")
    return info


def shards(records: Path, split: str) -> str:
    """The files of a split as a pattern for the Model Garden."""
    if found := set(",*?[]") & set(str(records)):
        raise DataError(
            f"{records}: a path with {found.pop()} in it is read as several; rename the folder"
        )
    return str(records / f"{split}.record-*")


def files(source: Path, split: str) -> list[Path]:
    """The files of a split of a folder of records, or those that a pattern matches."""
    if is_pattern(source):
        found = sorted(source.parent.glob(source.name))
        if not found:
            raise DataError(
                f"{source}: no such records; name a folder made by `petbox records`, or a pattern "
                "of TFRecord files"
            )
        return found
    return list(shard_paths(source, split, read_info(source).shards.get(split, 0)))


def is_pattern(source: Path) -> bool:
    """Whether `source` names TFRecord files, such as the Object Detection API's, not a folder."""
    return source.is_file() or (not source.is_dir() and bool(set("*?[") & set(str(source))))


def examples(source: Path, split: str) -> Iterator[Example]:
    """The images of a split, in the order they were written."""
    for path in files(source, split):
        yield from read(path)


def read(path: Path) -> Iterator[Example]:
    """The images of one TFRecord file, ours or the Object Detection API's."""
    from petbox.tf import tf

    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield _read_back(path, tf.train.Example.FromString(record))
    except tf.errors.DataLossError as error:
        raise DataError(f"{path}: the file is damaged; make the records again") from error
    except tf.errors.NotFoundError as error:
        raise DataError(f"{path}: no such file; name a TFRecord file") from error


def shard_paths(folder: Path, split: str, count: int) -> Iterator[Path]:
    return (folder / f"{split}.record-{at:05}-of-{count:05}" for at in range(count))


def write_info(folder: Path, info: RecordsInfo) -> None:
    stated = asdict(info)
    del stated["labels"]  # the label map has them
    text = json.dumps(stated, indent=2, ensure_ascii=False)
    (folder / INFO).write_text(text + "\n", encoding="utf-8")


def _read_back(path: Path, example: Any) -> Example:
    feature: Mapping[str, Any] = example.features.feature
    edges = (
        feature[f"image/object/bbox/{edge}"].float_list.value
        for edge in ("ymin", "xmin", "ymax", "xmax")
    )
    try:
        encoded = feature["image/encoded"].bytes_list.value[0]
        classes = feature["image/object/class/label"].int64_list.value
        # Records without a crowd do not have that key, and other tools may leave out both.
        crowds, difficult = (
            feature[f"image/object/{key}"].int64_list.value or [0] * len(classes)
            for key in ("is_crowd", "difficult")
        )
        source_id = _text(feature, "image/source_id")
        width, height = (
            _first(feature[f"image/{side}"].int64_list.value, 0) for side in ("width", "height")
        )
        if not (width and height):
            width, height = _size(encoded)
        return Example(
            name=_text(feature, "image/filename") or source_id or "(unnamed)",
            source_id=source_id,
            encoded=encoded,
            width=width,
            height=height,
            classes=tuple(classes),
            boxes=tuple(zip(*edges, strict=True)),
            crowds=tuple(bool(flag) for _, flag in zip(classes, crowds, strict=True)),
            difficult=tuple(bool(flag) for _, flag in zip(classes, difficult, strict=True)),
        )
    except (IndexError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: a record in it has not the Object Detection API's keys; write it with "
            "`petbox records`"
        ) from error


def _text(feature: Mapping[str, Any], key: str) -> str:
    return str(_first(feature[key].bytes_list.value, b"").decode(errors="replace"))


def _size(encoded: bytes) -> tuple[int, int]:
    """For records that do not state it; raises an OSError if this is no image."""
    image = needs("PIL.Image", "client").open(io.BytesIO(encoded))
    return int(image.width), int(image.height)


def _first(values: Any, otherwise: Any) -> Any:
    return values[0] if values else otherwise
