"""Runs a detector of `petbox convert` in this process, with LiteRT or OpenVINO, numpy and Pillow.

An engine for `petbox.Detector`, as a server is. Accepts and rejects what the SavedModel does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
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
        path = bundle.network(folder)
        load = _openvino if path.name == bundle.OPENVINO else _litert
        self._network, image, boxes = load(path, threads or _cores())
        if image != (1, *self.about.padded, 3):
            raise ModelError(
                f"{path}: takes {image}, but {bundle.ABOUT} states {self.about.padded}; they are "
                "of two conversions, so convert it again"
            )
        self.most_detections = boxes[1]
        self._one_at_a_time = threading.Lock()  # the network has one set of tensors

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


Shape = tuple[int, ...]
# The network as a function of named arrays, and the shapes of the image and of the boxes.
Loaded = tuple[Callable[..., dict[str, Any]], Shape, Shape]


def _litert(path: Path, threads: int) -> Loaded:
    interpreter = needs("ai_edge_litert.interpreter", "litert").Interpreter
    try:
        loaded = interpreter(model_path=str(path), num_threads=threads)
        loaded.allocate_tensors()  # the first image would, and log a line
        network = loaded.get_signature_runner(bundle.SIGNATURE)
    except (ValueError, RuntimeError) as error:  # whatever LiteRT raises
        raise _rejected(path, "LiteRT", error) from error
    image = network.get_input_details()[IMAGE]["shape"]
    boxes = network.get_output_details()[BOXES]["shape"]
    return network, tuple(image.tolist()), tuple(boxes.tolist())


def _openvino(path: Path, threads: int) -> Loaded:
    # Else TBB lets one of its libraries prefer glibc's allocator to a preloaded one, such as the
    # tcmalloc that container/serve preloads, and what the one allocates, the other cannot free.
    os.environ["TBB_ENABLE_SANITIZERS"] = "1"
    settings = {
        # Else bfloat16 where the processor has it, with which small networks end the process.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # else two servers on a machine share the same cores
    }
    try:
        model = needs("openvino", "openvino").Core().compile_model(path, "CPU", settings)
        request = model.create_infer_request()
        image, boxes = model.input(IMAGE).shape, model.output(BOXES).shape
    except RuntimeError as error:
        raise _rejected(path, "OpenVINO", error) from error

    def network(**arrays: Any) -> dict[str, Any]:
        found = request.infer(arrays)
        return {name: found[name] for name in (BOXES, CLASSES, SCORES, COUNT)}

    return network, tuple(image), tuple(boxes)


def _rejected(path: Path, engine: str, error: Exception) -> ModelError:
    # Above it are lines of their programs.
    cause = (str(error).strip() or type(error).__name__).splitlines()[-1].strip(" !")
    return ModelError(f"{path}: {engine} rejects it ({cause}); convert it again")


def _cores() -> int:
    """The cores that this process may use, if the system reports them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
