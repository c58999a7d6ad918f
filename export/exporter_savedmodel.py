"""Exports a finished run as a SavedModel that takes whole picture files.

    python export/exporter_savedmodel.py --run runs/toy --out model/toy/1

The last part of OUT is the version that TensorFlow Serving will announce.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox import products, program, runs
from petbox.errors import ModelError


@dataclass(frozen=True)
class Options:
    run: Annotated[Path, "folder made by train/train.py"]
    out: Annotated[Path, "folder to make; its name is the version, a whole number"]
    min_score: Annotated[float, "what `detect` leaves out is less sure than this"] = 0.05


def main(options: Options) -> None:
    if not options.out.name.isdecimal():
        raise ModelError(
            f"{options.out}: TensorFlow Serving finds no version in it; "
            f"end the path with a whole number, as in {options.out}/1"
        )
    if not 0 <= options.min_score <= 1:
        raise ModelError(f"--min-score {options.min_score}: a score lies between 0 and 1")
    runs.check(options.run)
    with products.product(options.out) as partial:
        program.say("loading TensorFlow ...")
        from petbox import savedmodel

        start = time.monotonic()
        savedmodel.Servable(options.run, options.min_score).save(partial)
        extra = partial / "assets.extra"
        extra.mkdir()
        shutil.copy(options.run / runs.PARAMS, extra / runs.PARAMS)
    program.say(f"exported in {time.monotonic() - start:.1f} s")
    print(options.out)


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
