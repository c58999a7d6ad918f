"""False alarms: detections at or above a threshold that are on no object.

COCO's precision hardly moves with images that have no objects, so they are counted by image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petbox.evaluation.coco_metrics import EvaluatedImage, Metrics
from petbox.evaluation.mistakes import is_confident

PER_IMAGE = "false alarms per image"
PER_BACKGROUND = "false alarms per image without objects"


def summary(
    images: Sequence[EvaluatedImage], metrics: Metrics, scores: Mapping[int, float]
) -> dict[str, Any]:
    """What evaluation.json has of them, from each class's score on; a mean of none is None."""
    counts = [
        sum(
            is_confident(one, scores) and at not in matches
            for at, one in enumerate(image.detections)
        )
        for image, matches in zip(images, metrics.matches, strict=True)
    ]
    backgrounds = [n for n, image in zip(counts, images, strict=True) if not image.truth]
    return {
        "images": len(images),
        "images without objects": len(backgrounds),
        PER_IMAGE: _mean(counts),
        PER_BACKGROUND: _mean(backgrounds),
    }


def lines(found: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    shown = [f"{PER_IMAGE}: {found[PER_IMAGE]:.3f}"]
    if count := found["images without objects"]:
        of = f"the {count} without objects" if count > 1 else "the one without objects"
        shown.append(f"  {of}: {found[PER_BACKGROUND]:.3f}")
    return "\n".join(shown)


def _mean(counts: Sequence[int]) -> float | None:
    return round(sum(counts) / len(counts), 4) if counts else None
