"""Records: photos and boxes as TFRecords with the Object Detection API's keys, in one folder.

    train.record-00000-of-00003   …   a few hundred pictures a shard
    test.record-00000-of-00001
    label_map.pbtxt               class ids and breeds
    records.json                  what was counted while writing, and from what

Later stages read this folder and nothing of the photos. The same photos and seed give the same
bytes. Pictures go in as the files they are; nothing is scaled or encoded anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbox import labels
from petbox.errors import DataError

if TYPE_CHECKING:  # reading needs no Pillow
    from petbox.dataset import Pets, Photo

INFO = "records.json"
PICTURES_A_SHARD = 256


@dataclass(frozen=True)
class RecordsInfo:
    """What a folder of records holds; splits are `train` and `test`."""

    source: str
    seed: int
    labels: dict[int, str]
    pictures: dict[str, int]
    shards: dict[str, int]
    animals: dict[str, dict[str, int]]  # by split and breed
    without_boxes: dict[str, tuple[str, ...]]  # named in the lists, but not to be found here


@dataclass(frozen=True)
class Example:
    """A picture read back from its record."""

    name: str
    source_id: int
    encoded: bytes
    width: int
    height: int
    classes: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...]  # ymin, xmin, ymax, xmax


def write(pets: Pets, folder: Path, *, seed: int, source: str, advance: Callable[[], None]) -> None:
    """Makes `folder` of `pets`; calls `advance` after each picture.

    Pictures are shuffled, for lists are sorted by breed and training draws from a window.
    """
    from petbox.quiet_tensorflow import tf

    folder.mkdir(parents=True)
    shards: dict[str, int] = {}
    for split, photos in pets.photos.items():
        shuffled = random.Random(f"{seed} {split}").sample(photos, len(photos))
        paths = list(_shard_paths(folder, split, -(-len(photos) // PICTURES_A_SHARD)))
        shards[split] = len(paths)
        for at, path in enumerate(paths):
            _write_shard(tf, path, shuffled[at :: len(paths)], advance)
    labels.write(folder / labels.FILE_NAME, pets.labels)
    _write_info(folder, _counted(pets, shards, seed, source))


def read_info(folder: Path) -> RecordsInfo:
    """What `folder` holds, once all its files have been seen to be there; without TensorFlow."""
    path = folder / INFO
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        stated["without_boxes"] = {k: tuple(v) for k, v in stated["without_boxes"].items()}
        info = RecordsInfo(labels=labels.read(folder / labels.FILE_NAME), **stated)
        wanted = [p for split, n in info.shards.items() for p in _shard_paths(folder, split, n)]
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: no records (there is no {INFO}); make them with train/make_records.py"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not as train/make_records.py writes it; run it again") from error
    for shard in wanted:
        if not shard.exists():
            raise DataError(f"{shard}: no such file, but {INFO} counts it; make the records again")
    return info


def examples(folder: Path, split: str) -> Iterator[Example]:
    """The pictures of a split, in the order they were written."""
    from petbox.quiet_tensorflow import tf

    for path in _shard_paths(folder, split, read_info(folder).shards[split]):
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                yield _read_back(tf.train.Example.FromString(record))
        except tf.errors.DataLossError as error:
            raise DataError(f"{path}: the file is damaged; make the records again") from error


def _shard_paths(folder: Path, split: str, count: int) -> Iterator[Path]:
    return (folder / f"{split}.record-{at:05}-of-{count:05}" for at in range(count))


def _write_shard(tf: Any, path: Path, photos: Sequence[Photo], advance: Callable[[], None]) -> None:
    def checked(photo: Photo) -> bytes:
        return bytes(_example(tf, photo).SerializeToString(deterministic=True))

    with tf.io.TFRecordWriter(str(path)) as shard, ThreadPoolExecutor(os.cpu_count()) as pool:
        for record in pool.map(checked, photos):  # decoding leaves Python's lock alone
            shard.write(record)
            advance()


def _example(tf: Any, photo: Photo) -> Any:
    """The keys of the Object Detection API's `create_pet_tf_record.py`.

    One value differs: `image/source_id` is a number, which TF Vision's COCO metrics need.
    """
    from petbox.dataset import jpeg

    encoded = jpeg(photo)
    ymin, xmin, ymax, xmax = zip(*(animal.box for animal in photo.animals), strict=True)
    name = photo.path.name.encode()

    def words(values: Iterable[bytes]) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def wholes(values: Iterable[int]) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def fractions(values: Iterable[float]) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/height": wholes([photo.height]),
        "image/width": wholes([photo.width]),
        "image/filename": words([name]),
        "image/source_id": words([str(photo.number).encode()]),
        "image/key/sha256": words([hashlib.sha256(encoded).hexdigest().encode()]),
        "image/encoded": words([encoded]),
        "image/format": words([b"jpeg"]),
        "image/object/bbox/xmin": fractions(xmin),
        "image/object/bbox/xmax": fractions(xmax),
        "image/object/bbox/ymin": fractions(ymin),
        "image/object/bbox/ymax": fractions(ymax),
        "image/object/class/text": words([photo.breed.encode()] * len(photo.animals)),
        "image/object/class/label": wholes([photo.label] * len(photo.animals)),
        "image/object/difficult": wholes(int(a.difficult) for a in photo.animals),
        "image/object/truncated": wholes(int(a.truncated) for a in photo.animals),
        "image/object/view": words(a.pose.encode() for a in photo.animals),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _read_back(example: Any) -> Example:
    feature: Mapping[str, Any] = example.features.feature
    edges = (
        feature[f"image/object/bbox/{edge}"].float_list.value
        for edge in ("ymin", "xmin", "ymax", "xmax")
    )
    return Example(
        name=feature["image/filename"].bytes_list.value[0].decode(),
        source_id=int(feature["image/source_id"].bytes_list.value[0]),
        encoded=feature["image/encoded"].bytes_list.value[0],
        width=feature["image/width"].int64_list.value[0],
        height=feature["image/height"].int64_list.value[0],
        classes=tuple(feature["image/object/class/label"].int64_list.value),
        boxes=tuple(zip(*edges, strict=True)),
    )


def _counted(pets: Pets, shards: dict[str, int], seed: int, source: str) -> RecordsInfo:
    animals = {
        split: Counter(photo.breed for photo in photos for _ in photo.animals)
        for split, photos in pets.photos.items()
    }
    return RecordsInfo(
        source=source,
        seed=seed,
        labels=pets.labels,
        pictures={split: len(photos) for split, photos in pets.photos.items()},
        shards=shards,
        animals={
            split: {name: count[name] for name in pets.labels.values()}
            for split, count in animals.items()
        },
        without_boxes=pets.without_boxes,
    )


def _write_info(folder: Path, info: RecordsInfo) -> None:
    stated = asdict(info)
    del stated["labels"]  # the label map says them
    (folder / INFO).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
