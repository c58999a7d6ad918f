"""COCO's metrics of a detector: overall, by class, and as curves, all by pycocotools.

Undefined values are None: a class without an animal has no average precision, and does not count
in the means.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petbox.data.records import Example
from petbox.errors import needs
from petbox.wire import Box, Detection

HALF = 0  # index of the overlap 0.5 among COCO's ten
THREE_QUARTERS = 5
MOST_DETECTIONS = 100  # in an image
SIZES = ("small", "medium", "large")  # below 32 x 32 pixels of the image, below 96 x 96, and above


@dataclass(frozen=True)
class Truth:
    label: int
    box: Box
    crowd: bool = False  # one box around many
    difficult: bool = False  # to recognize, as in Pascal VOC

    @property
    def ignored(self) -> bool:
        """Whether it counts neither for nor against a detector."""
        return self.crowd or self.difficult


@dataclass(frozen=True)
class EvaluatedImage:
    """The truth of one image and its detections; boxes are in fractions of the image."""

    number: int  # its position in the records, from 0
    width: int
    height: int
    truth: tuple[Truth, ...]
    detections: tuple[Detection, ...]

    @classmethod
    def of(cls, number: int, example: Example, found: Iterable[Detection]) -> EvaluatedImage:
        rows = zip(
            *(example.classes, example.boxes, example.crowds, example.difficult), strict=True
        )
        truth = tuple(Truth(*row) for row in rows)
        return cls(number, example.width, example.height, truth, tuple(found))


@dataclass(frozen=True)
class ClassScore:
    label: int
    name: str
    animals: int
    average_precision: float | None
    average_precision_at_half: float | None
    average_recall: float | None  # of the boxes of any score
    precision_at_half: tuple[float, ...] | None  # at recalls of 0, 0.01 … 1


@dataclass(frozen=True)
class Metrics:
    overall: dict[str, float | None]
    classes: tuple[ClassScore, ...]  # in the label map's order
    # For each image: indices of detections and of the animals they match; None is an ignored one.
    matches: tuple[dict[int, int | None], ...]
    evaluation: Any  # the finished COCOeval


def measure(images: Sequence[EvaluatedImage], names: Mapping[int, str]) -> Metrics:
    """COCO's metrics over all `images`, whose numbers differ."""
    evaluation = _evaluated(images, names)
    by_size = evaluation.eval["precision"][..., -1]  # [overlap, recall, class, size]
    precision = by_size[..., 0]  # of all sizes together
    recall = evaluation.eval["recall"][..., 0, -1]  # [overlap, class]
    return Metrics(
        overall={
            "mAP": _mean(precision),
            "mAP@0.5": _mean(precision[HALF]),
            "mAP@0.75": _mean(precision[THREE_QUARTERS]),
            **{f"mAP {name}": _mean(by_size[..., at]) for at, name in enumerate(SIZES, 1)},
            f"AR@{MOST_DETECTIONS}": _mean(recall),
        },
        classes=tuple(
            ClassScore(
                label=label,
                name=names[label],
                animals=sum(t.label == label and not t.ignored for p in images for t in p.truth),
                average_precision=_mean(precision[..., at]),
                average_precision_at_half=_mean(precision[HALF, :, at]),
                average_recall=_mean(recall[:, at]),
                precision_at_half=_curve(precision[HALF, :, at]),
            )
            for at, label in enumerate(map(int, evaluation.params.catIds))
        ),
        matches=_matches(images, evaluation),
        evaluation=evaluation,
    )


def _evaluated(images: Sequence[EvaluatedImage], names: Mapping[int, str]) -> Any:
    """A finished COCOeval of boxes."""
    truth = [
        {"iscrowd": int(one.crowd), "difficult": one.difficult}
        | annotation(image, one.label, one.box)
        for image in images
        for one in image.truth
    ]
    found = [
        {"score": one.score, **annotation(image, one.label, one.box)}
        for image in images
        for one in image.detections
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables of its own
        evaluation = needs("pycocotools.cocoeval", "train").COCOeval(
            _coco(images, names, truth), _coco(images, names, found), "bbox"
        )
        evaluation.params.maxDets = [MOST_DETECTIONS]
        _ignore_difficult(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _ignore_difficult(evaluation: Any) -> None:
    """Makes COCOeval ignore difficult objects, which overlap as any other, unlike its crowds."""
    prepare = evaluation._prepare  # it sets `ignore` of each object from `iscrowd`

    def prepare_all() -> None:
        prepare()
        for objects in evaluation._gts.values():
            for one in objects:
                one["ignore"] = int(one["iscrowd"] or one["difficult"])

    evaluation._prepare = prepare_all


def _coco(
    images: Sequence[EvaluatedImage], names: Mapping[int, str], annotations: list[dict[str, Any]]
) -> Any:
    """COCO's index of annotations, numbered from 1 in their order."""
    index = needs("pycocotools.coco", "train").COCO()
    index.dataset = {
        "images": [{"id": p.number, "width": p.width, "height": p.height} for p in images],
        "categories": [{"id": label} for label in sorted(names)],
        "annotations": [{"id": at, **one} for at, one in enumerate(annotations, 1)],
    }
    index.createIndex()
    return index


def annotation(image: EvaluatedImage, label: int, box: Box) -> dict[str, Any]:
    """In COCO's form, without its id."""
    corner_and_size = pixels(image, box)
    area = corner_and_size[2] * corner_and_size[3]
    return {"image_id": image.number, "category_id": label, "bbox": corner_and_size, "area": area}


def pixels(image: EvaluatedImage, box: Box) -> list[float]:
    """A box in COCO's form: left, top, width and height in pixels."""
    ymin, xmin, ymax, xmax = box
    width, height = image.width, image.height
    return [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]


def _matches(
    images: Sequence[EvaluatedImage], evaluation: Any
) -> tuple[dict[int, int | None], ...]:
    """COCO's own matches at an overlap of 0.5, as indices in each image."""
    pairs: dict[int, dict[int, int | None]] = {image.number: {} for image in images}
    # The index in its image of each annotation; COCO's ids count from 1 over all images.
    truth_at = [at for image in images for at in range(len(image.truth))]
    found_at = [at for image in images for at in range(len(image.detections))]
    of_all_sizes = evaluation.params.areaRng[0]
    for result in filter(None, evaluation.evalImgs):  # one for each image, class and size
        if result["aRng"] != of_all_sizes:
            continue
        columns = (result["dtIds"], result["dtMatches"][HALF], result["dtIgnore"][HALF])
        for found, truth, ignored in zip(*columns, strict=True):
            if truth:
                match = None if ignored else truth_at[int(truth) - 1]
                pairs[int(result["image_id"])][found_at[found - 1]] = match
    return tuple(pairs.values())


def _mean(values: Any) -> float | None:
    """The mean as in COCO's summary, where -1 stands for an undefined value."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _curve(precision: Any) -> tuple[float, ...] | None:
    return None if (precision < 0).all() else tuple(map(float, precision))
