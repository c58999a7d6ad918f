"""Measures a detector on test images: COCO metrics, plots, sheets of mistakes.

A run is evaluated from its checkpoint, an exported model as it is served.
Prints the metrics and a table of the classes, the worst first, and writes to
the run's folder, or to one beside the model (model/toy/1-evaluation):

  evaluation.json        the same, for programs
  precision_recall.png   the curves at an overlap of 0.5
  confusion.png          which class each object was detected as
  worst_misses.png       the images with the worst mistakes
  sample.png             images taken evenly from all
  predictions.json       every detection, as COCO results
  truth.json             the objects, as a COCO data set with the same ids

examples:
  petbox evaluate --run runs/toy --records data/toy-records
  petbox evaluate --model model/toy/1 --records data/toy-records
  petbox evaluate --run runs/pets --records 'pet_faces_val.record-*'
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import SCORE, Json
from petbox.cli.progress import progress
from petbox.data import record_check
from petbox.data import records as data_records
from petbox.errors import DataError, ModelError
from petbox.evaluation import (
    coco_files,
    coco_metrics,
    confusion,
    curves,
    false_alarms,
    thresholds,
)
from petbox.evaluation import sheet as evaluation_sheet
from petbox.evaluation import table as evaluation_table
from petbox.evaluation.coco_metrics import EvaluatedImage, Metrics
from petbox.evaluation.mistakes import CONFIDENT
from petbox.evaluation.thresholds import Threshold
from petbox.export import model_folder
from petbox.export.model_folder import ModelFolder
from petbox.training import runs
from petbox.training.runs import Run

if TYPE_CHECKING:
    from petbox.evaluation.predictions import Predict


@dataclass(frozen=True)
class Options:
    records: Annotated[
        Path, "folder made by `petbox records`, or a quoted pattern of TFRecord files"
    ]
    run: Annotated[Path | None, "folder made by `petbox train`"] = None
    model: Annotated[Path | None, "a SavedModel, or a folder of numbered versions of one"] = None
    out: Annotated[Path | None, "folder for the results (default: RUN, or MODEL-evaluation)"] = None
    split: Annotated[Literal["train", "validation", "test"], "which of its images"] = "test"
    threshold: Annotated[
        float | None,
        "score from which detections of every class count as detected (default: the model's own, "
        "or the best of each class on validation images)",
        SCORE,
    ] = None
    json: Json = False


def main(options: Options) -> None:
    detector = load(options)
    count = check(detector, options)
    predict = predictor(detector)
    scores = known_scores(detector, predict, options)
    images = predicted(predict, options.records, options.split, count, "evaluate")
    metrics = coco_metrics.measure(images, detector.names)
    if not scores:
        scores = choose(detector, options.split, images, metrics)
    write(detector, options, images, metrics, scores)


def load(options: Options) -> Run | ModelFolder:
    if options.run and not options.model:
        return runs.read(options.run)
    if options.model and not options.run:
        return model_folder.read(options.model)
    raise ModelError(f"--run or --model: give one of them, not {2 if options.model else 0}")


def check(detector: Run | ModelFolder, options: Options) -> int:
    """The number of images to evaluate; rejects records of other classes, or without images."""
    if data_records.is_pattern(options.records):
        if options.split != Options.split:
            raise DataError(f"--split {options.split}: {options.records} has no splits; remove it")
        files = data_records.files(options.records, options.split)
        return record_check.check(files, detector.names, str(detector.label_map)).images
    info = data_records.read_info(options.records)
    if detector.names != info.labels:
        raise DataError(
            f"{options.records}: its label map differs from {detector.folder}'s; "
            f"make the records with --label-map {detector.label_map}"
        )
    count = info.pictures.get(options.split, 0)
    if not count:
        raise DataError(
            f"{options.records}: has no images in its {options.split} split; "
            "make records that have some, or choose another --split"
        )
    return count


def predictor(detector: Run | ModelFolder) -> Predict:
    program.say_loading()
    from petbox.evaluation import predictions

    if isinstance(detector, Run):
        return predictions.of_run(detector)
    return partial(predictions.of_model, detector)


def predicted(
    predict: Predict, records: Path, split: str, count: int, title: str
) -> list[EvaluatedImage]:
    images = []
    with progress(title, count) as advance:
        for image in predict(records, split):
            images.append(image)
            advance(1, "")
    return sorted(images, key=lambda image: image.number)  # the same sample every time


def known_scores(
    detector: Run | ModelFolder, predict: Predict, options: Options
) -> dict[int, float] | None:
    """From which score each class counts as detected, unless the evaluated images must decide."""
    if options.threshold is not None:
        return dict.fromkeys(detector.names, options.threshold)
    known, count = detector.thresholds, validation_images(options.records)
    if known and (isinstance(detector, ModelFolder) or not count):
        return {label: known.get(label, CONFIDENT) for label in detector.names}
    if isinstance(detector, ModelFolder) or not count or options.split != "test":
        return None
    images = predicted(predict, options.records, "validation", count, "choose thresholds")
    metrics = coco_metrics.measure(images, detector.names)
    return choose(detector, "validation", images, metrics)


def validation_images(records: Path) -> int:
    if data_records.is_pattern(records):
        return 0
    return data_records.read_info(records).pictures.get("validation", 0)


def choose(
    detector: Run | ModelFolder, split: str, images: Sequence[EvaluatedImage], metrics: Metrics
) -> dict[int, float]:
    """The best scores on these images; kept in the run, whose exports get them."""
    best = thresholds.best(images, metrics)
    if isinstance(detector, Run) and split != "train":
        found = {detector.names[label]: round(one.score, 4) for label, one in best.items() if one}
        path = detector.folder / runs.THRESHOLDS
        with outputs.product(path, replace=True) as partial_path:
            text = runs.thresholds(detector.checkpoint, split, found)
            partial_path.write_text(text, encoding="utf-8")
        program.say(f"wrote {path}, chosen on {len(images)} {split} images")
    return thresholds.as_scores(best, CONFIDENT)


def write(
    detector: Run | ModelFolder,
    options: Options,
    images: Sequence[EvaluatedImage],
    metrics: Metrics,
    scores: Mapping[int, float],
) -> None:
    from petbox.evaluation import bootstrap

    intervals = bootstrap.intervals(metrics)
    trusted = thresholds.at(images, metrics, scores)
    alarms = false_alarms.summary(images, metrics, scores)
    confused = confusion.matrix(images, scores)
    result = summary(options.split, metrics, intervals, alarms, trusted, confused)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if options.json:
        print(text)
    else:
        for name, value in metrics.overall.items():
            shown = f"{name:<10} {evaluation_table.number(value)}"
            print(shown + bootstrap.shown(intervals.get(name)))
        print(false_alarms.lines(alarms))
        print(f"\n{evaluation_table.table(metrics.classes, trusted)}")
    whole, out, name = detector.folder.resolve(), options.out, detector.folder.name
    if isinstance(detector, ModelFolder):
        # A server of the versions ignores a folder whose name is not a whole number.
        out, name = out or whole.with_name(f"{whole.name}-evaluation"), "/".join(whole.parts[-2:])
    path = (out or detector.folder) / runs.evaluation(options.split)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {
        path.with_name(path.name.replace("evaluation", kind)).with_suffix(suffix): content
        for (kind, suffix), content in {
            **draw(name, options, images, metrics, scores, confused),
            ("predictions", ".json"): coco_files.predictions(images).encode(),
            ("truth", ".json"): truth(images, detector, options).encode(),
        }.items()
    }
    for file, content in {**files, path: f"{text}\n".encode()}.items():
        with outputs.product(file, replace=True) as partial:
            partial.write_bytes(content)
        program.say(f"wrote {file}")


def truth(images: Sequence[EvaluatedImage], detector: Run | ModelFolder, options: Options) -> str:
    files = [one.name for one in data_records.examples(options.records, options.split)]
    return coco_files.truth(images, detector.names, files)


def draw(
    name: str,
    options: Options,
    images: Sequence[EvaluatedImage],
    metrics: Metrics,
    scores: Mapping[int, float],
    confused: Sequence[Sequence[int]],
) -> dict[tuple[str, str], bytes]:
    names, split = {one.label: one.name for one in metrics.classes}, options.split
    bad = evaluation_sheet.worst(images, metrics, names, scores)
    shown, some = bad[: evaluation_sheet.MOST], evaluation_sheet.sample(images, metrics, scores)
    of_all = f"of {len(images)} {split} images"
    titles = {
        "worst_misses": f"{len(shown)} {of_all}: the worst of {len(bad)} with mistakes."
        if bad
        else f"No mistake in any {of_all}.",
        "sample": f"{len(some)} {of_all}, an even sample.",
    }
    what = f"{name}: {of_all[3:]}"
    pngs = {
        "precision_recall": curves.plot(metrics.classes, what),
        "confusion": confusion.plot(confused, list(names.values()), what),
        **{
            kind: evaluation_sheet.sheet(entries, titles[kind], names, options.records, split)
            for kind, entries in (("worst_misses", shown), ("sample", some))
        },
    }
    return {(kind, ".png"): png for kind, png in pngs.items()}


def summary(
    split: str,
    metrics: Metrics,
    intervals: Mapping[str, tuple[float, float]],
    alarms: dict[str, Any],
    trusted: Mapping[int, Threshold | None],
    confused: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """The content of evaluation.json: null for what does not exist."""
    return {
        "split": split,
        **{name: rounded(value) for name, value in metrics.overall.items()},
        "intervals": {name: [rounded(end) for end in ends] for name, ends in intervals.items()},
        **alarms,
        "classes": {
            one.name: {
                "animals": one.animals,
                "AP": rounded(one.average_precision),
                "AP@0.5": rounded(one.average_precision_at_half),
                "AR@100": rounded(one.average_recall),
                **_when_trusted(trusted[one.label]),
            }
            for one in metrics.classes
        },
        "confusion": {
            "classes": [*(one.name for one in metrics.classes), confusion.BACKGROUND],
            "counts": confused,
        },
    }


def _when_trusted(found: Threshold | None) -> dict[str, float | None]:
    """F1, what it is made of, and the score from which it holds."""
    if found is None:
        return dict.fromkeys(("F1", "precision", "recall", "threshold"))
    return {
        "F1": rounded(found.f1),
        "precision": rounded(found.precision),
        "recall": rounded(found.recall),
        "threshold": rounded(found.score),
    }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
