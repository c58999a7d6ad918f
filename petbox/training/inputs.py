"""Training batches from records: the Model Garden's targets at a fraction of its cost.

The Model Garden converts a whole image to floats, normalizes it and only then scales it down,
which costs a seventh of a small detector's step on a CPU. Here a random window of the image is cut
out as bytes and scaled once, to its final size.

Decoding takes a third of the rest, so images are decoded once if memory holds all of them.

Evaluation images are prepared by the Model Garden, but numbered here: it wants `image/source_id` to
be a unique number, and the Object Detection API's tools write a file name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petbox.errors import DataError
from petbox.tf import as_written, traced
from petbox.training import augment, memory, resize, targets
from petbox.training.tfvision import (
    anchor,
    preprocess_ops,
    tf,
    tf_example_decoder,
)

EDGES = [f"image/object/bbox/{edge}" for edge in ("ymin", "xmin", "ymax", "xmax")]
FEATURES = {
    "image/filename": tf.io.FixedLenFeature([], tf.string, default_value="(unnamed)"),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/object/class/label": tf.io.RaggedFeature(tf.int64),
    "image/object/is_crowd": tf.io.RaggedFeature(tf.int64),
    **{edge: tf.io.RaggedFeature(tf.float32) for edge in EDGES},
}
DIFFICULT = {"image/object/difficult": tf.io.RaggedFeature(tf.int64)}


def training_batches(model: Any, data: Any, context: Any, augmented: str | None = None) -> Any:
    """The batches (images, labels) for the task's `train_step`, repeated forever.

    `augmented` is a level of `augment.py`, or None for flips and scales alone.
    """
    padded = preprocess_ops.compute_padded_size(model.input_size[:2], 2**model.max_level)
    anchors = anchor.build_anchor_generator(
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
    )(image_size=padded)
    labeled = targets.labeler(model, data.parser, anchors)
    canvas = tf.constant(model.input_size[:2], tf.float32)

    def decoded(record: Any) -> Any:
        return _decoded(record, data.parser.skip_crowd_during_training)

    def example(name: Any, pixels: Any, boxes: Any, classes: Any) -> Any:
        pixels, boxes, classes = shown(augmented, pixels, boxes, classes, canvas, data.parser)
        most = data.parser.max_num_instances
        return tf.cast(_normalized(pixels, padded), data.dtype), {
            "name": name,
            **labeled(boxes, classes[:, None]),
            "gt_boxes": _as_many(boxes, most),
            "gt_classes": _as_many(classes[:, None], most)[:, 0],
        }

    stages = [as_written(decoded), as_written(example)]
    images = _own_share(data, context)
    # A cache after the second stage repeats the same flips and windows in every epoch.
    kept = 2 if data.cache else int(memory.fits(_decoded_sizes(images)))
    for stage in stages[:kept]:
        images = images.map(stage, num_parallel_calls=tf.data.AUTOTUNE)
    if kept:
        images = images.cache()
    images = images.shuffle(data.shuffle_buffer_size, seed=data.seed).repeat()
    for stage in stages[kept:]:
        if stage is stages[-1] and augmented == "heavy":
            images = augment.with_mosaics(images, model.input_size[:2])
        images = images.map(stage, num_parallel_calls=tf.data.AUTOTUNE)
    batch = data.global_batch_size
    if context:
        batch = context.get_per_replica_batch_size(batch)
    same = {
        "image_info": tf.stack([canvas, canvas, tf.ones(2), tf.zeros(2)]),
        **targets.same_for_all(model, anchors),
    }
    same = tf.nest.map_structure(lambda of_one: tf.repeat(of_one[None], batch, axis=0), same)

    def completed(pixels: Any, labels: Any) -> tuple[Any, Any]:
        return pixels, {**labels, **same}

    images = images.batch(batch, drop_remainder=True).map(as_written(completed)).prefetch(2)
    at_once = tf.data.Options()
    at_once.experimental_warm_start = True  # while the step is traced
    return images.with_options(at_once)


def first_images(data: Any, count: int) -> Iterator[tuple[Any, Any, Any]]:
    """A few images, decoded one by one: pixels, boxes and classes. Traces no graph."""
    for record in _records(data).take(count).repeat().take(count):
        yield _decoded(record, data.parser.skip_crowd_during_training)[1:]


def evaluation_image(model: Any, data: Any) -> Any:
    """What the Model Garden makes of a record: one graph, for any number of splits."""
    decoder = tf_example_decoder.TfExampleDecoder(regenerate_source_id=True)  # so it needs none
    parse = targets.evaluation_parser(model, data)

    def image(number: Any, record: Any) -> Any:
        found = decoder.decode(record)
        boxes = tf.clip_by_value(found["groundtruth_boxes"], 0.0, 1.0)
        stated = tf.io.parse_single_example(record, DIFFICULT)["image/object/difficult"] > 0
        crowds = found["groundtruth_is_crowd"]
        difficult = tf.cond(tf.size(stated) > 0, lambda: stated, lambda: tf.zeros_like(crowds))
        pixels, labels = parse(
            {
                **found,
                "source_id": number,
                "groundtruth_boxes": boxes,
                # The Model Garden's metrics know no other way to leave a box out.
                "groundtruth_is_crowd": crowds | difficult,
            }
        )
        count = labels["groundtruths"]["num_detections"]
        labels["groundtruths"]["num_detections"] = tf.reshape(count, [])  # RetinaNet's is [1]
        labels["groundtruths"]["is_difficults"] = preprocess_ops.clip_or_pad_to_fixed_size(
            tf.cast(difficult, tf.int32), data.parser.max_num_instances, 0
        )
        return pixels, labels

    number, record = tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string)
    with resize.in_model_garden():
        return traced(image, number, record)


def evaluation_batches(image: Any, data: Any, context: Any) -> Any:
    """The batches of what `evaluation_image` gives, once; `source_id` counts from 0."""
    images = _records(data).enumerate().map(image, num_parallel_calls=tf.data.AUTOTUNE)
    batch = context.get_per_replica_batch_size(data.global_batch_size) if context else None
    return images.batch(batch or data.global_batch_size).prefetch(2)


def _records(data: Any) -> Any:
    files = sorted(tf.io.gfile.glob(data.input_path))
    if not files:
        named = data.input_path if isinstance(data.input_path, str) else ", ".join(data.input_path)
        raise DataError(f"{named}: no such records; make them again, or name others")
    return tf.data.TFRecordDataset(files)


def _own_share(data: Any, context: Any) -> Any:
    records = _records(data)
    if context and context.num_input_pipelines > 1:
        return records.shard(context.num_input_pipelines, context.input_pipeline_id)
    return records


def _decoded_sizes(records: Any) -> Iterator[int]:
    """The size in bytes of each decoded image, from its record."""
    unknown = 10**5  # which never fits
    features = {
        f"image/{side}": tf.io.FixedLenFeature([], tf.int64, default_value=unknown)
        for side in ("height", "width")
    }

    def size(record: Any) -> Any:
        found = tf.io.parse_single_example(record, features)
        return found["image/height"] * found["image/width"] * 3

    try:
        yield from records.map(as_written(size)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise DataError("a shard of the records is damaged; make the records again") from error


def _decoded(record: Any, skip_crowds: bool) -> tuple[Any, Any, Any, Any]:
    """The name, pixels as uint8 [H,W,3], boxes in fractions [n,4] and classes [n] of a record."""
    found = tf.io.parse_single_example(record, FEATURES)
    pixels = tf.io.decode_image(found["image/encoded"], channels=3, expand_animations=False)
    pixels.set_shape([None, None, 3])
    boxes = tf.stack([found[edge] for edge in EDGES], axis=-1)
    classes = found["image/object/class/label"]
    crowds = found["image/object/is_crowd"]
    if skip_crowds:
        single = tf.cond(tf.size(crowds) > 0, lambda: crowds == 0, lambda: classes == classes)
        boxes, classes = tf.boolean_mask(boxes, single), tf.boolean_mask(classes, single)
    return found["image/filename"], pixels, boxes, classes


def shown(
    augmented: str | None, pixels: Any, boxes: Any, classes: Any, canvas: Any, parser: Any
) -> tuple[Any, Any, Any]:
    """What a network learns from one image: its pixels on the canvas, boxes in them, classes."""
    pixels, boxes = augment.changed(augmented, pixels, boxes)
    pixels, boxes = _window(pixels, boxes, canvas, parser)
    # On the canvas, because a photo has several times its pixels.
    pixels, boxes = _randomly_flipped(pixels, boxes, parser.aug_rand_hflip)
    # The window may exclude some.
    visible = tf.where(tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1))
    return pixels, tf.gather_nd(boxes, visible), tf.gather_nd(classes, visible)


def _window(pixels: Any, boxes: Any, canvas: Any, parser: Any) -> tuple[Any, Any]:
    """The part of the image that fits the canvas at a random scale, and the boxes in its pixels."""
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    scale = tf.random.uniform([], parser.aug_scale_min, parser.aug_scale_max)
    scale *= tf.reduce_min(canvas / size)
    window = tf.maximum(tf.round(tf.minimum(size, canvas / scale)), 1.0)
    corner = tf.floor(tf.random.uniform([2]) * (size - window + 1.0))
    corner = tf.minimum(corner, size - window)  # a number just below 1 may be rounded up
    scaled = tf.clip_by_value(tf.round(window * scale), 1.0, canvas)
    begin = tf.concat([tf.cast(corner, tf.int32), [0]], 0)
    pixels = tf.slice(pixels, begin, tf.concat([tf.cast(window, tf.int32), [3]], 0))
    corners = (tf.reshape(boxes, [-1, 2, 2]) * size - corner) * (scaled / window)
    boxes = tf.reshape(tf.clip_by_value(corners, 0.0, scaled), [-1, 4])
    # As floats, which scale to the same numbers in three quarters of the time.
    return resize.resized(tf.cast(pixels, tf.float32), tf.cast(scaled, tf.int32)), boxes


def _randomly_flipped(pixels: Any, boxes: Any, enabled: bool) -> tuple[Any, Any]:
    flip = tf.random.uniform([]) < (0.5 if enabled else 0.0)
    width = tf.cast(tf.shape(pixels)[1], tf.float32)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)
    axes = tf.range(1, 1 + tf.cast(flip, tf.int32))  # none, or that of the columns
    return tf.reverse(pixels, axes), tf.where(flip, mirrored, boxes)


def _as_many(rows: Any, most: int) -> Any:
    """Exactly that many rows; those that are added are of -1."""
    rows = rows[:most]
    return tf.ensure_shape(
        tf.pad(rows, [[0, most - tf.shape(rows)[0]], [0, 0]], constant_values=-1),
        [most, rows.shape[1]],
    )


def _normalized(pixels: Any, padded: list[int]) -> Any:
    """The Model Garden's image: normalized by ImageNet's statistics, padded with the mean color.

    Computed on rows of numbers, not of colors: an axis of size three is four times as slow.
    """
    mean = tf.constant(padded[1] * list(preprocess_ops.MEAN_RGB))
    factor = tf.constant(padded[1] * [1 / one for one in preprocess_ops.STDDEV_RGB])
    height, width, _ = tf.unstack(tf.shape(pixels))
    rows = tf.reshape(pixels, [height, width * 3])
    rows = (rows - mean[: width * 3]) * factor[: width * 3]
    rows = tf.pad(rows, [[0, padded[0] - height], [0, (padded[1] - width) * 3]])
    return tf.reshape(rows, [*padded, 3])
