"""Converts a run's detector to LiteRT or OpenVINO, and compares it with its checkpoint.

LiteRT's contains only LiteRT's own ops, so that it runs wherever LiteRT does. It takes one prepared
image; decoding and scaling are done outside, by Pillow and numpy. The canvas is the whole one of
the training, for every image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from petbox import outputs
from petbox.cli import program
from petbox.data import labels
from petbox.errors import ModelError
from petbox.export import verify
from petbox.export.exporter import versions
from petbox.export.signatures import Settings
from petbox.export.source import Source, load
from petbox.export.trained import TrainedNetwork
from petbox.export.verify import Found
from petbox.litert import bundle, calibration, openvino
from petbox.litert.bundle import BOXES, CLASSES, CORNERS, COUNT, IMAGE, SCORES, LiteModel
from petbox.litert.detector import LiteDetector
from petbox.litert.nms import for_one_image
from petbox.tf import as_written
from petbox.training.runs import Run
from petbox.training.tfvision import preprocess_ops, tf
from petbox.wire import Detection

CONFIDENT = 0.5  # a score
ALIKE = 0.75  # overlap of two boxes of the same animal
LEAST = 0.8  # share of the confident detections that must be reproduced


@dataclass(frozen=True)
class Agreement:
    """The converted detector's confident detections compared with its checkpoint's."""

    pictures: int
    source: str
    detections: int
    found_again: int
    box_difference: float
    score_difference: float

    def __str__(self) -> str:
        images = f"{self.pictures} of {self.source}"
        if not self.detections:
            return f"{images}: no confident detections, so nothing was compared; pass --records"
        return (
            f"{images}: {self.found_again} of {self.detections} confident detections reproduced, "
            f"boxes within {self.box_difference:.1e}, scores within {self.score_difference:.1e}"
        )


def convert(
    run: Run,
    out: Path,
    form: str,
    settings: Settings,
    records: Path | None = None,
    to: str = "litert",
) -> Path:
    """Makes the folder `out`, verified on images of `records`, the run's, or drawn ones."""
    with outputs.product(out) as partial:
        partial.mkdir()
        images: list[bytes] = []
        if to == "openvino":
            openvino.check_installed()
            images = calibration.files(run, records) if form == "int8" else []
        source = load(run, records)
        network = source.build(True, False)
        assert isinstance(network, TrainedNetwork)  # as those of runs are
        about = replace(about_network(network, form, settings), thresholds=run.thresholds)
        if to == "openvino":
            with _for_one_image(network) as folder:
                model = openvino.converted(folder)
            if images:
                model = openvino.in_8_bits(model, calibration.inputs(images, about))
            openvino.write(model, partial / bundle.OPENVINO)
        else:
            (partial / bundle.NETWORK).write_bytes(flatbuffer(network, form))
        (partial / labels.FILE_NAME).write_bytes(source.label_map)
        about.write(partial)
        _verify(partial, source, network, about)
    return out


def flatbuffer(network: TrainedNetwork, form: str) -> bytes:
    with _for_one_image(network) as folder:
        conversion = converter(folder)
        if form == "int8":  # the weights; activations are scaled dynamically
            conversion.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            with program.silent():
                return bytes(conversion.convert())
        except Exception as error:
            if type(error).__name__ != "ConverterError":  # which is not public
                raise
            raise ModelError(
                f"the network cannot be converted to LiteRT's own ops ({_cause(error)}); "
                "train one of the presets"
            ) from error


@contextmanager
def _for_one_image(network: TrainedNetwork) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        save_for_one_image(network, Path(folder))
        yield Path(folder)


def save_for_one_image(network: TrainedNetwork, folder: Path) -> None:
    """Writes the network as a SavedModel of one image, with ops that LiteRT has."""
    height, width, channels = network.ready[0].shape
    specs = (
        tf.TensorSpec([1, height, width, channels], tf.float32, IMAGE),
        tf.TensorSpec([1, 4], tf.float32, CORNERS),
    )
    detect_one = for_one_image(network.body, specs)

    def detect(image: Any, corners: Any) -> dict[str, Any]:
        return dict(zip((BOXES, CLASSES, SCORES, COUNT), detect_one(image, corners), strict=True))

    module = tf.Module()
    module.weights = network.tracked
    signatures = {bundle.SIGNATURE: tf.function(as_written(detect), specs)}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def converter(folder: Path) -> Any:
    """TensorFlow's converter for the SavedModel of one image."""
    made = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[bundle.SIGNATURE])
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return made


def about_network(network: TrainedNetwork, form: str, settings: Settings) -> LiteModel:
    height, width = network.size
    padded = network.ready[0].shape
    return LiteModel(
        form=form,
        canvas=(height, width),
        padded=(padded[0], padded[1]),
        mean=preprocess_ops.MEAN_NORM,
        deviation=preprocess_ops.STDDEV_NORM,
        min_score=settings.min_score,
        most_pixels=settings.most_pixels,
    )


def _verify(folder: Path, source: Source, network: TrainedNetwork, about: LiteModel) -> None:
    """Compares the converted detector with its checkpoint, and writes the result."""
    program.say(f"converted; comparing it with {source.title} ...")
    result = _compared(folder, source, network)
    engine = "openvino" if (folder / bundle.OPENVINO).exists() else "ai-edge-litert"
    made = {**versions(engine, "tensorflow", "tf-models-official"), **source.report}
    replace(about, made={**made, "self_check": asdict(result)}).write(folder)
    program.say(str(result))


def _compared(folder: Path, source: Source, network: TrainedNetwork) -> Agreement:
    lite, images = LiteDetector(folder), source.images
    detections, again, boxes, scores = 0, 0, 0.0, 0.0
    for serialized, expected in zip(images.examples, source.expected(network), strict=True):
        with program.silent():
            actual = lite.detect(verify.file(serialized))
        detections += int((expected.scores >= CONFIDENT).sum())
        for box, score in _found_again(expected, actual):
            again, boxes, scores = again + 1, max(boxes, box), max(scores, score)
    if not enough(again, detections):
        advice = "train longer" if lite.about.form == "float32" else "try --form float32"
        raise ModelError(
            f"the converted detector reproduces {again} of {detections} confident detections of "
            f"{source.title} in {images.source}; nothing was written; {advice}"
        )
    return Agreement(len(images.examples), images.source, detections, again, boxes, scores)


def enough(again: int, detections: int) -> bool:
    """Rounded: of two overlapping ones with nearly the same score, suppression may keep another."""
    return again >= round(LEAST * detections)


def _found_again(expected: Found, found: list[Detection]) -> Iterator[tuple[float, float]]:
    """The differences of box and score for each confident detection that the other list has."""
    left = list(found)
    for box, label, score in zip(expected.boxes, expected.classes, expected.scores, strict=True):
        alike = [one for one in left if one.label == label and _overlap(one.box, box) >= ALIKE]
        if score >= CONFIDENT and alike:
            nearest = max(alike, key=lambda one: _overlap(one.box, box))
            left.remove(nearest)
            difference = float(np.abs(np.subtract(nearest.box, box)).max())
            yield difference, abs(nearest.score - float(score))


def _overlap(one: Any, other: Any) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.clip(high - low, 0, None).prod())
    either = sum(float(np.subtract(box[2:], box[:2]).prod()) for box in (one, other)) - both
    return both / either if either > 0 else 0.0


def _cause(error: Exception) -> str:
    """The converter's message without the graph locations around it."""
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return " ".join((lines or [type(error).__name__])[-1].split("error:")[-1].split())[:200]
