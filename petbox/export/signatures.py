"""The detector as a SavedModel: pictures in, boxes in fractions of each picture out.

    serving_default    what the Object Detection API's exporter gives
    detect             the same in fewer words: only what is sure enough, and by name
    draw               the pictures themselves, with the boxes of what is surer still

Pictures are decoded and checked one by one; the network sees only what is sound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from petbox.data import labels
from petbox.export import drawing
from petbox.export.batching import Batches, batched
from petbox.export.canvases import Canvas
from petbox.export.decode.files import MOST_PIXELS, SOUND, refused
from petbox.export.inputs import INPUT_TYPES
from petbox.export.rewrite.grappler import Sealed
from petbox.tf import as_written, tf

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
    whole_canvas: bool = False  # slower, and exactly as in training; see `canvases`


class Network(Protocol):
    """What finds things in pictures: one is made ready, some that are ready are looked at."""

    @property
    def ready(self) -> tuple[Any, ...]:
        """The specs of the tensors that one picture is made ready into."""

    @property
    def classes(self) -> int:
        """All ids of classes are below it."""

    @property
    def can_batch(self) -> bool:
        """Whether pictures are looked at together; otherwise each is when it is made ready."""

    @property
    def canvases(self) -> Sequence[Canvas]:
        """What it looks at pictures on; none where each is taken as it is."""

    @property
    def tracked(self) -> Any:
        """What is saved of it: variables, or what holds them."""

    def prepare(self, pixels: Any) -> tuple[Any, ...]:
        """A picture uint8 [H,W,3] made ready."""

    def detect(self, *rows: Any) -> tuple[Any, Any, Any, Any]:
        """Boxes [N,K,4] in fractions, classes, scores, counts [N], of N pictures; all float32."""


class Servable(tf.Module):
    """What is saved: the network's weights, the label map, the signatures."""

    def __init__(self, network: Network, names: Mapping[int, str], settings: Settings) -> None:
        super().__init__()
        self.weights = network.tracked
        classes = range(network.classes)
        self.names = tf.constant([names.get(label, str(label)) for label in classes])
        self.palette = drawing.palette(classes)
        self._settings = settings
        self._input = INPUT_TYPES[settings.input_type]
        self.network = network
        self._read = self._reading()
        self._detected = _together(network, settings)
        signature = [self._input.spec]
        # One for all signatures: each trace takes a while, and room in the file.
        self._found = Sealed(tf.function(as_written(self._find), signature).get_concrete_function())
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
            "detection_names": tf.where(within, self._named(classes), ""),
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
            long = tf.reduce_max(tf.shape(pixels)) > drawing.LONGEST_SIDE
            pixels = refused(index, tf.where(long, drawing.TOO_LONG, SOUND), pixels)
            colours = tf.gather(self.palette, self._place(classes[:count]))
            return drawing.jpeg(drawing.drawn(pixels, boxes[:count], colours))

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

    def _named(self, classes: Any) -> Any:
        """A wrapped network may know more classes than its label map; those go by their ids."""
        known = classes < float(self.network.classes)
        ids = tf.strings.as_string(tf.cast(classes, tf.int32))
        return tf.where(known, tf.gather(self.names, self._place(classes)), ids)

    def _place(self, classes: Any) -> Any:
        return tf.clip_by_value(tf.cast(classes, tf.int32), 0, self.network.classes - 1)

    def _pixels(self, index: Any, picture: Any) -> Any:
        (pixels,) = self._read(index, picture)
        return pixels

    def _reading(self) -> Callable[..., Any]:
        """Gives the pixels [H,W,3] of a request's picture: one function for all who want them."""

        def read(index: Any, picture: Any) -> tuple[Any]:
            pixels = self._input.pixels(index, picture, self._settings.most_pixels)
            return (tf.ensure_shape(pixels, [None, None, 3]),)

        item = tf.TensorSpec(self._input.spec.shape[1:], self._input.spec.dtype)
        place = tf.TensorSpec([], tf.int32)
        return Sealed(tf.function(as_written(read)).get_concrete_function(place, item))

    def _prepared(self, inputs: Any) -> tuple[Any, ...]:
        """The pictures of a request, each as the network takes it."""

        def one(item: tuple[Any, Any]) -> tuple[Any, ...]:
            return self.network.prepare(self._pixels(*item))

        count, most = tf.shape(inputs)[0], self._settings.most_pictures
        some = tf.debugging.Assert(count > 0, ["the request holds no picture"])
        few = f"the request holds more than {most} pictures; send fewer at a time"
        with tf.control_dependencies([some, tf.debugging.Assert(count <= most, [few])]):
            indices = tf.range(count)
        # A network that does its work here holds the picture as floats, and has use for all cores.
        at_once = DECODED_AT_ONCE if self.network.can_batch else 1
        return tf.map_fn(one, (indices, inputs), at_once, fn_output_signature=self.network.ready)


def _together(network: Network, settings: Settings) -> Any:
    """The network as a function of pictures that are ready, batched if it shall be."""
    rows = [tf.TensorSpec([None, *one.shape], one.dtype) for one in network.ready]
    if not settings.batches:
        return network.detect
    body = tf.function(as_written(network.detect)).get_concrete_function(*rows)
    return batched(body, settings.batches, settings.most_pictures)


def _sure(found: dict[str, Any], min_score: float) -> Any:
    """How many of each picture are sure enough; scores fall from left to right."""
    sure = tf.cast(found["detection_scores"] >= min_score, tf.int32)
    # What fills the rows up has scores as well.
    return tf.minimum(tf.reduce_sum(sure, axis=1), tf.cast(found["num_detections"], tf.int32))
