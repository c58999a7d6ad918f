"""The training batches: the same images, boxes and targets as the Model Garden's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("petbox.training.inputs", exc_type=Exception)

from petbox.training import inputs as training_inputs
from petbox.training.config import experiment, on_records  # with the extra `train`, as the above
from petbox.training.inputs import evaluation_batches, evaluation_image, training_batches
from petbox.training.tfvision import MaskRCNNTask, RetinaNetTask, preprocess_ops, tf

RED = (250, 5, 5)
MOBILENET = "faster_rcnn_mobilenet_v2_pets"


@pytest.fixture(params=["kept in memory", "of unknown size"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return configured(MOBILENET, tmp_path, request.param == "kept in memory")


def configured(preset: str, tmp_path: Path, known: bool) -> Any:
    """Twelve gray images with a red cat in each, except for one that has only a crowd."""
    with tf.io.TFRecordWriter(str(tmp_path / "train.record-00000-of-00001")) as shard:
        for number in range(12):
            shard.write(record(number, known))
    config = experiment(preset)
    on_records(config, [str(tmp_path / "train.record-*")], [], [1])
    config.task.train_data.global_batch_size = 1
    return config


def record(number: int, with_size: bool) -> bytes:
    random = np.random.default_rng(number)
    height, width = (int(side) for side in random.integers(100, 400, 2))
    ymin, xmin = (random.random(2) * 0.5).tolist()
    ymax, xmax = ymin + 0.3, xmin + 0.4
    pixels = np.full((height, width, 3), 128, np.uint8)
    rows, columns = (
        slice(int(ymin * height), int(ymax * height)),
        slice(int(xmin * width), int(xmax * width)),
    )
    crowds = {3: [0, 1], 4: [1]}.get(number, [0])
    if 0 in crowds:
        pixels[rows, columns] = RED
    ymin, ymax = rows.start / height, rows.stop / height
    xmin, xmax = columns.start / width, columns.stop / width
    png = len(crowds) > 1
    encoded = tf.io.encode_png(pixels) if png else tf.io.encode_jpeg(pixels, quality=100)

    def feature(kind: str, *values: object) -> Any:
        values_of = {
            "bytes_list": "BytesList",
            "float_list": "FloatList",
            "int64_list": "Int64List",
        }
        return tf.train.Feature(**{kind: getattr(tf.train, values_of[kind])(value=values)})

    features = {
        "image/encoded": feature("bytes_list", encoded.numpy()),
        "image/source_id": feature("bytes_list", str(number).encode()),
        "image/object/class/label": feature("int64_list", *[1] * len(crowds)),
        "image/object/bbox/ymin": feature("float_list", *[ymin] * len(crowds)),
        "image/object/bbox/xmin": feature("float_list", *[xmin] * len(crowds)),
        "image/object/bbox/ymax": feature("float_list", *[ymax] * len(crowds)),
        "image/object/bbox/xmax": feature("float_list", *[xmax] * len(crowds)),
    }
    if with_size:
        features["image/height"] = feature("int64_list", height)
        features["image/width"] = feature("int64_list", width)
    if any(crowds):
        features["image/object/is_crowd"] = feature("int64_list", *crowds)
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def test_without_chance_a_batch_is_the_model_gardens(config: Any) -> None:
    data = config.task.train_data
    data.parser.aug_scale_min = data.parser.aug_scale_max = 1.0
    data.parser.aug_rand_hflip = False
    data.parser.rpn_batch_size_per_im = 100_000  # every anchor, or chance would choose
    data.shuffle_buffer_size = 1
    config.task.model.input_size = [256, 250, 3]  # not a whole number of strides
    ours = training_batches(config.task.model, data, None).take(12)
    theirs = MaskRCNNTask(config.task).build_inputs(data).take(12)
    for (image, labels), (their_image, their_labels) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(image, their_image, atol=1e-3)
        info = "image_info"  # theirs says how the image was scaled, which training does not use
        np.testing.assert_array_equal(labels.pop(info)[:, 1], their_labels.pop(info)[:, 1])
        assert labels.pop("name"), "which only we know"
        tf.nest.assert_same_structure(labels, their_labels)
        for our, their in zip(tf.nest.flatten(labels), tf.nest.flatten(their_labels), strict=True):
            assert our.dtype == their.dtype
            np.testing.assert_allclose(our, their, atol=1e-3)


def test_the_targets_of_a_retinanet_are_the_model_gardens(tmp_path: Path) -> None:
    config = configured("retinanet_mobilenet_v2_pets", tmp_path, known=True)
    data = config.task.train_data
    data.parser.aug_scale_min = data.parser.aug_scale_max = 1.0
    data.parser.aug_rand_hflip, data.shuffle_buffer_size = False, 1
    ours = training_batches(config.task.model, data, None).take(5)
    theirs = RetinaNetTask(config.task).build_inputs(data).take(5)
    objects = []
    for (image, labels), (their_image, expected) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(image, their_image, atol=1e-3)
        for name in ("cls_targets", "box_targets", "cls_weights", "box_weights"):
            tf.nest.assert_same_structure(labels[name], expected[name])
            both = zip(*map(tf.nest.flatten, (labels[name], expected[name])), strict=True)
            for one, other in both:
                assert one.dtype == other.dtype
                np.testing.assert_allclose(one, other, atol=1e-3)
        objects.append({int(one) for level in labels["cls_targets"].values() for one in set(
            level.numpy().ravel())})  # fmt: skip
    assert objects == [{-1, 1}] * 4 + [{-1}], "the last has only a crowd"


def test_a_large_image_is_averaged_in_training_and_evaluation(config: Any, tmp_path: Path) -> None:
    """All its pixels count: bilinear scaling would read one of four."""
    pixels = np.random.default_rng(0).integers(0, 255, (1024, 1000, 3), np.uint8)
    example = tf.train.Example.FromString(record(0, with_size=True))
    example.features.feature["image/encoded"].bytes_list.value[0] = tf.io.encode_png(pixels).numpy()
    path = str(tmp_path / "large.record")
    with tf.io.TFRecordWriter(path) as file:
        file.write(example.SerializeToString())
    data, model = config.task.train_data, config.task.model
    data.input_path, data.parser.aug_rand_hflip = path, False
    data.parser.aug_scale_min = data.parser.aug_scale_max = 1.0
    model.input_size = [256, 250, 3]
    averaged = pixels.reshape(256, 4, 250, 4, 3).mean((1, 3))
    expected = (averaged - preprocess_ops.MEAN_RGB) / preprocess_ops.STDDEV_RGB
    evaluated = evaluation_batches(evaluation_image(model, data), data, None)
    for batches in (training_batches(model, data, None), evaluated):
        (image, labels) = next(iter(batches))
        np.testing.assert_allclose(image[0, :256, :250], expected, atol=1e-4)
    info = [[1024, 1000], [256, 250], [0.25, 0.25], [0, 0]]
    np.testing.assert_array_equal(labels["image_info"][0], info)


def test_scaled_cropped_and_flipped_the_box_stays_with_the_cat(config: Any) -> None:
    config.task.train_data.parser.aug_scale_max = 2.0
    for image, labels in training_batches(config.task.model, config.task.train_data, None).take(60):
        pixels = image[0] * preprocess_ops.STDDEV_RGB + preprocess_ops.MEAN_RGB
        rows, columns = np.nonzero(np.abs(pixels - RED).max(axis=-1) < 60)
        boxes = labels["gt_boxes"][0].numpy()[labels["gt_classes"][0] > 0]
        assert len(boxes) <= 1, "a crowd is not trained on"
        if len(rows) and len(boxes):
            seen = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(boxes[0], seen, atol=2.5)
        else:
            assert not len(boxes) or (boxes[0, 2:] - boxes[0, :2]).min() < 2.5
            assert len(rows) == 0 or np.ptp(rows) < 3 or np.ptp(columns) < 3


@pytest.mark.parametrize("enabled", [True, False])
def test_half_of_the_images_are_mirrored_if_asked_to(enabled: bool) -> None:
    pixels, boxes = tf.reshape(tf.range(24), [2, 4, 3]), tf.constant([[0.0, 1.0, 2.0, 3.5]])
    seen = []
    for _ in range(40):
        shown, moved = training_inputs._randomly_flipped(pixels, boxes, enabled)
        mirrored = bool(shown[0, 0, 0] != pixels[0, 0, 0])
        np.testing.assert_array_equal(shown, pixels[:, ::-1] if mirrored else pixels)
        np.testing.assert_array_equal(moved, [[0.0, 0.5, 2.0, 3.0]] if mirrored else boxes)
        seen.append(mirrored)
    assert set(seen) == {enabled, False}


def test_the_first_batch_is_prepared_while_the_step_is_traced(config: Any) -> None:
    batches = training_batches(config.task.model, config.task.train_data, None)
    assert batches.options().experimental_warm_start


def test_each_worker_has_a_share_of_its_own(config: Any) -> None:
    data = config.task.train_data
    data.parser.aug_scale_min = data.parser.aug_scale_max = 1.0
    data.parser.aug_rand_hflip = False
    shares = []
    for worker in range(2):
        context = tf.distribute.InputContext(2, worker, 2)
        data.global_batch_size = 2  # of which each worker makes one
        batches = training_batches(config.task.model, data, context).take(6)
        shares.append({image.numpy().tobytes() for image, _ in batches})
        assert len(shares[-1]) == 6
    assert not shares[0] & shares[1]
