"""Training images as the network's inputs, by which the ranges of its 8-bit numbers are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from petbox.data import records
from petbox.errors import DataError
from petbox.export import verify
from petbox.litert import decode, preprocess
from petbox.litert.bundle import CORNERS, IMAGE, LiteModel
from petbox.training import config as training_config
from petbox.training.runs import Run
from petbox.training.tfvision import tf

IMAGES = 64


def inputs(run: Run, given: Path | None, about: LiteModel) -> list[dict[str, Any]]:
    """For images of the records that are given, or else of the run's."""
    if given:
        paths: Iterable[Path] = records.files(given, "train")
    else:
        own = verify.own_records(training_config.load_config(run).task.train_data)
        paths = map(Path, sorted(tf.io.gfile.glob(own)))
    examples = islice(chain.from_iterable(map(records.read, paths)), IMAGES)
    pixels = (decode.stored(example.encoded, about.most_pixels) for example in examples)
    fitted = (preprocess.fitted(one, about) for one in pixels)
    found = [{IMAGE: image, CORNERS: corners} for image, corners in fitted]
    if not found:
        raise DataError(
            f"{given or run.folder}: has no training records any more, and int8 for OpenVINO is "
            "calibrated on training images; pass --records, or --form float32"
        )
    return found
