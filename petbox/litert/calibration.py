"""Training images as the network's inputs, by which the ranges of its 8-bit numbers are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from petbox.data import records
from petbox.errors import DataError, InvalidImage
from petbox.export import verify
from petbox.litert import decode, preprocess
from petbox.litert.bundle import CORNERS, IMAGE, LiteModel
from petbox.training import config as training_config
from petbox.training.runs import Run
from petbox.training.tfvision import tf

IMAGES = 64


def files(run: Run, given: Path | None) -> list[bytes]:
    """Image files of the records that are given, or else of the run's."""
    if given:
        paths: Iterable[Path] = records.files(given, "train")
    else:
        own = verify.own_records(training_config.load_config(run).task.train_data)
        paths = map(Path, sorted(tf.io.gfile.glob(own)))
    examples = islice(chain.from_iterable(map(records.read, paths)), IMAGES)
    if not (found := [example.encoded for example in examples]):
        lacking = f"{given}: has no" if given else f"{run.folder}: no longer has its"
        raise DataError(
            f"{lacking} training records, and int8 for OpenVINO is calibrated on training images; "
            "pass --records with some, or --form float32"
        )
    return found


def inputs(files: Sequence[bytes], about: LiteModel) -> list[dict[str, Any]]:
    """Of those that the detector does not reject."""
    found = []
    for file in files:
        with suppress(InvalidImage):
            image, corners = preprocess.fitted(decode.stored(file, about.most_pixels), about)
            found.append({IMAGE: image, CORNERS: corners})
    if not found:
        raise DataError("the detector rejects all training images; raise --max-megapixels")
    return found
