"""How far metrics may be from those of all such images: bootstrap intervals over the images.

The images are drawn again and again with replacement, and COCO's average precision is computed of
each draw. The matches stay: an image counts as often as it was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from petbox.evaluation.coco_metrics import HALF, Metrics

LEVEL = 0.95
DRAWS = 500
SEED = 1

Intervals = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Class:
    """The detections of a class, the best first, and its objects; images by their positions."""

    image: Any  # [detections]
    right: Any  # [overlaps, detections]
    wrong: Any  # [overlaps, detections]; neither where it is ignored
    objects: Any  # [images]


def intervals(metrics: Metrics, draws: int = DRAWS) -> Intervals:
    """The ends of the intervals of mAP and mAP@0.5; none where a metric is undefined."""
    evaluation = metrics.evaluation
    count = len(evaluation.params.imgIds)
    classes = _classes(evaluation, count)
    random = np.random.default_rng(SEED)
    drawn = [np.bincount(random.integers(0, count, count), minlength=count) for _ in range(draws)]
    found = [
        one for one in (average_precision(classes, times, evaluation) for times in drawn) if one
    ]
    if not found:
        return {}
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail], axis=0)
    names = ("mAP", "mAP@0.5")
    return {name: (float(low[at]), float(high[at])) for at, name in enumerate(names)}


def shown(ends: tuple[float, float] | None) -> str:
    """For a terminal, behind the metric."""
    return f"  ({LEVEL:.0%} interval {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""


def average_precision(
    classes: Sequence[_Class], times: Any, evaluation: Any
) -> tuple[float, float] | None:
    """mAP and mAP@0.5 with each image counted `times`; None without an object."""
    recalls = evaluation.params.recThrs
    found = [_of_class(one, times, recalls) for one in classes if one.objects @ times]
    if not found:
        return None
    means = np.mean(found, axis=0)
    return float(means.mean()), float(means[HALF])


def _of_class(one: _Class, times: Any, recalls: Any) -> Any:
    """The average precision at each overlap, as COCO's accumulate computes it."""
    weights = times[one.image]
    right, wrong = np.cumsum(one.right * weights, 1), np.cumsum(one.wrong * weights, 1)
    recall = right / (one.objects @ times)
    precision = right / np.maximum(right + wrong, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    # Behind the last detection the precision is zero.
    padded = np.pad(precision, [(0, 0), (0, 1)])
    at = [np.searchsorted(row, recalls, side="left") for row in recall]
    return np.take_along_axis(padded, np.array(at), 1).mean(1)


def _classes(evaluation: Any, images: int) -> list[_Class]:
    overlaps = len(evaluation.params.iouThrs)
    of_a_class = images * len(evaluation.params.areaRng)  # of which the first is of all sizes
    found = []
    for number in range(len(evaluation.params.catIds)):
        results = evaluation.evalImgs[number * of_a_class :][:images]
        there = [(at, one) for at, one in enumerate(results) if one is not None]
        objects = np.zeros(images, int)
        for at, one in there:
            objects[at] = np.count_nonzero(np.logical_not(one["gtIgnore"]))
        scores = np.concatenate([one["dtScores"] for _, one in there] or [np.zeros(0)])
        order = np.argsort(-scores, kind="mergesort")
        empty = np.zeros((overlaps, 0), bool)
        matched = np.hstack([one["dtMatches"] for _, one in there] or [empty])[:, order] > 0
        ignored = np.hstack([one["dtIgnore"] for _, one in there] or [empty])[:, order] > 0
        image = np.repeat([at for at, _ in there], [len(one["dtScores"]) for _, one in there])
        found.append(
            _Class(image.astype(int)[order], matched & ~ignored, ~matched & ~ignored, objects)
        )
    return found
