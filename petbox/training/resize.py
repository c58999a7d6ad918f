"""Scales images by one filter, in training, evaluation and exported graphs.

Bilinear scaling reads four pixels for each pixel of the result, so of a photo of several times the
canvas' size it skips most, and keeps all of their noise. From half the size down, the filter is the
average over the area instead; at exactly half the two are the same. `petbox.litert.preprocess` has
the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from petbox.training.tfvision import preprocess_ops, tf


def resized(pixels: Any, size: Any) -> Any:
    """The image [H,W,3], of any type, as float32 of the height and width `size`, int32."""
    much_smaller = tf.reduce_all(tf.shape(pixels)[:2] >= 2 * size)
    return tf.cond(
        much_smaller,
        lambda: tf.image.resize(pixels, size, tf.image.ResizeMethod.AREA),
        lambda: tf.image.resize(pixels, size),
    )


@contextmanager
def in_model_garden() -> Iterator[None]:
    """Has the Model Garden's parsers that are traced here scale by the same filter."""
    original = preprocess_ops.resize_and_crop_image
    preprocess_ops.resize_and_crop_image = _fitted
    try:
        yield
    finally:
        preprocess_ops.resize_and_crop_image = original


def _fitted(
    image: Any, desired_size: Sequence[int], padded_size: Sequence[int], **_unscaled: Any
) -> tuple[Any, Any]:
    """The original without random scales: the image on its canvas, and image_info."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    desired = tf.cast(desired_size, tf.float32)
    scaled = tf.round(size * tf.reduce_min(desired / size))
    image = resized(image, tf.cast(scaled, tf.int32))
    image = tf.image.pad_to_bounding_box(image, 0, 0, *padded_size)
    return image, tf.stack([size, desired, scaled / size, tf.zeros(2)])
