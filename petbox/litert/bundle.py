"""A detector's folder in LiteRT's form: what lies in it, and what its numbers mean.

    model.tflite        the network, from a picture on its canvas to boxes
    detector.json       its canvas, its limits, and what it was made from
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
ABOUT = "detector.json"
FORMS = ("float32", "int8")  # of the weights
# What goes into the network and comes out, by the names of its signature.
SIGNATURE = "detect"
IMAGE, CORNERS = "image", "corners"
BOXES, CLASSES, SCORES, COUNT = "boxes", "classes", "scores", "count"

Colours = tuple[float, float, float]  # red, green, blue, of 0 to 1


@dataclass(frozen=True)
class LiteModel:
    """All that is known of the detector beside its network and its names."""

    form: str
    canvas: tuple[int, int]  # height and width that a picture is fitted into
    padded: tuple[int, int]  # the same with the edges that the network needs
    mean: Colours  # subtracted from colours
    deviation: Colours  # that they are divided by then
    min_score: float  # less sure ones are left out
    most_pixels: int  # of a picture
    made: Mapping[str, Any] = field(default_factory=dict)  # from what, with what

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def is_there(folder: Path) -> bool:
    """Whether a detector of this form is in the folder."""
    return (folder / NETWORK).is_file()


def read(folder: Path) -> LiteModel:
    """What is said of the detector, once all of it has been seen to be there."""
    for name in (NETWORK, ABOUT, labels.FILE_NAME):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder}: no detector in LiteRT's form, it has no {name}; "
                f"make one: python export/to_litert.py --run RUN --out {folder}"
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
        return LiteModel(**stated)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ModelError(
            f"{path}: not as export/to_litert.py writes it; convert the run again"
        ) from error


def names(folder: Path) -> dict[int, str]:
    try:
        return labels.read(folder / labels.FILE_NAME)
    except DataError as error:
        raise ModelError(str(error)) from error
