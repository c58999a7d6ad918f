"""The folder of a detector that needs no TensorFlow.

    model.tflite        the network for LiteRT, from an image on its canvas to boxes
    model.xml           the same for OpenVINO; its weights are in model.bin
    detector.json       its canvas, its limits, and its origin
    label_map.pbtxt     class ids and names

`petbox.litert.convert` writes it, `petbox.litert.detector` reads it. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.errors import DataError, ModelError

NETWORK = "model.tflite"
OPENVINO = "model.xml"
ABOUT = "detector.json"
FORMS = ("float32", "int8")  # of the weights
# The names of the network's signature, its inputs and its outputs.
SIGNATURE = "detect"
IMAGE, CORNERS = "image", "corners"
BOXES, CLASSES, SCORES, COUNT = "boxes", "classes", "scores", "count"

Color = tuple[float, float, float]  # red, green, blue, from 0 to 1


@dataclass(frozen=True)
class LiteModel:
    """The content of detector.json."""

    form: str
    canvas: tuple[int, int]  # height and width that an image is fitted into
    padded: tuple[int, int]  # the same with the padding that the network needs
    mean: Color  # subtracted from colors
    deviation: Color  # colors are divided by it afterwards
    min_score: float  # of a detection
    most_pixels: int  # of an image
    thresholds: Mapping[int, float] = field(default_factory=dict)  # by class; see Detection
    made: Mapping[str, Any] = field(default_factory=dict)  # its origin, versions, verification

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def is_there(folder: Path) -> bool:
    return network(folder).is_file()


def network(folder: Path) -> Path:
    """OpenVINO's, or else LiteRT's."""
    openvino = folder / OPENVINO
    return openvino if openvino.is_file() else folder / NETWORK


def read(folder: Path) -> LiteModel:
    """The content of detector.json, once all files are known to exist."""
    for name in (network(folder).name, ABOUT, labels.FILE_NAME):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder}: not a detector of `petbox convert`, it has no {name}; "
                f"make one: petbox convert --run RUN --out {folder}"
            )
    path = folder / ABOUT
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        for name in ("canvas", "padded"):
            height, width = map(int, stated[name])
            stated[name] = (height, width)
        for name in ("mean", "deviation"):
            red, green, blue = map(float, stated[name])
            stated[name] = (red, green, blue)
        for name, kind in (("min_score", float), ("most_pixels", int)):
            stated[name] = kind(stated[name])
        thresholds = stated.get("thresholds", {})  # folders made before have none
        stated["thresholds"] = {int(label): float(score) for label, score in thresholds.items()}
        return LiteModel(**stated)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(
            f"{path}: not as petbox convert writes it; convert the run again"
        ) from error


def names(folder: Path) -> dict[int, str]:
    try:
        return labels.read(folder / labels.FILE_NAME)
    except DataError as error:
        raise ModelError(str(error)) from error
