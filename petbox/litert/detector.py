"""The detector without TensorFlow: LiteRT, numpy and Pillow, in this process.

An engine for `petbox.Detector`, as a server is.
Takes what the SavedModel takes and refuses what it refuses; draws nothing, batches nothing.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from petbox.errors import ModelError, needs
from petbox.litert import bundle, preprocess
from petbox.litert import decode as litert_decode
from petbox.litert.bundle import BOXES, CLASSES, CORNERS, COUNT, IMAGE, SCORES
from petbox.wire import Detection


class LiteDetector:
    """The detector in a folder made by export/to_litert.py; may be asked from any thread."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.about = bundle.read(folder)
        self.names = bundle.names(folder)
        self._network = _network(folder / bundle.NETWORK, self.about.padded, threads)
        self._one_at_a_time = threading.Lock()  # its tensors are one set

    def detect(self, picture: bytes) -> list[Detection]:
        """What is in `picture`, a file of any kind that is read, the surest first."""
        pixels = litert_decode.pixels(picture, self.about.most_pixels)
        image, corners = preprocess.fitted(pixels, self.about)
        del pixels  # up to 120 MB that the network may use
        with self._one_at_a_time:
            found = self._network(**{IMAGE: image, CORNERS: corners})
        return self._detections(found)

    def _detections(self, found: dict[str, Any]) -> list[Detection]:
        count = int(found[COUNT][0])
        rows = zip(
            found[CLASSES][0, :count].tolist(),
            found[SCORES][0, :count].tolist(),
            found[BOXES][0, :count].tolist(),
            strict=True,
        )
        return [
            Detection(
                int(label),
                score,
                (ymin, xmin, ymax, xmax),
                self.names.get(int(label), str(int(label))),
            )
            for label, score, (ymin, xmin, ymax, xmax) in rows
            if not score < self.about.min_score  # NaN is for whoever asks to complain of
        ]


def _network(path: Path, canvas: tuple[int, int], threads: int | None) -> Any:
    """The network as a function of named arrays."""
    interpreter = needs("ai_edge_litert.interpreter", "litert").Interpreter
    try:
        loaded = interpreter(model_path=str(path), num_threads=threads or _cores())
        network = loaded.get_signature_runner(bundle.SIGNATURE)
    except (ValueError, RuntimeError) as error:  # whatever it makes of a file
        gist = " ".join(str(error).split())
        raise ModelError(f"{path}: LiteRT does not take it ({gist}); convert it again") from error
    shape = tuple(network.get_input_details()[IMAGE]["shape"].tolist())
    if shape != (1, *canvas, 3):
        raise ModelError(
            f"{path}: takes {shape}, and {bundle.ABOUT} beside it says {canvas}; they are of "
            "two conversions, so convert it again"
        )
    return network


def _cores() -> int:
    """Those that this process may use, where the system says it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
