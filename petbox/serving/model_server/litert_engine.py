"""Detectors of `petbox convert`, with the signatures of the exporter's SavedModels.

What the SavedModel does in its graph is done here with numpy and Pillow: the same padding, limits
and sentences (`petbox.export.signatures`). The network takes one image at a time; those of a
request are decoded side by side.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from petbox.errors import InvalidImage, ModelError
from petbox.images import draw, exif
from petbox.images.limits import LONGEST_SIDE, MOST_PICTURES, TOO_LONG
from petbox.litert import bundle, decode, preprocess
from petbox.litert.bundle import BOXES, CLASSES, COUNT, SCORES
from petbox.litert.detector import LiteDetector
from petbox.serving.model_server.engine import EngineOptions, Tensors
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensors import shape_text

Tensor = np.ndarray[Any, Any]
# As in petbox.export.signatures, which is a piece of a TensorFlow graph.
TRUSTED = 0.5  # the threshold of a class that has none of its own
DECODED_AT_ONCE = 4
QUALITY = 90
CLASSIC = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


class LiteRT:
    """An engine for the folders of `petbox convert`."""

    _title, _package = "LiteRT", "ai-edge-litert"

    def __init__(self, options: EngineOptions | None = None) -> None:
        self._threads = (
            options and options.intra_op_threads
        ) or None  # else as many as there are cores

    @property
    def name(self) -> str:
        return f"{self._title} {version(self._package).partition('-')[0]}"

    @staticmethod
    def of(folder: Path, options: EngineOptions | None = None) -> LiteRT:
        """The engine of the network in the folder."""
        is_openvino = bundle.network(folder).name == bundle.OPENVINO
        return (OpenVINO if is_openvino else LiteRT)(options)

    def load(self, folder: Path) -> LoadedDetector:
        try:
            loaded = LoadedDetector(LiteDetector(folder.resolve(), self._threads))
        except ModelError as error:
            raise StatusError(str(error)) from error
        loaded.warm_up()
        return loaded


class OpenVINO(LiteRT):
    _title, _package = "OpenVINO", "openvino"


class LoadedDetector:
    def __init__(self, detector: LiteDetector) -> None:
        self._detector = detector
        self.signatures = {
            name: Signature(
                {"inputs": "string"}, sorted(outputs), metadata=_definition(name, outputs)
            )
            for name, outputs in _outputs(detector).items()
        }

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        outputs = RUN[signature](self._detector, _images(tensors["inputs"]))
        return {name: outputs[name] for name in sorted(outputs)}

    def warm_up(self) -> None:
        """Runs each signature once, so that the first request takes no longer than others."""
        content = io.BytesIO()
        Image.new("RGB", (32, 32)).save(content, "PNG")
        for signature in self.signatures:
            self.run(signature, {"inputs": np.array([content.getvalue()], object)})


# The signatures


def _images(inputs: Tensor) -> Sequence[bytes]:
    if inputs.ndim != 1:
        raise StatusError(f"inputs has the shape {shape_text(inputs.shape)}; send [N], N images")
    if not len(inputs):
        raise StatusError("the request contains no image")
    if len(inputs) > MOST_PICTURES:
        raise StatusError(
            f"the request contains more than {MOST_PICTURES} images; send fewer at a time"
        )
    images: list[bytes] = inputs.tolist()
    return images


def _for_each(images: Sequence[bytes], act: Callable[[bytes], Any]) -> list[Any]:
    """What `act` returns for each image; an invalid one rejects the request, by its index."""

    def one(item: tuple[int, bytes]) -> Any:
        index, image = item
        try:
            return act(image)
        except InvalidImage as error:
            why = str(error).removeprefix("the image")
            raise StatusError(f"image {index} of the request{why}") from error

    if len(images) == 1:
        return [one((0, images[0]))]
    with ThreadPoolExecutor(min(DECODED_AT_ONCE, len(images))) as pool:
        return list(pool.map(one, enumerate(images)))


def _classic(detector: LiteDetector, images: Sequence[bytes]) -> Tensors:
    rows = _for_each(images, detector.outputs)
    columns = (
        np.concatenate([row[key] for row in rows]) for key in (BOXES, CLASSES, SCORES, COUNT)
    )
    return {key: column.astype(np.float32) for key, column in zip(CLASSIC, columns, strict=True)}


def _detect(detector: LiteDetector, images: Sequence[bytes]) -> Tensors:
    """Detections above the threshold, in as many columns as the longest list needs."""
    about, found = detector.about, _classic(detector, images)
    confident = (found["detection_scores"] >= about.min_score).sum(axis=1)
    count = np.minimum(confident, found["num_detections"].astype(int))
    within = np.arange(count.max()) < count[:, None]  # the rest is padding
    boxes, classes, scores = (found[name][:, : within.shape[1]] for name in CLASSIC[:3])
    detected = {
        "detection_boxes": np.where(within[..., None], boxes, np.float32(0)),
        "detection_classes": np.where(within, classes, np.float32(0)),
        "detection_names": _by_class(classes, within, partial(_name, detector), object, b""),
        "detection_scores": np.where(within, scores, np.float32(0)),
        "num_detections": count.astype(np.float32),
    }
    if about.thresholds:
        trusted = partial(_threshold, detector)
        detected["detection_thresholds"] = _by_class(classes, within, trusted, np.float32, 0)
    return detected


def _draw(detector: LiteDetector, images: Sequence[bytes]) -> Tensors:
    """JPEGs in the images' own sizes."""
    drawn = np.empty(len(images), object)
    drawn[:] = _for_each(images, partial(_drawn, detector))
    return {"image_bytes": drawn}


