"""Sheets of training images with their boxes, to look at before a training is waited for."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

from petbox import outputs
from petbox.training import augment, inputs
from petbox.training.tfvision import tf

COLUMNS, ROWS = 4, 3
AUGMENTED, GROUND_TRUTH = "training_images.png", "ground_truth.png"
COLOR = [[255.0, 40.0, 40.0]]


def write(config: Any, level: str | None, folder: Path) -> None:
    """Writes the first images as they are, and as the level of augmentation changes them."""
    plain = copy.deepcopy(config)
    augment.configure(plain, "none")
    original, changed = itertools.tee(inputs.first_images(config.task.train_data, COLUMNS * ROWS))
    if level == "heavy":
        changed = augment.mosaics(changed, config.task.model.input_size[:2])
    pairs = [
        (_drawn(image, None, plain.task), _drawn(other, level, config.task))
        for image, other in zip(original, changed, strict=True)
    ]
    for name, images in zip((GROUND_TRUTH, AUGMENTED), zip(*pairs, strict=True), strict=True):
        rows = [tf.concat(images[at : at + COLUMNS], 1) for at in range(0, len(images), COLUMNS)]
        with outputs.product(folder / name, replace=True) as partial:
            partial.write_bytes(tf.io.encode_png(tf.concat(rows, 0), compression=1).numpy())


def _drawn(image: tuple[Any, Any, Any], level: str | None, task: Any) -> Any:
    canvas = task.model.input_size[:2]
    fit = tf.constant(canvas, tf.float32)
    pixels, boxes, _ = inputs.shown(level, *image, fit, task.train_data.parser)
    boxes /= tf.tile(tf.cast(tf.shape(pixels)[:2], tf.float32), [2])
    drawn = tf.image.draw_bounding_boxes(pixels[None], boxes[None], COLOR)[0]
    drawn = tf.image.pad_to_bounding_box(drawn, 0, 0, *canvas)
    return tf.cast(tf.clip_by_value(tf.round(drawn), 0, 255), tf.uint8)
