"""Random changes to training images beyond a flip and a scale, with their boxes.

Images are uint8 [H,W,3], boxes [n,4] are ymin, xmin, ymax, xmax in fractions of the image. A box
that a change removes stays as an empty one, so that classes keep their places.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from petbox.tf import as_written
from petbox.training import resize
from petbox.training.tfvision import RandAugment, tf

SCALES = {"none": (1.0, 1.0), "light": (0.8, 1.25), "heavy": (0.6, 1.6)}
MOSAICS = 0.5  # the share of images that become a mosaic of four
CROPPED, TURNED, TILTED = 0.5, 0.25, 0.5
COVERED = 0.5  # a crop has that much of some object; objects of which less is left are dropped
STEEPEST = math.radians(10)
PADDING = 128  # gray, around the images of a mosaic and in the corners of a tilted one
# Of RandAugment only colors and sharpness. Its boxes are wrong: Translate moves them the other way,
# Shear makes them too small, and Rotate repeats parts of objects in the corners, where no box is.
GEOMETRY = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout")
UNNATURAL = ("Invert", "Posterize", "Solarize", "SolarizeAdd")
RANDOM = RandAugment(num_layers=2, magnitude=5, exclude_ops=[*GEOMETRY, *UNNATURAL])


def configure(config: Any, level: str) -> None:
    """The flips, scales and cache of a level."""
    data = config.task.train_data
    data.parser.aug_scale_min, data.parser.aug_scale_max = SCALES[level]
    data.parser.aug_rand_hflip = level != "none"
    data.cache = level == "none"  # it would repeat the same changes in every epoch


def changed(level: str | None, pixels: Any, boxes: Any) -> tuple[Any, Any]:
    """An image with what the level changes, but for mosaics, flips and scales."""
    if level == "heavy":
        pixels, boxes = _sometimes(CROPPED, cropped, pixels, boxes)
        pixels, boxes = _sometimes(TURNED, turned, pixels, boxes)
        pixels, boxes = _sometimes(TILTED, tilted, pixels, boxes)
        pixels = RANDOM.distort(pixels)
    elif level == "light":
        pixels = colored(pixels)
    pixels.set_shape([None, None, 3])
    boxes.set_shape([None, 4])
    return pixels, boxes


def _sometimes(share: float, change: Any, pixels: Any, boxes: Any) -> tuple[Any, Any]:
    yes = tf.random.uniform([]) < share
    found: tuple[Any, Any] = tf.cond(yes, lambda: change(pixels, boxes), lambda: (pixels, boxes))
    return found


def colored(pixels: Any) -> Any:
    """Another brightness, contrast, saturation and, slightly, hue."""
    pixels = tf.image.random_brightness(pixels, 0.15)
    pixels = tf.image.random_contrast(pixels, 0.75, 1.25)
    pixels = tf.image.random_saturation(pixels, 0.75, 1.25)
    return tf.image.random_hue(pixels, 0.03)


def turned(pixels: Any, boxes: Any) -> tuple[Any, Any]:
    """A quarter turn, to the left or to the right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    left = tf.stack([1 - xmax, ymin, 1 - xmin, ymax], axis=-1)
    right = tf.stack([xmin, 1 - ymax, xmax, 1 - ymin], axis=-1)
    to_left = tf.random.uniform([]) < 0.5
    found: tuple[Any, Any] = tf.cond(
        to_left,
        lambda: (tf.image.rot90(pixels, 1), left),
        lambda: (tf.image.rot90(pixels, 3), right),
    )
    return found


def cropped(pixels: Any, boxes: Any) -> tuple[Any, Any]:
    """A part of the image that has most of at least one object."""
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    begin, size, window = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(pixels),
        boxes[None],
        seed=tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32),
        min_object_covered=COVERED,
        aspect_ratio_range=(0.5, 2.0),
        area_range=(0.2, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    top_left, bottom_right = window[0, 0, :2], window[0, 0, 2:]
    inside = _inside(boxes, top_left, bottom_right)
    moved = (inside - tf.tile(top_left, [2])) / tf.tile(bottom_right - top_left, [2])
    return tf.slice(pixels, begin, size), tf.where(_areas(inside)[:, None] > 0, moved, 0.0)


def tilted(pixels: Any, boxes: Any) -> tuple[Any, Any]:
    """A turn of at most 10 degrees about the middle, with gray corners.

    A box becomes the bounds of its turned ellipse. Those of its turned corners would be too large
    for nearly all objects, because few reach into the corners of their boxes.
    """
    angle = tf.random.uniform([], -STEEPEST, STEEPEST)
    cos, sin = tf.cos(angle), tf.sin(angle)
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    y, x = tf.unstack((size - 1) / 2)  # pixels are counted by their middles
    # Where each pixel of the result comes from: to the middle, turned, and back.
    rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0]
    turned_pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=tf.stack(rows)[None],
        output_shape=tf.shape(pixels)[:2],
        fill_value=float(PADDING),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    corners = boxes * tf.tile(size, [2])
    middles, halves = (corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2]) / 2
    back = tf.stack([tf.stack([cos, sin]), tf.stack([-sin, cos])])  # of (y, x), as rows
    middles = tf.matmul(middles - size / 2, back) + size / 2
    halves = tf.sqrt(tf.matmul(halves**2, back**2))
    moved = tf.concat([middles - halves, middles + halves], axis=1) / tf.tile(size, [2])
    return turned_pixels, _inside(moved, tf.zeros(2), tf.ones(2))


