"""The score from which each class's detections are trusted: the one with the highest F1.

F1 is the harmonic mean of precision and recall at an overlap of 0.5. A threshold lies halfway
between the lowest score that it keeps and the highest that it drops, so that small changes of the
scores change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from petbox.evaluation.coco_metrics import EvaluatedImage, Metrics


@dataclass(frozen=True)
class Threshold:
    score: float
    f1: float
    precision: float
    recall: float


def best(images: Sequence[EvaluatedImage], metrics: Metrics) -> dict[int, Threshold | None]:
    """The best threshold by class id; None for a class without an object or a right detection."""
    found = _by_class(images, metrics)
    return {one.label: _best(found[one.label], one.animals) for one in metrics.classes}


def _by_class(
    images: Sequence[EvaluatedImage], metrics: Metrics
) -> dict[int, list[tuple[float, bool]]]:
    """The score of each detection and whether it is right; without those on a crowd."""
    found: dict[int, list[tuple[float, bool]]] = {one.label: [] for one in metrics.classes}
    for image, matches in zip(images, metrics.matches, strict=True):
        for at, one in enumerate(image.detections):
            if one.label in found and matches.get(at, at) is not None:
                found[one.label].append((one.score, at in matches))
    return found


def _best(found: Sequence[tuple[float, bool]], objects: int) -> Threshold | None:
    """Of detections, each with its score and whether it is right."""
    chosen, right, kept, lowest = None, 0, 0, 1.0
    ranked = sorted(found, reverse=True)
    for score, same in groupby(ranked, key=lambda one: one[0]):
        if chosen and chosen.score == lowest:  # the best so far; now what it drops is known
            chosen = Threshold((lowest + score) / 2, chosen.f1, chosen.precision, chosen.recall)
        correct = [one for _, one in same]
        right, kept, lowest = right + sum(correct), kept + len(correct), score
        f1 = 2 * right / (kept + objects)
        if right and (chosen is None or f1 > chosen.f1):
            chosen = Threshold(score, f1, right / kept, right / objects)
    return chosen


def at(
    images: Sequence[EvaluatedImage], metrics: Metrics, scores: Mapping[int, float]
) -> dict[int, Threshold | None]:
    """F1 of the detections from these `scores` on; None for a class without an object."""
    found = _by_class(images, metrics)
    return {
        one.label: _at(found[one.label], scores[one.label], one.animals) for one in metrics.classes
    }


def _at(found: Sequence[tuple[float, bool]], score: float, objects: int) -> Threshold | None:
    if not objects:
        return None
    kept = [right for one, right in found if one >= score]
    right = sum(kept)
    return Threshold(
        score,
        f1=2 * right / (len(kept) + objects),
        precision=right / len(kept) if kept else 0.0,
        recall=right / objects,
    )


def as_scores(thresholds: Mapping[int, Threshold | None], otherwise: float) -> dict[int, float]:
    return {label: one.score if one else otherwise for label, one in thresholds.items()}
