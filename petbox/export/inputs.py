"""What a model may be asked with: the three input types of the Object Detection API's exporter.

encoded_image_string_tensor    [N] whole picture files, of any sizes
image_tensor                   uint8 [N,H,W,3] pixels, so all of one size
tf_example                     [N] serialized tf.Examples with the file in `image/encoded`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from petbox.export.decode.files import SOUND, caught, decode, refused
from petbox.tf import tf

KEY = "inputs"
EXAMPLE = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
NO_EXAMPLE = "is no serialized tf.Example with a picture in image/encoded"


@dataclass(frozen=True)
class InputType:
    """The tensor that a request brings, and the pixels uint8 [H,W,3] of one picture of it."""

    spec: Any
    pixels: Callable[[Any, Any, int], Any]  # of (its place, its item, the most pixels allowed)


def _of_example(index: Any, item: Any, most_pixels: int) -> Any:
    def read(item: Any) -> tuple[Any, Any]:
        return SOUND, tf.io.parse_single_example(item, EXAMPLE)["image/encoded"]

    file = refused(index, *caught(read, item, (NO_EXAMPLE, "")))
    return decode(index, file, most_pixels)


def _of_pixels(index: Any, item: Any, most_pixels: int) -> Any:
    size = tf.shape(item, tf.int64)
    flaw = tf.where(
        size[0] * size[1] > most_pixels, f"has more than {most_pixels} pixels; scale it down", SOUND
    )
    return refused(index, tf.where(tf.size(item) > 0, flaw, "has no pixels"), item)


def request(input_type: str, file: bytes) -> Any:
    """The input of a model of that input type, for the one image in `file`."""
    if input_type == "image_tensor":
        return tf.io.decode_image(file, channels=3, expand_animations=False)[None]
    if input_type == "tf_example":
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
        features = tf.train.Features(feature={"image/encoded": feature})
        file = tf.train.Example(features=features).SerializeToString()
    return tf.constant([file])


INPUT_TYPES = {
    "encoded_image_string_tensor": InputType(tf.TensorSpec([None], tf.string, KEY), decode),
    "image_tensor": InputType(tf.TensorSpec([None, None, None, 3], tf.uint8, KEY), _of_pixels),
    "tf_example": InputType(tf.TensorSpec([None], tf.string, KEY), _of_example),
}
