"""Sheets of training images with their boxes, to look at before a training is waited for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from petbox import outputs
from petbox.training import augment, inputs
from petbox.training.tfvision import preprocess_ops, tf

COLUMNS, ROWS = 4, 3
AUGMENTED, GROUND_TRUTH = "training_images.png", "ground_truth.png"
COLOR = [[255.0, 40.0, 40.0]]


def write(config: Any, level: str, folder: Path) -> None:
    """Writes the first images as they are, and as the level of augmentation changes them."""
    for name, shown in ((GROUND_TRUTH, "none"), (AUGMENTED, level)):
        copied = copy.deepcopy(config)
        if shown == "none":
            augment.configure(copied, shown)
        data = copied.task.train_data
        data.global_batch_size, data.shuffle_buffer_size, data.dtype = 1, 1, "float32"
        batches = inputs.training_batches(copied.task.model, data, None, shown)
        images = [_drawn(*batch) for batch in batches.take(COLUMNS * ROWS)]
        rows = [tf.concat(images[at : at + COLUMNS], 1) for at in range(0, len(images), COLUMNS)]
        with outputs.product(folder / name, replace=True) as partial:
            partial.write_bytes(tf.io.encode_png(tf.concat(rows, 0)).numpy())


def _drawn(pixels: Any, labels: Any) -> Any:
    """The image as it was before it was normalized, with its boxes."""
    pixels = pixels * preprocess_ops.STDDEV_RGB + preprocess_ops.MEAN_RGB
    boxes = labels["gt_boxes"][labels["gt_classes"] > 0]
    boxes /= tf.tile(tf.cast(tf.shape(pixels)[1:3], tf.float32), [2])
    drawn = tf.image.draw_bounding_boxes(pixels, boxes[None], COLOR)[0]
    return tf.cast(tf.clip_by_value(tf.round(drawn), 0, 255), tf.uint8)
