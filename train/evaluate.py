"""COCO metrics of a finished run on held-out pictures.

    python train/evaluate.py --run runs/toy --records data/toy-records

Prints a table and writes evaluation.json into the run's folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from petbox import labels, products, program, runs
from petbox.errors import DataError
from petbox.records import read_info


@dataclass(frozen=True)
class Options:
    run: Annotated[Path, "folder made by train/train.py"]
    records: Annotated[Path, "folder made by train/make_records.py"]
    split: Annotated[Literal["train", "test"], "which pictures of it"] = "test"


def main(options: Options) -> None:
    runs.check(options.run)
    ours, theirs = labels.read(options.run / runs.LABEL_MAP), read_info(options.records).labels
    if ours != theirs:
        raise DataError(
            f"{options.records}: its label map differs from {options.run}'s; "
            f"make the records with --label-map {options.run / runs.LABEL_MAP}"
        )
    program.say("loading TensorFlow ...")

    from petbox import detector, evaluation

    config = detector.load_config(options.run)
    metrics = evaluation.coco_metrics(
        config, detector.restored(config, options.run), options.records, options.split
    )
    found = {"split": options.split, **{name: round(value, 4) for name, value in metrics.items()}}
    with products.product(options.run / runs.evaluation(options.split), replace=True) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in metrics.items():
        print(f"{name:<10} {value:.3f}")


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
