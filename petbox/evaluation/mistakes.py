"""What a detector got wrong in a picture, in words, and how bad that is.

    missed          an animal without a box that is sure; worse the less sure
    wrong class     a sure box on an animal of another class
    badly placed    a sure box that is off its animal by more than COCO's 0.5 lets pass
    found twice     a sure box on an animal that another box has found
    false alarm     a sure box on nothing

Right is what COCO's evaluation calls right at an overlap of 0.5. Chooses and draws no pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from petbox.errors import needs
from petbox.evaluation.coco_metrics import pixels
from petbox.evaluation.comparison import Compared
from petbox.wire import Detection

SURE = 0.5  # what `petbox detect` shows unless it is told otherwise
OVERLAPS = 0.5
TOUCHES = 0.1  # below this a box is about something else


@dataclass(frozen=True)
class Miss:
    """One thing that is wrong in a picture."""

    text: str
    badness: float  # 0 to 1


def misses(
    picture: Compared, matches: Mapping[int, int | None], names: Mapping[int, str]
) -> list[Miss]:
    """All that is wrong in one picture, the worst first; `matches` are COCO's pairs in it."""
    sure = [at for at, one in enumerate(picture.found) if one.score >= SURE]
    right = {matches[at] for at in sure if at in matches}
    explained: set[int] = set()
    wrong = [_wrong_box(picture, at, right, explained, names) for at in sure if at not in matches]
    unsure = {truth: picture.found[at].score for at, truth in matches.items()}
    missed = [
        _missed(names[animal.label], unsure.get(at, 0.0))
        for at, animal in enumerate(picture.truth)
        if not animal.crowd and at not in right and at not in explained
    ]
    return sorted([*wrong, *missed], key=lambda miss: -miss.badness)


def shown(picture: Compared, matches: Mapping[int, int | None]) -> list[Detection]:
    """The boxes that such a judgement is about: the sure ones, and those that found an animal."""
    return [one for at, one in enumerate(picture.found) if one.score >= SURE or at in matches]


def _wrong_box(
    picture: Compared,
    at: int,
    right: set[int | None],
    explained: set[int],
    names: Mapping[int, str],
) -> Miss:
    """What is wrong with a sure box; the animal that it was meant for joins `explained`."""
    found = picture.found[at]
    name, score = names.get(found.label, str(found.label)), f"{found.score:.0%}"
    same, same_overlap = _nearest(picture, found, of_its_class=True)
    other, other_overlap = _nearest(picture, found, of_its_class=False)
    if same_overlap >= OVERLAPS or (same_overlap >= TOUCHES and same in right):
        return Miss(f"{name} found twice ({score})", found.score)
    if other_overlap >= OVERLAPS:
        explained.add(other)
        called = "also called" if other in right else "called"
        true = names[picture.truth[other].label]
        return Miss(f"{true} {called} {name} ({score})", found.score)
    if same_overlap >= TOUCHES:
        explained.add(same)
        text = f"{name} badly placed (overlap {same_overlap:.2f}, {score})"
        return Miss(text, found.score * (1 - same_overlap))
    return Miss(f"false alarm: {name} ({score})", found.score)


def _missed(name: str, score: float) -> Miss:
    return Miss(f"{name} only {score:.0%} sure" if score else f"{name} missed", 1 - score)


def _nearest(picture: Compared, found: Detection, *, of_its_class: bool) -> tuple[int, float]:
    """The place of the animal that overlaps most, of the box's class or of the others."""
    overlaps = [
        (overlap, at)
        for at, overlap in _overlaps(picture, found)
        if (picture.truth[at].label == found.label) == of_its_class
    ]
    overlap, at = max(overlaps, default=(0.0, -1))
    return at, overlap


def _overlaps(picture: Compared, found: Detection) -> Iterator[tuple[int, float]]:
    """COCO's overlap with each animal that is no crowd."""
    animals: Sequence[int] = [at for at, one in enumerate(picture.truth) if not one.crowd]
    boxes = [pixels(picture, picture.truth[at].box) for at in animals]
    if boxes:
        iou = needs("pycocotools.mask", "train").iou
        table = iou([pixels(picture, found.box)], boxes, [0] * len(boxes))
        yield from zip(animals, map(float, table[0]), strict=True)
