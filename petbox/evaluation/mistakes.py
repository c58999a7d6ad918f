"""A detector's mistakes in an image, in words, and how bad each is.

    missed          an animal without a confident detection; worse with a lower score
    wrong class     a confident detection on an animal of another class
    badly placed    a confident detection that overlaps its animal by less than COCO's 0.5
    found twice     a confident detection on an animal that another one matches
    false alarm     a confident detection on no animal

A detection is right if COCO's evaluation matches it at an overlap of 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from petbox.errors import needs
from petbox.evaluation.coco_metrics import EvaluatedImage, pixels
from petbox.wire import Detection

CONFIDENT = 0.5  # the threshold of a class that has none of its own
OVERLAPS = 0.5
TOUCHES = 0.1  # below this, a detection is not about that animal


@dataclass(frozen=True)
class Mistake:
    text: str
    badness: float  # 0 to 1


def mistakes(
    image: EvaluatedImage,
    matches: Mapping[int, int | None],
    names: Mapping[int, str],
    scores: Mapping[int, float],
) -> list[Mistake]:
    """The mistakes in one image, the worst first; `matches` are COCO's.

    A detection is confident from its class's score in `scores` on.
    """
    confident = [at for at, one in enumerate(image.detections) if is_confident(one, scores)]
    right = {matches[at] for at in confident if at in matches}
    explained: set[int] = set()
    wrong = [
        _wrong_box(image, at, right, explained, names) for at in confident if at not in matches
    ]
    best = {truth: image.detections[at].score for at, truth in matches.items()}
    missed = [
        _missed(names[animal.label], best.get(at, 0.0))
        for at, animal in enumerate(image.truth)
        if not animal.ignored and at not in right and at not in explained
    ]
    return sorted([*wrong, *missed], key=lambda one: -one.badness)


def is_confident(one: Detection, scores: Mapping[int, float]) -> bool:
    return one.score >= scores.get(one.label, CONFIDENT)


def shown(
    image: EvaluatedImage, matches: Mapping[int, int | None], scores: Mapping[int, float]
) -> list[Detection]:
    """The detections to draw: confident ones, and those that match an animal."""
    return [
        one for at, one in enumerate(image.detections) if is_confident(one, scores) or at in matches
    ]


def _wrong_box(
    image: EvaluatedImage,
    at: int,
    right: set[int | None],
    explained: set[int],
    names: Mapping[int, str],
) -> Mistake:
    """The mistake of a confident detection; the animal it is about is added to `explained`."""
    found = image.detections[at]
    name, score = names.get(found.label, str(found.label)), f"{found.score:.0%}"
    same, same_overlap = _nearest(image, found, same_class=True)
    other, other_overlap = _nearest(image, found, same_class=False)
    if same_overlap >= OVERLAPS or (same_overlap >= TOUCHES and same in right):
        return Mistake(f"{name} found twice ({score})", found.score)
    if other_overlap >= OVERLAPS:
        explained.add(other)
        called = "also called" if other in right else "called"
        true = names[image.truth[other].label]
        return Mistake(f"{true} {called} {name} ({score})", found.score)
    if same_overlap >= TOUCHES:
        explained.add(same)
        text = f"{name} badly placed (overlap {same_overlap:.2f}, {score})"
        return Mistake(text, found.score * (1 - same_overlap))
    return Mistake(f"false alarm: {name} ({score})", found.score)


def _missed(name: str, score: float) -> Mistake:
    return Mistake(f"{name} only at {score:.0%}" if score else f"{name} missed", 1 - score)


def _nearest(image: EvaluatedImage, found: Detection, *, same_class: bool) -> tuple[int, float]:
    """The index of the animal with the largest overlap, of the same class or of the others."""
    overlaps = [
        (overlap, at)
        for at, overlap in _overlaps(image, found)
        if (image.truth[at].label == found.label) == same_class
    ]
    overlap, at = max(overlaps, default=(0.0, -1))
    return at, overlap


def _overlaps(image: EvaluatedImage, found: Detection) -> Iterator[tuple[int, float]]:
    """COCO's overlap with each animal that is not a crowd."""
    animals: Sequence[int] = [at for at, one in enumerate(image.truth) if not one.crowd]
    boxes = [pixels(image, image.truth[at].box) for at in animals]
    if boxes:
        iou = needs("pycocotools.mask", "train").iou
        table = iou([pixels(image, found.box)], boxes, [0] * len(boxes))
        yield from zip(animals, map(float, table[0]), strict=True)
