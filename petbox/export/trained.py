"""A trained detector as it is exported: scales an image onto its canvas, detects boxes.

Its optimizations change no result, except for those of `canvases`. A plain one has none. FEWER_OPS
is all that differs between the families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from petbox.export import canvases
from petbox.export.canvases import Canvas
from petbox.export.decode.orientation import is_sideways, turned
from petbox.export.rewrite import fast_rois
from petbox.export.rewrite.fold_batchnorm import Weights, folded
from petbox.export.rewrite.grappler import ON_THE_DEVICE, Sealed, simplified
from petbox.tf import traced
from petbox.training import families
from petbox.training.families import Family
from petbox.training.resize import resized
from petbox.training.tfvision import preprocess_ops, tf

NEVER = -1e9  # the logit of an anchor that must not be detected


class TrainedNetwork:
    """Keeps the values of the weights, but none of the Keras layers' functions.

    Those would make the file twenty times larger and slower to load.
    """

    can_batch = True

    def __init__(
        self, config: Any, model: Any, whole_canvas: bool = False, plain: bool = False
    ) -> None:
        """With `whole_canvas`, every image is padded to the canvas of the training.

        A `plain` network does the same, by the library's own model as it is.
        """
        self.classes = config.task.model.num_classes
        self.size = config.task.model.input_size[:2]
        stride = 2**config.task.model.max_level
        self._padded = preprocess_ops.compute_padded_size(self.size, stride)
        height, width = self._padded
        parts = canvases.fitting(height, width, stride)
        self.canvases: Sequence[Canvas] = (
            [canvases.whole(height, width)] if whole_canvas or plain else parts
        )
        # One image as the network takes it, and the pixels of its two corners.
        self.ready: tuple[Any, ...] = (
            tf.TensorSpec([*self._padded, 3], tf.float32),
            tf.TensorSpec([4], tf.float32),
        )
        self._settings = config.task.model
        self._family = families.of(config.task.model)
        self._plain = model if plain else None
        if plain:
            self.tracked: list[Any] = list(model.variables)
            return
        weights = Weights()
        with _replaced(model, **_fewer_ops(model, self._family)):
            trace = self._on_the_whole if len(self.canvases) == 1 else self._on_any_canvas
            self.body = simplified(folded(trace(model), weights))
        self.tracked = weights.all

    def prepare(self, pixels: Any, orientation: Any) -> tuple[Any, Any]:
        return scaled(pixels, orientation, self.size, self._padded)

    def detect(self, images: Any, corners: Any) -> Any:
        if self._plain is not None:
            return self._found(self._plain, images, corners, None)
        body = Sealed(self.body, ON_THE_DEVICE)
        if len(self.canvases) == 1:
            return body(images, corners)
        return canvases.on_own_canvases(self.canvases, body, images, corners)

    def _on_the_whole(self, model: Any) -> Any:
        def detect(images: Any, corners: Any) -> Any:
            return self._found(model, images, corners, self._anchors())

        return _traced(detect, self._padded)

    def _on_any_canvas(self, model: Any) -> Any:
        """The network for canvases of all sizes up to the whole.

        Convolutions run on the canvas as it is. Boxes are then found as on the whole one, where
        anchors outside the canvas have no chance.
        """
        for part in (model.backbone, model.decoder):
            part.input_spec = None  # convolutional, but restricted to one size by Keras

        def detect(images: Any, corners: Any) -> Any:
            features = model.decoder(model.backbone(images))
            scores, boxes, *others = getattr(model, self._family.dense)(features)
            missing = self._padded - tf.shape(images)[1:3]
            for level in features:
                stride = 2 ** int(level)
                grown = [edge // stride for edge in self._padded], missing // stride
                scores[level] = canvases.padded(scores[level], *grown, NEVER)
                boxes[level] = canvases.padded(boxes[level], *grown, 0.0)
            # Only the size of this image is used.
            whole = tf.zeros([tf.shape(images)[0], *self._padded, 0])
            cached = {
                "backbone": lambda _: features,
                "decoder": lambda _: features,
                self._family.dense: lambda _: (scores, boxes, *others),
            }
            with _replaced(model, **cached):
                return self._found(model, whole, corners, self._anchors())

        return _traced(detect, (None, None))

    def _anchors(self) -> Any:
        return fast_rois.anchors(self._settings, self._padded)

    def _found(
        self, model: Any, images: Any, corners: Any, anchors: Any
    ) -> tuple[Any, Any, Any, Any]:
        # As in training and evaluation, the image's shape is that of the whole canvas.
        shape = tf.zeros_like(corners[:, :2]) + tf.constant(self.size, tf.float32)
        found = model(images, image_shape=shape, anchor_boxes=anchors, training=False)
        # Boxes are in pixels of the scaled image and may reach into its padding.
        boxes = found["detection_boxes"] / corners[:, None]
        return (
            tf.clip_by_value(boxes, 0.0, 1.0),
            tf.cast(found["detection_classes"], tf.float32),
            found["detection_scores"],
            tf.cast(found["num_detections"], tf.float32),
        )


def _traced(detect: Any, canvas: Sequence[int | None]) -> Any:
    return traced(detect, tf.TensorSpec([None, *canvas, 3]), tf.TensorSpec([None, 4]))


def scaled(
    pixels: Any, orientation: Any, canvas: Sequence[int], padded: Sequence[int]
) -> tuple[Any, Any]:
    """The image uint8 [H,W,3] upright on its canvas, and the pixels of its two corners."""

    def as_stored(size: Any) -> Any:
        return tf.where(is_sideways(orientation), tf.gather(size, [1, 0]), size)

    size = as_stored(tf.cast(tf.shape(pixels)[:2], tf.float32))
    scaled = tf.round(size * tf.reduce_min(tf.cast(canvas, tf.float32) / size))
    scaled = tf.maximum(scaled, 1.0)  # an image of one row would vanish
    # Resized first: a photo of 12 megapixels as floats would take 144 MB more than once, and
    # turning it takes longer than decoding.
    image = turned(resized(pixels, tf.cast(as_stored(scaled), tf.int32)), orientation)
    image = preprocess_ops.normalize_image(
        image, offset=preprocess_ops.MEAN_RGB, scale=preprocess_ops.STDDEV_RGB
    )
    image = tf.image.pad_to_bounding_box(image, 0, 0, *padded)
    return tf.ensure_shape(image, [*padded, 3]), tf.tile(scaled, [2])


def _batched(final: Any) -> Any:
    """A generator of detections that suppresses boxes by one op."""
    settings = final.get_config()
    if settings["nms_version"] == "v2":  # the same, as a while loop of small ops
        return type(final)(**{**settings, "nms_version": "batched"})
    return final


# Parts of a model, and what gives the same results in less time.
FEWER_OPS: Mapping[Family, Mapping[str, Callable[[Any], Any]]] = {
    families.FASTER_RCNN: {
        "detection_generator": _batched,
        "roi_generator": fast_rois.proposing,
        "roi_aligner": fast_rois.cropping,
    },
    families.RETINANET: {
        "detection_generator": lambda final: fast_rois.OnOneLevel(_batched(final)),
    },
}


def _fewer_ops(model: Any, family: Family) -> dict[str, Any]:
    return {name: of(getattr(model, name)) for name, of in FEWER_OPS[family].items()}


@contextmanager
def _replaced(model: Any, **parts: Any) -> Iterator[None]:
    """The model with other `parts`, by attribute name."""
    own = {_attribute(model, name): getattr(model, name) for name in parts}
    try:
        for name, part in zip(own, parts.values(), strict=True):
            setattr(model, name, part)
        yield
    finally:
        for name, part in own.items():
            setattr(model, name, part)


def _attribute(model: Any, name: str) -> str:
    """Where a model keeps the part: some have properties without setters."""
    return f"_{name}" if isinstance(getattr(type(model), name, None), property) else name
