"""Measures a detector on held-out images: COCO metrics, plots, sheets of mistakes.

A run is evaluated from its checkpoint, an exported model as it is served.
Prints the metrics and a table of the classes, the worst first, and writes to
the run's folder, or to one beside the model (model/toy/1-evaluation):

  evaluation.json        the same, for programs
  precision_recall.png   the curves at an overlap of 0.5
  worst_misses.png       the images with the worst mistakes
  sample.png             images taken evenly from all

examples:
  petbox evaluate --run runs/toy --records data/toy-records
  petbox evaluate --model model/toy/1 --records data/toy-records
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import Json
from petbox.cli.progress import progress
from petbox.data import labels
from petbox.data.records import read_info
from petbox.errors import DataError, ModelError
from petbox.evaluation import coco_metrics, curves
from petbox.evaluation import sheet as evaluation_sheet
from petbox.evaluation import table as evaluation_table
from petbox.evaluation.coco_metrics import Judgement
from petbox.evaluation.comparison import Compared
from petbox.export.versions import newest_version
from petbox.training import runs


@dataclass(frozen=True)
class Options:
    records: Annotated[Path, "folder made by train/make_records.py"]
    run: Annotated[Path | None, "folder made by train/train.py"] = None
    model: Annotated[Path | None, "a SavedModel, or a folder of numbered versions of one"] = None
    out: Annotated[Path | None, "folder for the results (default: RUN, or MODEL-evaluation)"] = None
    split: Annotated[Literal["train", "test"], "which pictures of it"] = "test"
    json: Json = False


@dataclass(frozen=True)
class Detector:
    """What is evaluated, and where that is told."""

    folder: Path
    name: str
    label_map: Path
    out: Path
    exported: bool


def main(options: Options) -> None:
    tried = meant(options)
    names, info = labels.read(tried.label_map), read_info(options.records)
    if names != info.labels:
        raise DataError(
            f"{options.records}: its label map differs from {tried.folder}'s; "
            f"make the records with --label-map {tried.label_map}"
        )
    count = info.pictures.get(options.split, 0)
    if not count:
        raise DataError(
            f"{options.records}: has no pictures to {options.split} with; "
            "make records that have some, or choose the other --split"
        )
    pictures = compared(tried, options, count)
    judgement = coco_metrics.judged(pictures, names)
    text = json.dumps(summary(options.split, judgement), indent=1, ensure_ascii=False)
    if options.json:
        print(text)
    else:
        for name, value in judgement.metrics.items():
            print(f"{name:<10} {evaluation_table.number(value)}")
        print(f"\n{evaluation_table.table(judgement.classes)}")
    tried.out.mkdir(parents=True, exist_ok=True)
    draw(tried, options, pictures, judgement)
    metrics = tried.out / runs.evaluation(options.split)
    with outputs.product(metrics, replace=True) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
        program.say(f"wrote {metrics}")


def meant(options: Options) -> Detector:
    """The one detector that the options name."""
    if options.model and not options.run:
        version = newest_version(options.model)
        label_map = version / "assets" / labels.FILE_NAME
        if not label_map.is_file():
            raise ModelError(
                f"{version}: has no assets/{labels.FILE_NAME}; export it by "
                "export/exporter_savedmodel.py, which can wrap SavedModels of others too"
            )
        # A server of the versions passes over what is no whole number.
        whole = version.resolve()
        out = options.out or whole.with_name(f"{whole.name}-evaluation")
        return Detector(version, f"{whole.parent.name}/{whole.name}", label_map, out, exported=True)
    if options.model or not options.run:
        raise ModelError(f"--run or --model: give one of them, not {2 if options.model else 0}")
    runs.check(options.run)
    label_map, out = options.run / runs.LABEL_MAP, options.out or options.run
    return Detector(options.run, options.run.name, label_map, out, exported=False)


def compared(tried: Detector, options: Options, count: int) -> list[Compared]:
    """What the detector finds in each picture of the split, beside what is there."""
    program.say("loading TensorFlow ...")
    answers = from_model if tried.exported else from_checkpoint
    pictures = []
    with progress("evaluate", count) as advance:
        for picture in answers(tried.folder, options.records, options.split):
            pictures.append(picture)
            advance(1, "")
    return sorted(pictures, key=lambda picture: picture.number)  # the same sample every time


def from_checkpoint(run: Path, records: Path, split: str) -> Iterator[Compared]:
    from petbox.evaluation import predictions
    from petbox.training import checkpoints
    from petbox.training import config as training_config

    config = training_config.load_config(run)
    yield from predictions.compared(config, checkpoints.restored(config, run), records, split)


def from_model(model: Path, records: Path, split: str) -> Iterator[Compared]:
    from petbox.evaluation import model_predictions

    yield from model_predictions.compared(model, records, split)


def draw(
    tried: Detector, options: Options, pictures: Sequence[Compared], judgement: Judgement
) -> None:
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
    plot = curves.plot(judgement.classes, f"{tried.name}: {of_all[3:]}")
    write(tried.out, split, "precision_recall", plot)
    for name, entries in (("worst_misses", shown), ("sample", some)):
        sheet = evaluation_sheet.sheet(entries, titles[name], names, options.records, split)
        write(tried.out, split, name, sheet)


def write(out: Path, split: str, name: str, png: bytes) -> None:
    """A picture beside the metrics, named as they are."""
    metrics = out / runs.evaluation(split)
    path = metrics.with_name(metrics.name.replace("evaluation", name)).with_suffix(".png")
    with outputs.product(path, replace=True) as partial:
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
