"""Wraps an existing detection SavedModel in ours, one image at a time.

It must have the form of the Object Detection API's zoo: a signature serving_default that takes
uint8 [1,H,W,3] and returns detection_boxes [1,K,4] in fractions, detection_classes,
detection_scores and num_detections. The Model Garden's own exports work too: their boxes are in
pixels of the canvas that image_info describes. Other outputs are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.errors import ModelError
from petbox.export.canvases import Canvas
from petbox.export.decode.orientation import turned
from petbox.export.model_folder import OUTPUTS, SIGNATURE
from petbox.tf import tf

IMAGE_INFO = "image_info"  # [1,4,2]: the image's size, the canvas, the scale, the offset
MOST_DETECTIONS = 300  # of a model that does not state its own limit
LARGEST_FRACTION = 2.0  # larger boxes are in pixels


class WrappedNetwork:
    """Does all its work in `prepare`; `detect` only passes the results on."""

    can_batch = False
    canvases: Sequence[Canvas] = ()

    def __init__(self, folder: Path, classes: int) -> None:
        self.classes = classes
        self._loaded = _loaded(folder)
        self._call = self._loaded.signatures[SIGNATURE]
        self._input = _input(folder, self._call)
        shapes = _outputs(folder, self._call)
        self._most = shapes["detection_boxes"].shape[1] or MOST_DETECTIONS
        self.ready = tuple(
            tf.TensorSpec(shape, tf.float32) for shape in ([self._most, 4], *[[self._most]] * 2, [])
        )
        # Objects with values, but not functions: a model of Keras layers has thousands.
        self.tracked = [
            one for one in tf.train.TrackableView(self._loaded).descendants() if _has_value(one)
        ]

    def results(self, pixels: Any) -> tuple[Any, Any, Any, Any]:
        """The model's own results for an image, in as many rows as it returns."""
        found = self._call(**{self._input: pixels[None]})
        boxes, classes, scores, count = (tf.cast(found[name][0], tf.float32) for name in OUTPUTS)
        if IMAGE_INFO in found:
            size, _, scale, _ = tf.unstack(tf.cast(found[IMAGE_INFO][0], tf.float32))
            in_pixels = tf.reduce_max(boxes) > LARGEST_FRACTION
            boxes = tf.where(in_pixels, boxes / tf.tile(size * scale, [2]), boxes)
        return boxes, classes, scores, count

    def prepare(self, pixels: Any, orientation: Any) -> tuple[Any, ...]:
        boxes, classes, scores, count = self.results(turned(pixels, orientation))
        rows = tf.shape(scores)[0]
        counted = tf.sequence_mask(tf.cast(count, tf.int32), rows)
        best = tf.argsort(tf.where(counted, scores, -1.0), direction="DESCENDING", stable=True)
        best = best[: self._most]
        missing = self._most - tf.shape(best)[0]

        def padded(values: Any) -> Any:
            edges = [[0, missing], *[[0, 0]] * (values.shape.rank - 1)]
            return tf.pad(tf.gather(values, best), edges)

        rows = (padded(tf.clip_by_value(boxes, 0.0, 1.0)), padded(classes), padded(scores))
        rows = (*rows, tf.minimum(count, tf.cast(tf.shape(best)[0], tf.float32)))
        ready = zip(rows, self.ready, strict=True)
        return tuple(tf.ensure_shape(row, spec.shape) for row, spec in ready)

    def detect(
        self, boxes: Any, classes: Any, scores: Any, count: Any
    ) -> tuple[Any, Any, Any, Any]:
        return tf.nest.map_structure(tf.identity, (boxes, classes, scores, count))  # type: ignore[no-any-return]


def _has_value(part: Any) -> bool:
    """Whether a part of a model has a value to keep. Its label map is replaced, so not kept."""
    if isinstance(part, tf.saved_model.Asset):
        return Path(os.fsdecode(part.asset_path.numpy())).name != labels.FILE_NAME
    return isinstance(part, (tf.Variable, tf.saved_model.experimental.TrackableResource))


def _loaded(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    # Whatever TensorFlow raises for a corrupt file, or one of another version.
    except (tf.errors.OpError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        cause = str(error).splitlines()[0]
        raise ModelError(
            f"{folder}: cannot be loaded ({cause}); name an intact SavedModel"
        ) from error


def _input(folder: Path, signature: Any) -> str:
    """The name of the one input, which must take an image's pixels in any size."""
    inputs = signature.structured_input_signature[1]
    described = ", ".join(f"{name} {_described(spec)}" for name, spec in inputs.items())
    if len(inputs) == 1:
        ((name, spec),) = inputs.items()
        pixels = spec.dtype == tf.uint8 and spec.shape.is_compatible_with([1, 1, 1, 3])
        if pixels and spec.shape[1:3].is_compatible_with([2, 3]):
            return str(name)
    raise ModelError(
        f"{folder}: takes {described or 'nothing'}, not pixels uint8 [1,H,W,3] of any size; "
        "export it with input type image_tensor"
    )


def _outputs(folder: Path, signature: Any) -> dict[str, Any]:
    given = signature.structured_outputs
    if missing := [name for name in OUTPUTS if name not in given]:
        raise ModelError(
            f"{folder}: lacks outputs ({', '.join(missing)}); wrap a detector of the Object "
            "Detection API's form"
        )
    for name, shape in zip(OUTPUTS, ([1, None, 4], [1, None], [1, None], [1]), strict=True):
        if not given[name].shape.is_compatible_with(shape) or given[name].dtype == tf.string:
            expected = str(shape).replace("None", "K").replace(" ", "")
            raise ModelError(
                f"{folder}: its {name} is {_described(given[name])}, not numbers {expected}; "
                "wrap a detector of the Object Detection API's form"
            )
    return dict(given)


def _described(spec: Any) -> str:
    if spec.shape.rank is None:
        return f"{spec.dtype.name} of any shape"
    return f"{spec.dtype.name} [{','.join(str(edge or '?') for edge in spec.shape)}]"
