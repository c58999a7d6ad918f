"""Writes records: decodes the images to check them, several at a time, and writes the shards.

Files are kept byte for byte if TensorFlow decodes them (`petbox.data.image_files`); nothing is
scaled. The same photos and seed give the same bytes, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbox.cli import parallel
from petbox.data import annotations as data_annotations
from petbox.data import labels, records
from petbox.data.annotations import Dataset, Found, Photo
from petbox.data.problems import Problems
from petbox.errors import DataError

if TYPE_CHECKING:  # Pillow is needed only when there is something to write
    from petbox.data.image_files import Stored

IMAGES_PER_SHARD = 256
BROKEN = "left out, cannot be decoded"


def write(
    dataset: Dataset,
    folder: Path,
    *,
    seed: int,
    source: str,
    advance: Callable[[], None],
    workers: int | None = None,
    leave_out_broken: bool = False,
    problems: Problems | None = None,
) -> None:
    """Makes `folder` of `dataset`; calls `advance` after each image.

    Fails after the last image with all that is wrong, also with those that `problems` has already.

    Images are shuffled, because lists are sorted by breed and training shuffles only a window.
    """
    folder.mkdir(parents=True)
    shards = {
        split: -(-len(photos) // IMAGES_PER_SHARD) for split, photos in dataset.photos.items()
    }
    written, problems = _Written(dataset), problems or Problems()
    workers = workers or os.cpu_count() or 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        recorded = _Recorder(dataset.turned, leave_out_broken)
        for split, photos in dataset.photos.items():
            shuffled = random.Random(f"{seed} {split}").sample(photos, len(photos))
            for at, path in enumerate(records.shard_paths(folder, split, shards[split])):
                ours = shuffled[at :: shards[split]]
                found = parallel.in_order(recorded, ours, workers, threading.Event())
                _write_shard(path, found, split, written, problems, advance)
        problems.check()
        for split in dataset.photos:
            written.check(split)
    labels.write(folder / labels.FILE_NAME, dataset.labels)
    records.write_info(folder, written.info(source, seed, shards))


@dataclass(frozen=True)
class _Record:
    """An image's record; None if the image is left out."""

    photo: Photo
    serialized: bytes | None
    change: str | None  # what was done to its file
    problem: DataError | None = None


class _Recorder:
    """Makes an image's record; called by threads, because decoding releases Python's lock."""

    def __init__(self, turned: str, leave_out_broken: bool) -> None:
        from petbox.data import image_files
        from petbox.tf import tf

        self._tf, self._files = tf, image_files
        self._turned, self._leave_out_broken = turned, leave_out_broken

    def __call__(self, photo: Photo) -> _Record:
        try:
            stored = self._files.stored(photo, self._turned)
        except self._files.Undecodable as error:
            if not self._leave_out_broken:
                return _Record(photo, None, None, error)
            return _Record(photo, None, BROKEN)
        except DataError as error:
            return _Record(photo, None, None, error)
        example = _example(self._tf, photo, stored)
        return _Record(photo, bytes(example.SerializeToString(deterministic=True)), stored.change)


class _Written:
    """What has been written, counted."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._images = dict.fromkeys(dataset.photos, 0)
        self._animals: dict[str, Counter[int]] = {split: Counter() for split in dataset.photos}
        self._without = dict.fromkeys(dataset.photos, 0)
        self._changes = Found(list)

    def add(self, split: str, record: _Record) -> None:
        if record.change:
            self._changes[record.change].append(record.photo.path.name)
        if record.serialized is not None:
            self._images[split] += 1
            self._without[split] += not record.photo.animals
            self._animals[split].update(animal.label for animal in record.photo.animals)

    def check(self, split: str) -> None:
        if not self._images[split]:
            raise DataError(f"{split}: none of its images can be decoded; fetch them again")

    def info(self, source: str, seed: int, shards: dict[str, int]) -> records.RecordsInfo:
        names = self._dataset.labels
        animals = {s: {n: count[i] for i, n in names.items()} for s, count in self._animals.items()}
        remarks = self._dataset.remarks | data_annotations.remarks(self._changes)
        return records.RecordsInfo(
            source, seed, names, self._images, shards, animals, remarks, self._without
        )


def _write_shard(
    path: Path,
    found: Iterable[_Record],
    split: str,
    written: _Written,
    problems: Problems,
    advance: Callable[[], None],
) -> None:
    from petbox.tf import tf

    with tf.io.TFRecordWriter(str(path)) as shard:
        for record in found:
            if record.problem:
                problems.add(record.problem)
            if record.serialized is not None:
                shard.write(record.serialized)
            written.add(split, record)
            advance()


def _example(tf: Any, photo: Photo, stored: Stored) -> Any:
    """The keys of the Object Detection API's `create_pet_tf_record.py`; a crowd has one more.

    One value differs: `image/source_id` is a number, which TF Vision's own COCO metrics need.
    """
    ymin, xmin, ymax, xmax = ([animal.box[edge] for animal in photo.animals] for edge in range(4))
    crowds = [int(animal.crowd) for animal in photo.animals]

    def text(*values: str | bytes) -> Any:
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    def integers(*values: int) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def fractions(values: Iterable[float]) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/height": integers(photo.height),
        "image/width": integers(photo.width),
        "image/filename": text(photo.path.name),
        "image/source_id": text(str(photo.number)),
        "image/key/sha256": text(hashlib.sha256(stored.encoded).hexdigest()),
        "image/encoded": text(stored.encoded),
        "image/format": text(stored.format),
        "image/object/bbox/xmin": fractions(xmin),
        "image/object/bbox/xmax": fractions(xmax),
        "image/object/bbox/ymin": fractions(ymin),
        "image/object/bbox/ymax": fractions(ymax),
        "image/object/class/text": text(*(a.name for a in photo.animals)),
        "image/object/class/label": integers(*(a.label for a in photo.animals)),
        "image/object/difficult": integers(*(int(a.difficult) for a in photo.animals)),
        "image/object/truncated": integers(*(int(a.truncated) for a in photo.animals)),
        "image/object/view": text(*(a.pose for a in photo.animals)),
        **({"image/object/is_crowd": integers(*crowds)} if any(crowds) else {}),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))
