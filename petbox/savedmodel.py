"""The detector as a SavedModel: picture files in, boxes in fractions of each picture out.

`serving_default` is what the Object Detection API's exporter gives for encoded image strings;
`detect` says the same in fewer words: only what is sure enough, and by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from petbox import runs
from petbox.decoding import decode
from petbox.detector import class_names, load_config, restored
from petbox.garden import preprocess_ops, tf


class Servable(tf.Module):
    """What is saved: variables, label map and signatures, none of the Keras layers' own functions.

    Those would make the file twenty times larger and slower to load.
    """

    def __init__(self, run: Path, min_score: float) -> None:
        super().__init__()
        config = load_config(run)
        model = restored(config, run)
        names = class_names(run)
        canvas, stride = config.task.model.input_size[:2], 2**config.task.model.max_level
        padded = preprocess_ops.compute_padded_size(canvas, stride)

        self.weights = list(model.variables)
        self.label_map = tf.saved_model.Asset(str(run / runs.LABEL_MAP))
        self.min_score = tf.constant(min_score)
        self.names = tf.constant([names.get(label, "") for label in range(max(names) + 1)])

        def detections(files: Any) -> dict[str, Any]:
            images, sizes, scales = prepared(files, canvas, padded)
            # Training and evaluation call the whole canvas the picture's shape; so do we.
            shape = tf.zeros_like(sizes) + tf.constant(canvas, tf.float32)
            found = model(images, image_shape=shape, training=False)
            # Boxes are in pixels of the scaled picture and may reach into its padding.
            boxes = found["detection_boxes"] / tf.tile(sizes * scales, [1, 2])[:, None]
            return {
                "detection_boxes": tf.clip_by_value(boxes, 0.0, 1.0),
                "detection_classes": tf.cast(found["detection_classes"], tf.float32),
                "detection_scores": found["detection_scores"],
                "num_detections": tf.cast(found["num_detections"], tf.float32),
            }

        self._detections = detections

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classic(self, inputs: Any) -> dict[str, Any]:
        return self._detections(inputs)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def detect(self, inputs: Any) -> dict[str, Any]:
        """The sure ones, best first, as many columns as the longest list of the request needs."""
        found = self._detections(inputs)
        # Scores fall from left to right, so those that are sure enough come first.
        sure = tf.cast(found["detection_scores"] >= self.min_score, tf.int32)
        count = tf.reduce_sum(sure, axis=1)
        longest = tf.reduce_max(tf.concat([count, [0]], 0))
        kept = {k: v[:, :longest] for k, v in found.items() if k != "num_detections"}
        ids = tf.cast(kept["detection_classes"], tf.int32)
        return {
            **kept,
            "detection_names": tf.gather(self.names, ids),
            "num_detections": tf.cast(count, tf.float32),
        }

    def save(self, folder: Path) -> None:
        signatures = {"serving_default": self.classic, "detect": self.detect}
        tf.saved_model.save(self, str(folder), signatures=signatures)


def prepared(files: Any, canvas: list[int], padded: list[int]) -> tuple[Any, Any, Any]:
    """Pictures as the network takes them [N,h,w,3], their sizes [N,2] and the scales [N,2]."""

    def one(item: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        pixels = decode(*item)
        size = tf.cast(tf.shape(pixels)[:2], tf.float32)
        scaled = tf.round(size * tf.reduce_min(tf.cast(canvas, tf.float32) / size))
        scaled = tf.maximum(scaled, 1.0)  # a picture of one row would vanish
        # Resized first: a photo of 12 megapixels as floats would take 144 MB more than once.
        image = tf.image.resize(pixels, tf.cast(scaled, tf.int32))
        image = preprocess_ops.normalize_image(image / 255.0)
        image = tf.image.pad_to_bounding_box(image, 0, 0, *padded)
        return tf.ensure_shape(image, [*padded, 3]), size, scaled / size

    shapes = (
        tf.TensorSpec([*padded, 3], tf.float32),
        tf.TensorSpec([2], tf.float32),
        tf.TensorSpec([2], tf.float32),
    )
    count = tf.size(files)
    tf.debugging.Assert(count > 0, ["the request holds no picture"])
    indices = tf.range(count)
    return tf.map_fn(one, (indices, files), fn_output_signature=shapes)
