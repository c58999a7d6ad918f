"""Bootstrap intervals: COCO's average precision, computed again for each draw of images."""

from __future__ import annotations

import random

import numpy as np
import pytest

from petbox.evaluation import bootstrap
from petbox.evaluation.coco_metrics import EvaluatedImage, Truth, measure
from petbox.wire import Box, Detection

NAMES = {1: "cat", 2: "dog", 3: "never there"}


def images(count: int) -> list[EvaluatedImage]:
    """Boxes found more or less well, missed, invented, in crowds, and no object at all."""
    chance = random.Random(3)

    def box() -> Box:
        top, left = chance.random() * 0.5, chance.random() * 0.5
        return top, left, top + 0.2 + 0.2 * chance.random(), left + 0.2 + 0.2 * chance.random()

    found = []
    for number in range(count):
        truth = [Truth(chance.choice([1, 2]), box()) for _ in range(chance.randrange(4))]
        truth += [Truth(1, box(), crowd=True)] * (number % 5 == 0)
        detections = [
            Detection(one.label, chance.random(), _moved(one.box, chance.random() * 0.08))
            for one in truth
            if chance.random() < 0.8
        ]
        detections += [Detection(2, chance.random() * 0.7, box())] * (number % 3 == 0)
        found.append(EvaluatedImage(number, 400, 300, tuple(truth), tuple(detections)))
    return found


def _moved(box: Box, by: float) -> Box:
    return box[0] + by, box[1], box[2] + by, box[3]


def test_each_image_once_is_cocos_average_precision() -> None:
    metrics = measure(images(60), NAMES)
    classes = bootstrap._classes(metrics.evaluation, 60)
    found = bootstrap.average_precision(classes, np.ones(60, int), metrics.evaluation)
    expected = [metrics.overall[name] for name in ("mAP", "mAP@0.5")]
    assert found == pytest.approx(expected, abs=1e-9)


def test_an_image_drawn_twice_counts_twice() -> None:
    given = images(30)
    doubled = [*given, *(EvaluatedImage(100 + p.number, *_rest(p)) for p in given[:10])]
    metrics, expected = measure(given, NAMES), measure(doubled, NAMES).overall
    times = np.array([2] * 10 + [1] * 20)
    classes = bootstrap._classes(metrics.evaluation, 30)
    found = bootstrap.average_precision(classes, times, metrics.evaluation)
    assert found == pytest.approx([expected["mAP"], expected["mAP@0.5"]], abs=1e-9)


def _rest(image: EvaluatedImage) -> tuple[int, int, tuple[Truth, ...], tuple[Detection, ...]]:
    return image.width, image.height, image.truth, image.detections


def test_the_interval_holds_the_metric_and_narrows_with_more_images() -> None:
    widths = []
    for count in (20, 200):
        metrics = measure(images(count), NAMES)
        found = bootstrap.intervals(metrics, draws=200)
        for name, (low, high) in found.items():
            assert low < (metrics.overall[name] or 0) < high
        widths.append(found["mAP"][1] - found["mAP"][0])
        assert bootstrap.intervals(metrics, draws=200) == found, "the same every time"
    assert widths[1] < widths[0] / 2


def test_without_an_object_there_is_no_interval() -> None:
    empty = [EvaluatedImage(1, 40, 30, (), (Detection(1, 0.9, (0, 0, 1, 1)),))]
    assert bootstrap.intervals(measure(empty, NAMES), draws=20) == {}
    assert bootstrap.shown(None) == ""
    assert bootstrap.shown((0.25, 0.5)) == "  (95% interval 0.250 to 0.500)"
