"""How well a detector's anchors cover the training boxes, and anchors that cover them better.

An anchor is a box that a detector starts from. A training box is covered if some
anchor at some place has an IoU of at least a half with it; one that is not is hardly ever found.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from petbox.data import records
from petbox.data.records import Example

Floats = npt.NDArray[np.float64]

COVERED = 0.5
SMALL, LARGE = 32, 96  # COCO's limits, in pixels of the canvas
TALL, WIDE = 2 / 3, 3 / 2  # width through height
# What `--anchors auto` tries.
SIZES = tuple(2 ** (step / 4) for step in range(0, 17))  # in strides: 1 to 16
RATIOS = ((1.0,), (0.5, 1.0, 2.0), (0.33, 1.0, 3.0), (0.25, 0.5, 1.0, 2.0, 4.0))
ENOUGH = 2000  # boxes to choose by
WORTH = 0.01  # of mean IoU, that one more anchor at each place must gain


@dataclass(frozen=True)
class Boxes:
    """The boxes of a set of images in pixels of a detector's canvas."""

    centers: Floats  # [n,2], y and x
    sizes: Floats  # [n,2], height and width
    most: int  # boxes in one image

    def __len__(self) -> int:
        return len(self.sizes)

    def scaled(self, factor: float) -> Boxes:
        return Boxes(self.centers * factor, self.sizes * factor, self.most)


@dataclass(frozen=True)
class Anchors:
    """Of one place at each level: `per_octave` sizes from `size` strides up, in each ratio."""

    levels: range
    size: float
    per_octave: int
    ratios: tuple[float, ...]  # width through height

    def shapes(self) -> list[tuple[int, float, float]]:
        """The stride, height and width of each."""
        return [
            (2**level, side / ratio**0.5, side * ratio**0.5)
            for level in self.levels
            for step in range(self.per_octave)
            for side in [2**level * self.size * 2 ** (step / self.per_octave)]
            for ratio in self.ratios
        ]


def of_config(model: Any) -> Anchors:
    anchor = model.anchor
    levels, ratios = range(model.min_level, model.max_level + 1), tuple(anchor.aspect_ratios)
    return Anchors(levels, anchor.anchor_size, anchor.num_scales, ratios)


def boxes_of(patterns: Iterable[str], canvas: Sequence[int]) -> Boxes:
    """The boxes of local records on a canvas of this height and width; crowds do not count."""
    centers, sizes, most = [np.zeros([0, 2])], [np.zeros([0, 2])], 0
    for pattern in patterns:
        if "://" in pattern:  # too slow to be read once more
            continue
        for file in records.files(Path(pattern), "train"):
            for example in records.read(file):
                boxes = _on_canvas(example, canvas)
                most = max(most, len(example.classes))
                centers.append((boxes[:, :2] + boxes[:, 2:]) / 2)
                sizes.append(boxes[:, 2:] - boxes[:, :2])
    return Boxes(np.concatenate(centers), np.concatenate(sizes), most)


def _on_canvas(example: Example, canvas: Sequence[int]) -> Floats:
    scale = min(canvas[0] / example.height, canvas[1] / example.width)
    sides = np.array([example.height, example.width] * 2) * scale
    boxes = np.array(example.boxes, np.float64).reshape(-1, 4) * sides
    crowds = np.array(example.crowds or [False] * len(boxes), bool)
    return np.asarray(boxes[~crowds])


def best_ious(boxes: Boxes, anchors: Anchors, canvas: Sequence[int]) -> Floats:
    """The IoU of each box with the anchor that covers it best."""
    best = np.zeros(len(boxes))
    for stride, height, width in anchors.shapes():
        # The anchor of a shape that overlaps most is the one whose center is nearest.
        cells = np.clip(np.floor(boxes.centers / stride), 0, np.ceil(np.array(canvas) / stride) - 1)
        apart = np.abs(boxes.centers - (cells + 0.5) * stride)
        shape = np.array([height, width])
        common = np.minimum((boxes.sizes + shape) / 2 - apart, np.minimum(boxes.sizes, shape))
        overlap = np.prod(np.maximum(common, 0), axis=1)
        union = np.prod(boxes.sizes, axis=1) + height * width - overlap
        best = np.maximum(best, overlap / union)
    return best


def coverage(boxes: Boxes, anchors: Anchors, canvas: Sequence[int]) -> str:
    """The share of boxes that the anchors cover, of all and by size and shape."""
    ious = best_ious(boxes, anchors, canvas)
    side, ratio = np.sqrt(np.prod(boxes.sizes, axis=1)), boxes.sizes[:, 1] / boxes.sizes[:, 0]
    groups = {
        "small": side < SMALL,
        "medium": (side >= SMALL) & (side <= LARGE),
        "large": side > LARGE,
        "tall": ratio < TALL,
        "square": (ratio >= TALL) & (ratio <= WIDE),
        "wide": ratio > WIDE,
    }
    parts = [
        f"{name} {np.mean(ious[group] >= COVERED):.0%} of {np.sum(group)}"
        for name, group in groups.items()
        if group.any()
    ]
    return (
        f"anchors: {np.mean(ious >= COVERED):.0%} of {len(boxes)} training boxes have an anchor "
        f"with an IoU of {COVERED} or more ({', '.join(parts)})"
    )


def fit(config: Any, patterns: Sequence[str], auto: bool) -> Iterator[str]:
    """Fits anchors, if `auto`, and the number of objects in an image; yields what to report."""
    model, parser = config.task.model, config.task.train_data.parser
    canvas = model.input_size[:2]
    boxes = boxes_of(patterns, canvas)
    if not len(boxes):
        return
    parser.max_num_instances = boxes.most
    if auto:
        scales = sorted({parser.aug_scale_min, 1.0, parser.aug_scale_max})
        best = chosen(boxes, of_config(model).levels, canvas, scales)
        model.anchor.anchor_size, model.anchor.num_scales = best.size, best.per_octave
        model.anchor.aspect_ratios = list(best.ratios)
        sides = ", ".join(f"{2**level * best.size:.0f}" for level in best.levels)
        ratios = ", ".join(f"{ratio:g}" for ratio in best.ratios)
        yield (
            f"anchors auto: sides of {sides} pixels, {best.per_octave} per octave, "
            f"width through height {ratios}"
        )
    yield coverage(boxes, of_config(model), canvas)


def chosen(boxes: Boxes, levels: range, canvas: Sequence[int], scales: Sequence[float]) -> Anchors:
    """The anchors that cover `boxes` best, at each of the `scales` that augmentation gives them."""
    some = slice(None, None, 1 + len(boxes) // ENOUGH)
    boxes = Boxes(boxes.centers[some], boxes.sizes[some], boxes.most)
    scaled = [boxes.scaled(scale) for scale in scales]
    quantiles = np.quantile(boxes.sizes[:, 1] / boxes.sizes[:, 0], [0.1, 0.5, 0.9])
    own = tuple(sorted({round(float(ratio), 2) for ratio in quantiles}))

    def worth(anchors: Anchors) -> float:
        ious = np.concatenate([best_ious(each, anchors, canvas) for each in scaled])
        places = anchors.per_octave * len(anchors.ratios)
        return float(np.mean(ious >= COVERED) + np.mean(ious) - WORTH * places)

    tried = itertools.product(SIZES, (1, 2, 3), (*RATIOS, own))
    return max((Anchors(levels, *each) for each in tried), key=worth)
