"""Runs a detector's SavedModel in this process.

Uses the signature `detect`, whose output has class names, or else `serving_default`, which
third-party models have.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from petbox.cli.program import silent
from petbox.errors import InvalidImage, ModelError, ServiceError
from petbox.export.model_folder import OUTPUTS
from petbox.serving.model_server.engine import EngineOptions, LoadedModel
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensorflow_engine import TensorFlow
from petbox.wire import Detection

SIGNATURES = ("detect", "serving_default")  # the first that exists
NAMES = "detection_names"
THRESHOLDS = "detection_thresholds"
# An assertion in the graph, whose text is meant for the client.
ASSERTED = re.compile(r"assertion failed: \[(.*?)\]", re.DOTALL)
FUNCTIONS = re.compile(r"^(\{\{function_node \S+\}\} )+")
OF_THE_REQUEST = re.compile(r"^(image|picture) 0 of the request ")  # older exports: picture


class SavedDetector:
    def __init__(self, folder: Path) -> None:
        try:
            with silent():
                self._model: LoadedModel = TensorFlow(EngineOptions(timeout_ms=0)).load(folder)
        except StatusError as error:
            cause = _first_line(error.message)
            raise ModelError(
                f"{folder}: cannot be loaded as a SavedModel ({cause}); export it again"
            ) from error
        self._signature, self._input = _signature(folder, self._model)

    def detect(self, image: bytes) -> list[Detection]:
        """The detections in an image file, in the model's order."""
        try:
            found = self._model.run(self._signature, {self._input: np.array([image], object)})
        except StatusError as error:
            if error.code == "INVALID_ARGUMENT":
                raise InvalidImage(_reason(error.message)) from error
            raise ServiceError(f"the model failed: {_first_line(error.message)}") from error
        return _detections({name: array[0] for name, array in found.items()})


def _signature(folder: Path, model: LoadedModel) -> tuple[str, str]:
    """The names of the signature to run, and of its input."""
    name = next((name for name in SIGNATURES if name in model.signatures), None)
    if name is None:
        raise ModelError(f"{folder}: has no signature {' or '.join(SIGNATURES)}; export it again")
    signature = model.signatures[name]
    if [*signature.inputs.values()] != ["string"]:
        raise ModelError(
            f"{folder}: does not take image files; export it again, with the input type "
            "encoded_image_string_tensor"
        )
    missing = set(OUTPUTS) - set(signature.outputs)
    if missing:
        raise ModelError(f"{folder}: lacks outputs ({', '.join(sorted(missing))}); name a detector")
    return name, next(iter(signature.inputs))


def _detections(found: dict[str, Any]) -> list[Detection]:
    count = int(found["num_detections"])
    names = found[NAMES][:count].tolist() if NAMES in found else [None] * count
    lowest = found[THRESHOLDS][:count].tolist() if THRESHOLDS in found else [None] * count
    boxes, classes, scores = (found[output][:count].tolist() for output in OUTPUTS[:3])
    return [
        Detection(int(label), score, (ymin, xmin, ymax, xmax), name and name.decode(), threshold)
        for label, score, (ymin, xmin, ymax, xmax), name, threshold in zip(
            classes, scores, boxes, names, lowest, strict=True
        )
    ]


def _reason(message: str) -> str:
    asserted = ASSERTED.search(message)
    text = " ".join(asserted[1].split()) if asserted else _first_line(message)
    return OF_THE_REQUEST.sub("the image ", text)


def _first_line(message: str) -> str:
    """The first line with a message, between the graph's names of functions and nodes."""
    lines = (FUNCTIONS.sub("", line).strip() for line in message.splitlines())
    return next(filter(None, lines), "no reason")