def _drawn(detector: LiteDetector, image: bytes) -> bytes:
    pixels = decode.stored(image, detector.about.most_pixels)
    orientation = exif.orientation(image)
    if max(pixels.shape) > LONGEST_SIDE:
        raise decode.invalid(TOO_LONG)
    found = detector.run(*preprocess.fitted(pixels, detector.about, orientation))
    boxes = [
        one
        for one in detector.detections(found)
        if one.score >= (TRUSTED if one.threshold is None else one.threshold)
    ]
    content = io.BytesIO()
    upright = Image.fromarray(np.ascontiguousarray(exif.turned(pixels, orientation)))
    draw.drawn(upright, boxes, detector.names).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _by_class(
    classes: Tensor, within: Tensor, value: Callable[[int], Any], dtype: Any, padding: Any
) -> Tensor:
    table = np.full(classes.shape, padding, dtype)
    for place in zip(*within.nonzero(), strict=True):
        table[place] = value(int(classes[place]))
    return table


def _name(detector: LiteDetector, label: int) -> bytes:
    return detector.names.get(label, str(label)).encode()


def _threshold(detector: LiteDetector, label: int) -> float:
    return detector.about.thresholds.get(label, TRUSTED)


RUN: dict[str, Callable[[LiteDetector, Sequence[bytes]], Tensors]] = {
    "serving_default": _classic,
    "detect": _detect,
    "draw": _draw,
}


# Their description


def _outputs(detector: LiteDetector) -> dict[str, dict[str, tuple[str, list[int]]]]:
    """By signature: the dtype and the shape of each output, where -1 is any size."""
    most = detector.most_detections
    lists = {"detection_boxes": [4], "detection_classes": [], "detection_scores": []}

    def of(columns: int) -> dict[str, tuple[str, list[int]]]:
        shapes = {name: [-1, columns, *rest] for name, rest in lists.items()}
        named = {name: ("DT_FLOAT", shape) for name, shape in shapes.items()}
        return {**named, "num_detections": ("DT_FLOAT", [-1])}

    detect = {**of(-1), "detection_names": ("DT_STRING", [-1, -1])}
    if detector.about.thresholds:
        detect["detection_thresholds"] = ("DT_FLOAT", [-1, -1])
    draw = {"image_bytes": ("DT_STRING", [-1])}
    return {"serving_default": of(most), "detect": detect, "draw": draw}


def _definition(key: str, outputs: dict[str, tuple[str, list[int]]]) -> dict[str, Any]:
    """The signature as TensorFlow Serving's metadata shows it."""
    places = {name: f"StatefulPartitionedCall:{at}" for at, name in enumerate(sorted(outputs))}
    return {
        "inputs": {"inputs": _tensor(f"{key}_inputs:0", "DT_STRING", [-1])},
        "outputs": {name: _tensor(places[name], *outputs[name]) for name in sorted(outputs)},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def _tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "name": name,
        "dtype": dtype,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
    }