def _inside(boxes: Any, top_left: Any, bottom_right: Any) -> Any:
    """The parts of the boxes in a window; empty where less than COVERED of a box is in it."""
    inside = tf.concat(
        [tf.maximum(boxes[:, :2], top_left), tf.minimum(boxes[:, 2:], bottom_right)], axis=1
    )
    return tf.where((_areas(inside) >= COVERED * _areas(boxes))[:, None], inside, 0.0)


def _areas(boxes: Any) -> Any:
    sides = tf.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return sides[:, 0] * sides[:, 1]


# Mosaics


def with_mosaics(images: Any, canvas: list[int]) -> Any:
    """Makes some of the images mosaics of themselves and the three before."""

    def slide(before: Any, image: Any) -> Any:
        name, *rest = image
        four = (*before, tuple(rest))
        return four[1:], (name, four)

    def made(name: Any, four: Any) -> Any:
        return (name, *_either(four, canvas))

    images = images.scan((_nothing(),) * 3, as_written(slide))
    return images.map(as_written(made), num_parallel_calls=tf.data.AUTOTUNE)


def mosaics(images: Iterable[Any], canvas: list[int]) -> Iterator[tuple[Any, Any, Any]]:
    """`with_mosaics` of decoded images without names, which traces no graph."""
    four = deque((_nothing(),) * 4, maxlen=4)
    for image in images:
        four.append(image)
        yield _either(tuple(four), canvas)


def _nothing() -> tuple[Any, Any, Any]:
    return tf.zeros([1, 1, 3], tf.uint8), tf.zeros([0, 4]), tf.zeros([0], tf.int64)


def _either(four: Any, canvas: list[int]) -> tuple[Any, Any, Any]:
    full = tf.reduce_all([tf.shape(pixels)[0] > 1 for pixels, _, _ in four])
    yes = tf.logical_and(full, tf.random.uniform([]) < MOSAICS)
    found: tuple[Any, Any, Any] = tf.cond(yes, lambda: mosaic(four, canvas), lambda: four[-1])
    return found


def mosaic(four: Any, canvas: list[int]) -> tuple[Any, Any, Any]:
    """Four images around a random point of a canvas, each as large as fits, at that point."""
    height, width = canvas
    y = tf.cast(tf.random.uniform([], 0.35, 0.65) * height, tf.int32)
    x = tf.cast(tf.random.uniform([], 0.35, 0.65) * width, tf.int32)
    whole = tf.constant([height, width, height, width], tf.float32)
    quarters, boxes = [], []
    for (pixels, own, _), (below, right) in zip(
        four, ((False, False), (False, True), (True, False), (True, True)), strict=True
    ):
        room = tf.stack([height - y if below else y, width - x if right else x])
        size = tf.cast(tf.shape(pixels)[:2], tf.float32)
        scale = tf.reduce_min(tf.cast(room, tf.float32) / size)
        scaled = tf.maximum(tf.cast(size * scale, tf.int32), 1)
        small = tf.cast(tf.round(resize.resized(pixels, scaled)), tf.uint8)
        free = room - scaled
        at_y, at_x = (0 if below else free[0]), (0 if right else free[1])
        padding = [[at_y, free[0] - at_y], [at_x, free[1] - at_x], [0, 0]]
        quarters.append(tf.pad(small, padding, constant_values=PADDING))
        corner = tf.stack([at_y + (y if below else 0), at_x + (x if right else 0)])
        sides = tf.tile(tf.cast(scaled, tf.float32), [2])
        boxes.append((own * sides + tf.tile(tf.cast(corner, tf.float32), [2])) / whole)
    rows = [tf.concat(quarters[:2], axis=1), tf.concat(quarters[2:], axis=1)]
    classes = [of_image for _, _, of_image in four]
    return tf.concat(rows, axis=0), tf.concat(boxes, axis=0), tf.concat(classes, axis=0)
