"""COCO's metrics of a detector: overall, by class, and as curves, all by pycocotools.

Detectors and pictures' files are not known here. What cannot be said is None: a class without an
animal has no average precision, and does not count in the means.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petbox.errors import needs
from petbox.evaluation.comparison import Compared
from petbox.wire import Box

HALF = 0  # place of the overlap 0.5 among COCO's ten
THREE_QUARTERS = 5
MOST_FOUND = 100  # in a picture


@dataclass(frozen=True)
class ClassScore:
    """How well one class is found."""

    label: int
    name: str
    animals: int
    average_precision: float | None
    average_precision_at_half: float | None
    average_recall: float | None  # of the boxes of any score
    precision_at_half: tuple[float, ...] | None  # at recalls of 0, 0.01 … 1


@dataclass(frozen=True)
class Judgement:
    """What COCO's evaluation says of a detector."""

    metrics: dict[str, float | None]
    classes: tuple[ClassScore, ...]  # in the label map's order
    # For each picture: which detection found which animal, by their places; None is a crowd.
    matches: tuple[dict[int, int | None], ...]


def judged(pictures: Sequence[Compared], names: Mapping[int, str]) -> Judgement:
    """COCO's metrics over all `pictures`, whose numbers differ."""
    evaluation = _evaluated(pictures, names)
    precision = evaluation.eval["precision"][..., 0, -1]  # [overlap, recall, class]
    recall = evaluation.eval["recall"][..., 0, -1]  # [overlap, class]
    return Judgement(
        metrics={
            "mAP": _mean(precision),
            "mAP@0.5": _mean(precision[HALF]),
            "mAP@0.75": _mean(precision[THREE_QUARTERS]),
            f"AR@{MOST_FOUND}": _mean(recall),
        },
        classes=tuple(
            ClassScore(
                label=label,
                name=names[label],
                animals=sum(t.label == label and not t.crowd for p in pictures for t in p.truth),
                average_precision=_mean(precision[..., at]),
                average_precision_at_half=_mean(precision[HALF, :, at]),
                average_recall=_mean(recall[:, at]),
                precision_at_half=_curve(precision[HALF, :, at]),
            )
            for at, label in enumerate(map(int, evaluation.params.catIds))
        ),
        matches=_matches(pictures, evaluation),
    )


def _evaluated(pictures: Sequence[Compared], names: Mapping[int, str]) -> Any:
    """A finished COCOeval of boxes; only of all sizes together."""
    truth = [
        {"iscrowd": int(one.crowd), **_annotation(picture, one.label, one.box)}
        for picture in pictures
        for one in picture.truth
    ]
    found = [
        {"score": one.score, **_annotation(picture, one.label, one.box)}
        for picture in pictures
        for one in picture.found
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables of its own
        evaluation = needs("pycocotools.cocoeval", "train").COCOeval(
            _coco(pictures, names, truth), _coco(pictures, names, found), "bbox"
        )
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.params.maxDets = [MOST_FOUND]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(
    pictures: Sequence[Compared], names: Mapping[int, str], annotations: list[dict[str, Any]]
) -> Any:
    """COCO's index of annotations, which may be none; they are numbered as they come, from 1 on."""
    index = needs("pycocotools.coco", "train").COCO()
    index.dataset = {
        "images": [{"id": p.number, "width": p.width, "height": p.height} for p in pictures],
        "categories": [{"id": label} for label in sorted(names)],
        "annotations": [{"id": at, **one} for at, one in enumerate(annotations, 1)],
    }
    index.createIndex()
    return index


def _annotation(picture: Compared, label: int, box: Box) -> dict[str, Any]:
    corner_and_size = pixels(picture, box)
    area = corner_and_size[2] * corner_and_size[3]
    return {"image_id": picture.number, "category_id": label, "bbox": corner_and_size, "area": area}


def pixels(picture: Compared, box: Box) -> list[float]:
    """A box as COCO has it: left, top, width and height in the picture's pixels."""
    ymin, xmin, ymax, xmax = box
    width, height = picture.width, picture.height
    return [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]


def _matches(pictures: Sequence[Compared], evaluation: Any) -> tuple[dict[int, int | None], ...]:
    """COCO's own pairs at an overlap of 0.5, from its numbers back to places in each picture."""
    pairs: dict[int, dict[int, int | None]] = {picture.number: {} for picture in pictures}
    first_truth, first_found = _firsts(pictures)
    for said in filter(None, evaluation.evalImgs):  # one for each picture and class
        number = int(said["image_id"])
        rows = zip(said["dtIds"], said["dtMatches"][HALF], said["dtIgnore"][HALF], strict=True)
        for found, truth, ignored in rows:
            if truth:
                place = None if ignored else int(truth) - first_truth[number]
                pairs[number][found - first_found[number]] = place
    return tuple(pairs.values())


def _firsts(pictures: Sequence[Compared]) -> tuple[dict[int, int], dict[int, int]]:
    """The numbers of each picture's first annotations."""
    truth, found, next_truth, next_found = {}, {}, 1, 1
    for picture in pictures:
        truth[picture.number], found[picture.number] = next_truth, next_found
        next_truth += len(picture.truth)
        next_found += len(picture.found)
    return truth, found


def _mean(values: Any) -> float | None:
    """As COCO's summary has it: -1 stands for what does not exist."""
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _curve(precision: Any) -> tuple[float, ...] | None:
    return None if (precision < 0).all() else tuple(map(float, precision))
