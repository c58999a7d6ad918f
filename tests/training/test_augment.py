"""Random changes to training images: the boxes stay around the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("petbox.training.augment", exc_type=Exception)  # the extra `train`

from petbox.training import augment, inputs
from petbox.training import config as training_config
from petbox.training.tfvision import preprocess_ops, tf

RED = np.array([250, 5, 5])
SIZE = (90, 120)
BOXES = np.array([[20, 30, 50, 90], [60, 5, 85, 20]]) / np.array([*SIZE, *SIZE])


def image() -> tuple[Any, Any]:
    """A gray image with two red rectangles, and their boxes."""
    pixels = np.full([*SIZE, 3], 128, np.uint8)
    for ymin, xmin, ymax, xmax in np.round(BOXES * [*SIZE, *SIZE]).astype(int):
        pixels[ymin:ymax, xmin:xmax] = RED
    return tf.constant(pixels), tf.constant(BOXES, tf.float32)


def red(pixels: Any) -> Any:
    return np.abs(np.asarray(pixels).astype(float) - RED).max(axis=-1) < 60


def check(pixels: Any, boxes: Any, off: float = 0.6) -> int:
    """Checks that each box that is left is full of red up to its edges; returns how many are."""
    found = red(pixels)
    scale = np.array([*found.shape, *found.shape])
    left = [box for box in np.asarray(boxes) * scale if (box[2:] - box[:2]).min() > 3]
    for box in left:
        ymin, xmin, ymax, xmax = np.round(box).astype(int)
        margin = int(np.ceil(off))
        inner = found[ymin + margin : ymax - margin, xmin + margin : xmax - margin]
        assert inner.all(), "the box is not around something else"
        rows, columns = np.nonzero(found[max(ymin - 3, 0) : ymax + 3, max(xmin - 3, 0) : xmax + 3])
        seen = [np.ptp(rows) + 1, np.ptp(columns) + 1]
        np.testing.assert_allclose(seen, box[2:] - box[:2], atol=2 * off)
    return len(left)


def test_a_turned_image_has_turned_boxes() -> None:
    shapes = set()
    for _ in range(8):
        pixels, boxes = augment.turned(*image())
        shapes.add(tuple(pixels.shape))
        assert check(pixels, boxes) == 2
    assert shapes == {(SIZE[1], SIZE[0], 3)}


def test_a_crop_keeps_most_of_an_object() -> None:
    kept = []
    for _ in range(40):
        pixels, boxes = augment.cropped(*image())
        kept.append(check(pixels, boxes))
        assert boxes.shape == (2, 4), "an object that is gone keeps its place"
        assert red(pixels).any()
    assert {1, 2} <= set(kept) <= {0, 1, 2}
    assert kept.count(0) < 4, "only by the crop's rounding"


def test_a_tilted_image_has_the_boxes_of_its_ellipses() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    middle, halves = np.array([30.0, 80.0]), np.array([14.0, 30.0])
    ellipse = ((y - middle[0]) / halves[0]) ** 2 + ((x - middle[1]) / halves[1]) ** 2 < 1
    before = np.where(ellipse[..., None], RED, 20).astype(np.uint8)
    scale = np.array([*SIZE, *SIZE])
    gone = [1000.0, 30.0, 1100.0, 60.0]  # far outside
    boxes = np.array([[*(middle - halves), *(middle + halves)], gone]) / scale
    tilts, corners = [], []
    tf.random.set_seed(1)
    for _ in range(12):
        pixels, found = augment.tilted(tf.constant(before), tf.constant(boxes, tf.float32))
        assert pixels.shape == before.shape and pixels.dtype == tf.uint8
        rows, columns = np.nonzero(red(pixels))
        bounds = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(found[0] * scale, bounds, atol=1.6)
        assert found[1].numpy().tolist() == [0, 0, 0, 0], "keeps its place"
        corners.append(pixels.numpy()[[0, 0, -1, -1], [0, -1, 0, -1]])
        tilts.append(np.polyfit(columns, rows, 1)[0])
    assert np.max(corners) == augment.PADDING, "gray, and no part of an object"
    assert min(tilts) < -0.05 < 0.05 < max(tilts), "to both sides"
    assert np.abs(np.degrees(np.arctan(tilts))).max() < 11


def test_an_object_that_a_tilt_moves_out_is_dropped() -> None:
    tf.random.set_seed(1)
    edge = tf.constant([[0.0, 0.0, 0.02, 0.02]])
    left = [augment.tilted(image()[0], edge)[1].numpy() for _ in range(12)]
    kept = [box for (box,) in left if box.any()]
    assert len(kept) < 12, "turned out at the corner"
    assert all(box.min() >= 0 for box in kept)


def test_a_mosaic_has_the_boxes_of_four_images() -> None:
    classes = [tf.constant([at, at]) for at in range(4)]
    for _ in range(10):
        four = [(*image(), of_image) for of_image in classes]
        pixels, boxes, of_boxes = augment.mosaic(four, [128, 160])
        assert pixels.shape == (128, 160, 3) and pixels.dtype == tf.uint8
        assert check(pixels, boxes, off=1.5) >= 6, "the smallest may be too small to be checked"
        assert of_boxes.numpy().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_other_colors_leave_the_boxes() -> None:
    before, boxes = image()
    after, same = augment.changed("light", before, boxes)
    assert after.dtype == tf.uint8 and not np.array_equal(after, before)
    np.testing.assert_array_equal(same, boxes)
    for level in ("none", None):
        after, same = augment.changed(level, before, boxes)
        np.testing.assert_array_equal(after, before)


def test_randaugment_changes_colors_and_moves_nothing() -> None:
    before, boxes = image()
    assert set(augment.RANDOM.available_ops) == {
        "AutoContrast", "Equalize", "Color", "Contrast", "Brightness", "Sharpness"
    }  # fmt: skip
    changed = 0
    for _ in range(20):
        after = augment.RANDOM.distort(before)
        changed += not np.array_equal(after, before)
        check(after, boxes, off=2)
    assert changed


@pytest.fixture
def records(tmp_path: Path) -> str:
    """Records of that image, eight times."""
    pixels, boxes = image()
    features = {
        f"image/object/bbox/{edge}": tf.train.Feature(
            float_list=tf.train.FloatList(value=boxes[:, at].numpy())
        )
        for at, edge in enumerate(("ymin", "xmin", "ymax", "xmax"))
    }
    encoded = tf.train.BytesList(value=[tf.io.encode_png(pixels).numpy()])
    features["image/encoded"] = tf.train.Feature(bytes_list=encoded)
    features["image/object/class/label"] = tf.train.Feature(
        int64_list=tf.train.Int64List(value=[1, 2])
    )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    with tf.io.TFRecordWriter(str(tmp_path / "train.record-00000-of-00001")) as shard:
        for _ in range(8):
            shard.write(example.SerializeToString())
    return str(tmp_path / "train.record-*")


@pytest.mark.parametrize(("level", "most"), [("none", 2), ("light", 2), ("heavy", 8)])
def test_batches_are_of_the_level(level: str, most: int, records: str) -> None:
    config = training_config.experiment("toy")
    training_config.on_records(config, [records], [], [2])
    augment.configure(config, level)
    data = config.task.train_data
    assert data.cache == (level == "none"), "a cache would repeat the same changes"
    data.global_batch_size = 1
    counts, seen = [], set()
    for batch, labels in inputs.training_batches(config.task.model, data, None, level).take(24):
        counts.append(int(np.sum(labels["gt_classes"] > 0)))
        pixels = batch[0] * preprocess_ops.STDDEV_RGB + preprocess_ops.MEAN_RGB
        seen.add(np.round(pixels).tobytes())
        boxes = labels["gt_boxes"][0].numpy()[labels["gt_classes"][0] > 0]
        assert boxes.min(initial=0) >= 0 and boxes.max(initial=0) <= 128
    assert (most == 8) == (max(counts) > 2), "mosaics"
    assert (len(seen) == 1) == (level == "none")
