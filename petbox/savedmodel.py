"""The detector as a SavedModel: pictures in, boxes in fractions of each picture out.

    serving_default    what the Object Detection API's exporter gives
    detect             the same in fewer words: only what is sure enough, and by name
    draw               the pictures themselves, with the boxes of what is surer still

Pictures are decoded and checked one by one; the network sees only what is sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox import drawing_ops
from petbox.batching import Batches, batched
from petbox.decoding import MOST_PIXELS, SOUND, refused
from petbox.garden import preprocess_ops, tf
from petbox.picture_inputs import INPUT_TYPES

SIGNATURES = ("serving_default", "detect", "draw")
DECODED_AT_ONCE = 4  # pictures of a request; each may take 3 bytes a pixel


@dataclass(frozen=True)
class Settings:
    """What is chosen when a model is exported, and stored in it."""

    input_type: str = "encoded_image_string_tensor"
    min_score: float = 0.05  # of `detect`
    min_score_drawn: float = 0.5
    most_pixels: int = MOST_PIXELS  # of a picture
    most_pictures: int = 64  # of a request
    batches: Batches | None = None


class Servable(tf.Module):
    """What is saved: variables, label map and signatures, none of the Keras layers' own functions.

    Those would make the file twenty times larger and slower to load.
    """

    def __init__(
        self, config: Any, model: Any, label_map: Path, names: Mapping[int, str], settings: Settings
    ) -> None:
        super().__init__()
        self.weights = list(model.variables)
        self.label_map = tf.saved_model.Asset(str(label_map))
        classes = range(config.task.model.num_classes)
        self.names = tf.constant([names.get(label, str(label)) for label in classes])
        self.palette = drawing_ops.palette(classes)
        self._settings = settings
        self._input = INPUT_TYPES[settings.input_type]
        self._canvas = config.task.model.input_size[:2]
        stride = 2**config.task.model.max_level
        self._padded = preprocess_ops.compute_padded_size(self._canvas, stride)
        # One picture as the network takes it, and what pixels of it are its two corners.
        self._ready = (
            tf.TensorSpec([*self._padded, 3], tf.float32),
            tf.TensorSpec([4], tf.float32),
        )
        self._network = self._batched(model)
        signature = [self._input.spec]
        self._signatures = {
            name: tf.function(function, signature)
            for name, function in zip(
                SIGNATURES, (self._classic, self._detect, self._draw), strict=True
            )
        }

    def save(self, folder: Path) -> None:
        tf.saved_model.save(self, str(folder), signatures=self._signatures)

    def _classic(self, inputs: Any) -> dict[str, Any]:
        boxes, classes, scores, count = self._network(*self._prepared(inputs))
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
            "num_detections": count,
        }

    def _detect(self, inputs: Any) -> dict[str, Any]:
        """The sure ones, best first, as many columns as the longest list of the request needs."""
        found = self._classic(inputs)
        count = _sure(found, self._settings.min_score)
        longest = tf.reduce_max(count)
        within = tf.sequence_mask(count, longest)  # what fills up the shorter lists says nothing
        boxes, classes, scores = (
            found[f"detection_{name}"][:, :longest] for name in ("boxes", "classes", "scores")
        )
        return {
            "detection_boxes": tf.where(within[..., None], boxes, 0.0),
            "detection_classes": tf.where(within, classes, 0.0),
            "detection_names": tf.where(
                within, tf.gather(self.names, tf.cast(classes, tf.int32)), ""
            ),
            "detection_scores": tf.where(within, scores, 0.0),
            "num_detections": tf.cast(count, tf.float32),
        }

    def _draw(self, inputs: Any) -> dict[str, Any]:
        """JPEGs in the pictures' own sizes. Decoded once more: all at once might not fit."""
        found = self._classic(inputs)
        count = _sure(found, self._settings.min_score_drawn)

        def one(item: tuple[Any, ...]) -> Any:
            index, picture, boxes, classes, count = item
            pixels = self._pixels(index, picture)
            long = tf.reduce_max(tf.shape(pixels)) > drawing_ops.LONGEST_SIDE
            pixels = refused(index, tf.where(long, drawing_ops.TOO_LONG, SOUND), pixels)
            colours = tf.gather(self.palette, tf.cast(classes[:count], tf.int32))
            return drawing_ops.jpeg(drawing_ops.drawn(pixels, boxes[:count], colours))

        items = (
            tf.range(tf.shape(inputs)[0]),
            inputs,
            found["detection_boxes"],
            found["detection_classes"],
            count,
        )
        jpegs = tf.map_fn(
            one, items, DECODED_AT_ONCE, fn_output_signature=tf.TensorSpec([], tf.string)
        )
        return {"image_bytes": jpegs}

    def _pixels(self, index: Any, picture: Any) -> Any:
        pixels = self._input.pixels(index, picture, self._settings.most_pixels)
        return tf.ensure_shape(pixels, [None, None, 3])

    def _prepared(self, inputs: Any) -> tuple[Any, Any]:
        """Pictures as the network takes them [N,h,w,3], and what pixels their corners are [N,4]."""

        def one(item: tuple[Any, Any]) -> tuple[Any, Any]:
            pixels = self._pixels(*item)
            size = tf.cast(tf.shape(pixels)[:2], tf.float32)
            scaled = tf.round(size * tf.reduce_min(tf.cast(self._canvas, tf.float32) / size))
            scaled = tf.maximum(scaled, 1.0)  # a picture of one row would vanish
            # Resized first: a photo of 12 megapixels as floats would take 144 MB more than once.
            image = tf.image.resize(pixels, tf.cast(scaled, tf.int32))
            image = preprocess_ops.normalize_image(image / 255.0)
            image = tf.image.pad_to_bounding_box(image, 0, 0, *self._padded)
            return tf.ensure_shape(image, [*self._padded, 3]), tf.tile(scaled, [2])

        count, most = tf.shape(inputs)[0], self._settings.most_pictures
        some = tf.debugging.Assert(count > 0, ["the request holds no picture"])
        few = f"the request holds more than {most} pictures; send fewer at a time"
        with tf.control_dependencies([some, tf.debugging.Assert(count <= most, [few])]):
            indices = tf.range(count)
        return tf.map_fn(one, (indices, inputs), DECODED_AT_ONCE, fn_output_signature=self._ready)

    def _batched(self, model: Any) -> Any:
        def network(images: Any, corners: Any) -> tuple[Any, ...]:
            # Training and evaluation call the whole canvas the picture's shape; so do we.
            shape = tf.zeros_like(corners[:, :2]) + tf.constant(self._canvas, tf.float32)
            found = model(images, image_shape=shape, training=False)
            # Boxes are in pixels of the scaled picture and may reach into its padding.
            boxes = found["detection_boxes"] / corners[:, None]
            return (
                tf.clip_by_value(boxes, 0.0, 1.0),
                tf.cast(found["detection_classes"], tf.float32),
                found["detection_scores"],
                tf.cast(found["num_detections"], tf.float32),
            )

        rows = [tf.TensorSpec([None, *one.shape], one.dtype) for one in self._ready]
        body = tf.function(network).get_concrete_function(*rows)  # one for all signatures
        batches, most = self._settings.batches, self._settings.most_pictures
        return batched(body, batches, most) if batches else body


def _sure(found: dict[str, Any], min_score: float) -> Any:
    """How many of each picture are sure enough; scores fall from left to right."""
    sure = tf.cast(found["detection_scores"] >= min_score, tf.int32)
    # What fills the rows up has scores as well.
    return tf.minimum(tf.reduce_sum(sure, axis=1), tf.cast(found["num_detections"], tf.int32))
