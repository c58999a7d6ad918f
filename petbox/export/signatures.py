"""The detector as a SavedModel: images in, boxes in fractions of each image out.

    serving_default    the outputs of the Object Detection API's exporter
    detect             shorter: only detections above a threshold, with class names
    draw               the images with the boxes of detections above a higher threshold

Images are decoded and checked one by one; only valid ones reach the network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from petbox.data import labels
from petbox.export import drawing
from petbox.export.batching import BY_DEFAULT, Batched, Batches
from petbox.export.canvases import Canvas
from petbox.export.decode.files import VALID, checked
from petbox.export.decode.orientation import turned
from petbox.export.inputs import INPUT_TYPES
from petbox.export.rewrite.grappler import sealed
from petbox.images.limits import LONGEST_SIDE, MOST_PICTURES, MOST_PIXELS, TOO_LONG
from petbox.tf import as_written, tf, traced

SIGNATURES = ("serving_default", "detect", "draw")
TRUSTED = 0.5  # the threshold of a class that has none of its own
DECODED_AT_ONCE = 4  # images of a request; each may take 3 bytes per pixel


@dataclass(frozen=True)
class Settings:
    """The settings of an export, stored in the model."""

    input_type: str = "encoded_image_string_tensor"
    min_score: float = 0.05  # of `detect`
    min_score_drawn: float | None = None  # by default the class's threshold, or 0.5
    thresholds: Mapping[int, float] | None = None  # by class: from which score it is trusted
    most_pixels: int = MOST_PIXELS  # of an image
    most_pictures: int = MOST_PICTURES  # of a request
    batches: Batches | None = BY_DEFAULT  # of a run; other models take one image
    whole_canvas: bool = False  # slower, and exactly as in training
    plain: bool = False  # the graph as TensorFlow traces and saves it, without any rewriting
    exif: Literal["apply", "ignore"] = "apply"  # the orientation that files state


class Network(Protocol):
    """A detector: prepares images one by one, detects in batches of prepared ones."""

    ready: tuple[Any, ...]  # the specs of the tensors of one prepared image
    classes: int  # with the background; all class ids are below it
    can_batch: bool  # whether `detect` does the work; otherwise `prepare` does, image by image
    canvases: Sequence[Canvas]  # the sizes that images are padded to; none if each keeps its own
    tracked: Any  # what is saved: variables, or objects that contain them

    def prepare(self, pixels: Any, orientation: Any) -> tuple[Any, ...]:
        """Prepares an image uint8 [H,W,3] as it is stored, with that EXIF orientation."""

    def detect(self, *rows: Any) -> tuple[Any, Any, Any, Any]:
        """Boxes [N,K,4] in fractions, classes, scores, counts [N], of N images; all float32."""


class Servable(tf.Module):
    """The saved object: the network's weights, the label map, the signatures."""

    def __init__(self, network: Network, names: Mapping[int, str], settings: Settings) -> None:
        super().__init__()
        self.weights = network.tracked
        classes = range(network.classes)
        self.names = tf.constant([names.get(label, str(label)) for label in classes])
        self.palette = drawing.palette(classes)
        known, drawn = settings.thresholds or {}, settings.min_score_drawn
        self.thresholds = tf.constant([known.get(label, TRUSTED) for label in classes])
        self.drawn_from = self.thresholds if drawn is None else tf.fill([network.classes], drawn)
        self._settings = settings
        self._trace = traced if settings.plain else sealed
        self._input = INPUT_TYPES[settings.input_type]
        self.network = network
        self._read = self._reading()
        self._detected = _batched_unless_off(network, settings)
        signature = [self._input.spec]
        # Shared by all signatures: each trace takes time and space in the file.
        self._found = self._trace(self._find, self._input.spec)
        self._signatures = {
            name: tf.function(as_written(function), signature)
            for name, function in zip(
                SIGNATURES, (self._classic, self._detect, self._draw), strict=True
            )
        }

    def save(self, folder: Path, label_map: bytes) -> None:
        with tempfile.TemporaryDirectory() as named:  # an asset is named after its file
            path = Path(named, labels.FILE_NAME)
            path.write_bytes(label_map)
            self.label_map = tf.saved_model.Asset(str(path))
            tf.saved_model.save(self, str(folder), signatures=self._signatures)

    def _find(self, inputs: Any) -> Any:
        return self._detected(*self._prepared(inputs))

    def _classic(self, inputs: Any) -> dict[str, Any]:
        boxes, classes, scores, count = self._found(inputs)
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
            "num_detections": count,
        }

    def _detect(self, inputs: Any) -> dict[str, Any]:
        """Detections above the threshold, in as many columns as the longest list needs."""
        found = self._classic(inputs)
        count = _confident(found, self._settings.min_score)
        longest = tf.reduce_max(count)
        within = tf.sequence_mask(count, longest)  # the rest is padding
        boxes, classes, scores = (
            found[f"detection_{name}"][:, :longest] for name in ("boxes", "classes", "scores")
        )
        detected = {
            "detection_boxes": tf.where(within[..., None], boxes, 0.0),
            "detection_classes": tf.where(within, classes, 0.0),
            "detection_names": tf.where(within, self._named(classes), ""),
            "detection_scores": tf.where(within, scores, 0.0),
            "num_detections": tf.cast(count, tf.float32),
        }
        if self._settings.thresholds:
            trusted = tf.gather(self.thresholds, self._table_index(classes))
            detected["detection_thresholds"] = tf.where(within, trusted, 0.0)
        return detected

    def _draw(self, inputs: Any) -> dict[str, Any]:
        """JPEGs in the images' own sizes, decoded again: all at once might not fit in memory."""
        found = self._classic(inputs)
        index = self._table_index(found["detection_classes"])
        keep = found["detection_scores"] >= tf.gather(self.drawn_from, index)
        columns = tf.shape(keep)[1]
        keep &= tf.sequence_mask(tf.cast(found["num_detections"], tf.int32), columns)  # no padding
        palette = tf.gather(self.palette, index)

        def one(item: tuple[Any, ...]) -> Any:
            index, image, boxes, colors, keep = item
            pixels = turned(*self._read(index, image))
            long = tf.reduce_max(tf.shape(pixels)) > LONGEST_SIDE
            pixels = checked(index, tf.where(long, TOO_LONG, VALID), pixels)
            boxes, colors = boxes[keep], colors[keep]
            return drawing.jpeg(drawing.drawn(pixels, boxes, colors))

        items = (
            tf.range(tf.shape(inputs)[0]),
            inputs,
            found["detection_boxes"],
            palette,
            keep,
        )
        jpegs = tf.map_fn(
            one, items, DECODED_AT_ONCE, fn_output_signature=tf.TensorSpec([], tf.string)
        )
        return {"image_bytes": jpegs}

    def _named(self, classes: Any) -> Any:
        """Class names; classes of a wrapped network that its label map lacks get their ids."""
        known = classes < float(self.network.classes)
        ids = tf.strings.as_string(tf.cast(classes, tf.int32))
        return tf.where(known, tf.gather(self.names, self._table_index(classes)), ids)

    def _table_index(self, classes: Any) -> Any:
        return tf.clip_by_value(tf.cast(classes, tf.int32), 0, self.network.classes - 1)

    def _reading(self) -> Callable[..., Any]:
        """A function for the stored pixels [H,W,3] of a request's image and their orientation.

        Shared by all signatures.
        """

        def read(index: Any, image: Any) -> tuple[Any, Any]:
            settings = self._settings
            exif = settings.exif == "apply"
            pixels, orientation = self._input.stored(index, image, settings.most_pixels, exif)
            return tf.ensure_shape(pixels, [None, None, 3]), orientation

        item = tf.TensorSpec(self._input.spec.shape[1:], self._input.spec.dtype)
        index = tf.TensorSpec([], tf.int32)
        return self._trace(read, index, item)

    def _prepared(self, inputs: Any) -> tuple[Any, ...]:
        """The images of a request, each as the network takes it."""

        def one(item: tuple[Any, Any]) -> tuple[Any, ...]:
            return self.network.prepare(*self._read(*item))

        count, most = tf.shape(inputs)[0], self._settings.most_pictures
        some = tf.debugging.Assert(count > 0, ["the request contains no image"])
        few = f"the request contains more than {most} images; send fewer at a time"
        with tf.control_dependencies([some, tf.debugging.Assert(count <= most, [few])]):
            indices = tf.range(count)
        # A network that does its work here needs the image as floats, and uses all cores.
        at_once = DECODED_AT_ONCE if self.network.can_batch else 1
        return tf.map_fn(one, (indices, inputs), at_once, fn_output_signature=self.network.ready)


def _batched_unless_off(network: Network, settings: Settings) -> Any:
    """The network as a function of prepared images, batched unless that is off."""
    rows = [tf.TensorSpec([None, *one.shape], one.dtype) for one in network.ready]
    if not settings.batches:
        return network.detect
    return Batched(traced(network.detect, *rows), settings.batches, settings.most_pictures)


def _confident(found: dict[str, Any], min_score: float) -> Any:
    """The number of detections above the threshold in each image; scores are sorted."""
    confident = tf.cast(found["detection_scores"] >= min_score, tf.int32)
    # Padding has scores as well.
    return tf.minimum(tf.reduce_sum(confident, axis=1), tf.cast(found["num_detections"], tf.int32))
