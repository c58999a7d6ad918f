"""COCO metrics of a finished run on held-out pictures, with a plot and sheets to look at.

    python train/evaluate.py --run runs/toy --records data/toy-records

Prints the metrics and a table of the classes, the worst first. Into the run's folder go

    evaluation.json        the same, for programs
    precision_recall.png   the curves at an overlap of 0.5
    worst_misses.png       the pictures with the worst mistakes
    sample.png             pictures taken evenly from all
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox import (
    average_precision,
    class_table,
    evaluation_sheet,
    labels,
    precision_recall,
    products,
    program,
    runs,
)
from petbox.average_precision import Judgement
from petbox.compared import Compared
from petbox.errors import DataError
from petbox.progress import progress
from petbox.records import read_info


@dataclass(frozen=True)
class Options:
    run: Annotated[Path, "folder made by train/train.py"]
    records: Annotated[Path, "folder made by train/make_records.py"]
    split: Annotated[Literal["train", "test"], "which pictures of it"] = "test"


def main(options: Options) -> None:
    runs.check(options.run)
    names, info = labels.read(options.run / runs.LABEL_MAP), read_info(options.records)
    if names != info.labels:
        raise DataError(
            f"{options.records}: its label map differs from {options.run}'s; "
            f"make the records with --label-map {options.run / runs.LABEL_MAP}"
        )
    count = info.pictures.get(options.split, 0)
    if not count:
        raise DataError(
            f"{options.records}: has no pictures to {options.split} with; "
            "make records that have some, or choose the other --split"
        )
    pictures = compared(options, count)
    judgement = average_precision.judged(pictures, names)
    for name, value in judgement.metrics.items():
        print(f"{name:<10} {class_table.number(value)}")
    print(f"\n{class_table.table(judgement.classes)}")
    draw(options, pictures, judgement)
    with products.product(options.run / runs.evaluation(options.split), replace=True) as partial:
        text = json.dumps(summary(options.split, judgement), indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
        program.say(f"wrote {options.run / runs.evaluation(options.split)}")


def compared(options: Options, count: int) -> list[Compared]:
    """What the run's detector finds in each picture of the split, beside what is there."""
    program.say("loading TensorFlow ...")
    from petbox import detector, evaluation

    config = detector.load_config(options.run)
    model = detector.restored(config, options.run)
    pictures = []
    with progress("evaluate", count) as advance:
        for picture in evaluation.compared(config, model, options.records, options.split):
            pictures.append(picture)
            advance(1, "")
    return sorted(pictures, key=lambda picture: picture.number)  # the same sample every time


def draw(options: Options, pictures: Sequence[Compared], judgement: Judgement) -> None:
    names, split = {one.label: one.name for one in judgement.classes}, options.split
    bad = evaluation_sheet.worst(pictures, judgement, names)
    shown, some = bad[: evaluation_sheet.MOST], evaluation_sheet.sample(pictures, judgement)
    of_all = f"of {len(pictures)} {split} pictures"
    titles = {
        "worst_misses": f"{len(shown)} {of_all}: the worst of {len(bad)} with mistakes."
        if bad
        else f"Not one mistake in any {of_all}.",
        "sample": f"{len(some)} {of_all}, taken evenly.",
    }
    plot = precision_recall.plot(judgement.classes, f"{options.run.name}: {of_all[3:]}")
    write(options, "precision_recall", plot)
    for name, entries in (("worst_misses", shown), ("sample", some)):
        sheet = evaluation_sheet.sheet(entries, titles[name], names, options.records, split)
        write(options, name, sheet)


def write(options: Options, name: str, png: bytes) -> None:
    """A picture beside the metrics, named as they are."""
    metrics = options.run / runs.evaluation(options.split)
    path = metrics.with_name(metrics.name.replace("evaluation", name)).with_suffix(".png")
    with products.product(path, replace=True) as partial:
        partial.write_bytes(png)
    program.say(f"wrote {path}")


def summary(split: str, judgement: Judgement) -> dict[str, Any]:
    """The evaluation as JSON has it: null where there is nothing to say."""
    return {
        "split": split,
        **{name: rounded(value) for name, value in judgement.metrics.items()},
        "classes": {
            one.name: {
                "animals": one.animals,
                "AP": rounded(one.average_precision),
                "AP@0.5": rounded(one.average_precision_at_half),
                "AR@100": rounded(one.average_recall),
            }
            for one in judgement.classes
        },
    }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
