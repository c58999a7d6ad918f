"""Sheets of training images with their boxes, to look at before a training is waited for."""

from __future__ import annotations

import copy
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
    for name, shown, of in ((GROUND_TRUTH, None, plain), (AUGMENTED, level, config)):
        model, data = of.task.model, of.task.train_data
        found = inputs.first_images(model, data, shown, COLUMNS * ROWS)
        images = [_drawn(pixels, boxes, model.input_size[:2]) for pixels, boxes in found]
        rows = [tf.concat(images[at : at + COLUMNS], 1) for at in range(0, len(images), COLUMNS)]
        with outputs.product(folder / name, replace=True) as partial:
            partial.write_bytes(tf.io.encode_png(tf.concat(rows, 0)).numpy())


def _drawn(pixels: Any, boxes: Any, canvas: list[int]) -> Any:
    boxes /= tf.tile(tf.cast(tf.shape(pixels)[:2], tf.float32), [2])
    drawn = tf.image.draw_bounding_boxes(pixels[None], boxes[None], COLOR)[0]
    drawn = tf.image.pad_to_bounding_box(drawn, 0, 0, *canvas)
    return tf.cast(tf.clip_by_value(tf.round(drawn), 0, 255), tf.uint8)
