"""A model's input: the three input types of the Object Detection API's exporter.

encoded_image_string_tensor    [N] image files, of any sizes
image_tensor                   uint8 [N,H,W,3] pixels, so all of one size
tf_example                     [N] serialized tf.Examples with the file in `image/encoded`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from petbox.export.decode.files import VALID, checked, stored, try_or
from petbox.images.exif import UPRIGHT
from petbox.tf import tf

KEY = "inputs"
EXAMPLE = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
NO_EXAMPLE = "is not a serialized tf.Example with an image in image/encoded"


@dataclass(frozen=True)
class InputType:
    """A request's tensor, and a function for one image: pixels uint8 [H,W,3], orientation."""

    spec: Any
    # Of its index, its item, the most pixels allowed, and whether EXIF counts.
    stored: Callable[[Any, Any, int, bool], tuple[Any, Any]]


def _of_example(index: Any, item: Any, most_pixels: int, exif: bool) -> tuple[Any, Any]:
    def read(item: Any) -> tuple[Any, Any]:
        return VALID, tf.io.parse_single_example(item, EXAMPLE)["image/encoded"]

    file = checked(index, *try_or(read, item, (NO_EXAMPLE, "")))
    return stored(index, file, most_pixels, exif)


def _of_pixels(index: Any, item: Any, most_pixels: int, _exif: bool) -> tuple[Any, Any]:
    size = tf.shape(item, tf.int64)
    problem = tf.where(
        size[0] * size[1] > most_pixels, f"has more than {most_pixels} pixels; scale it down", VALID
    )
    problem = tf.where(tf.size(item) > 0, problem, "has no pixels")
    return checked(index, problem, item), tf.constant(UPRIGHT)


def request(input_type: str, file: bytes) -> Any:
    """The input of a model of that input type, for the one image in `file`."""
    if input_type == "image_tensor":
        return tf.io.decode_image(file, channels=3, expand_animations=False)[None]
    if input_type == "tf_example":
        file = example({"image/encoded": file})
    return tf.constant([file])


def example(values: Mapping[str, bytes | int]) -> bytes:
    """A serialized tf.Example with one value for each key."""
    made = tf.train.Example()
    for key, value in values.items():
        feature = made.features.feature[key]
        (feature.int64_list if isinstance(value, int) else feature.bytes_list).value.append(value)
    return bytes(made.SerializeToString())


INPUT_TYPES = {
    "encoded_image_string_tensor": InputType(tf.TensorSpec([None], tf.string, KEY), stored),
    "image_tensor": InputType(tf.TensorSpec([None, None, None, 3], tf.uint8, KEY), _of_pixels),
    "tf_example": InputType(tf.TensorSpec([None], tf.string, KEY), _of_example),
}
