"""Runs a LiteRT detector in this process, with LiteRT, numpy and Pillow.

An engine for `petbox.Detector`, as a server is. Accepts and rejects what the SavedModel does.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from petbox.errors import ModelError, needs
from petbox.images import exif
from petbox.litert import bundle, preprocess
from petbox.litert import decode as litert_decode
from petbox.litert.bundle import BOXES, CLASSES, CORNERS, COUNT, IMAGE, SCORES
from petbox.wire import Detection


class LiteDetector:
    """The detector in a folder made by `petbox convert`; safe to use from any thread."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.about = bundle.read(folder)
        self.names = bundle.names(folder)
        self._network = _network(folder / bundle.NETWORK, self.about.padded, threads)
        boxes = self._network.get_output_details()[BOXES]
        self.most_detections = int(boxes["shape"][1])
        self._one_at_a_time = threading.Lock()  # the interpreter has one set of tensors

    def detect(self, image: bytes) -> list[Detection]:
        """The detections in an image file, sorted by score."""
        return self.detections(self.outputs(image))

    def outputs(self, image: bytes) -> dict[str, Any]:
        """The network's outputs for an image file, each with a first dimension of 1."""
        return self.run(*self._prepared(image))

    def run(self, canvas: Any, corners: Any) -> dict[str, Any]:
        """The outputs for what `petbox.litert.preprocess.fitted` returns."""
        with self._one_at_a_time:
            found: dict[str, Any] = self._network(**{IMAGE: canvas, CORNERS: corners})
        return found

    def _prepared(self, image: bytes) -> tuple[Any, Any]:
        pixels = litert_decode.stored(image, self.about.most_pixels)  # up to 120 MB, freed here
        return preprocess.fitted(pixels, self.about, exif.orientation(image))

    def detections(self, found: dict[str, Any]) -> list[Detection]:
        """Those of at least `min_score` in the network's outputs."""
        count = int(found[COUNT][0])
        columns = (found[name][0, :count].tolist() for name in (CLASSES, SCORES, BOXES))
        rows = ((int(label), score, box) for label, score, box in zip(*columns, strict=True))
        names, thresholds = self.names, self.about.thresholds
        return [
            Detection(
                label,
                score,
                (ymin, xmin, ymax, xmax),
                names.get(label, str(label)),
                thresholds.get(label),
            )
            for label, score, (ymin, xmin, ymax, xmax) in rows
            if not score < self.about.min_score  # keeps NaN, which the caller rejects
        ]


def _network(path: Path, canvas: tuple[int, int], threads: int | None) -> Any:
    """The network as a function of named arrays."""
    interpreter = needs("ai_edge_litert.interpreter", "litert").Interpreter
    try:
        loaded = interpreter(model_path=str(path), num_threads=threads or _cores())
        loaded.allocate_tensors()  # the first image would, and log a line
        network = loaded.get_signature_runner(bundle.SIGNATURE)
    except (ValueError, RuntimeError) as error:  # whatever LiteRT raises
        cause = " ".join(str(error).split())
        raise ModelError(f"{path}: LiteRT rejects it ({cause}); convert it again") from error
    shape = tuple(network.get_input_details()[IMAGE]["shape"].tolist())
    if shape != (1, *canvas, 3):
        raise ModelError(
            f"{path}: takes {shape}, but {bundle.ABOUT} states {canvas}; they are of "
            "two conversions, so convert it again"
        )
    return network


def _cores() -> int:
    """The cores that this process may use, if the system reports them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
