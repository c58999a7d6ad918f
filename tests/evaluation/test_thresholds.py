"""The best threshold of each class, and the confusion matrix."""

from __future__ import annotations

import io
import warnings

import pytest
from PIL import Image

from petbox.evaluation import confusion
from petbox.evaluation.coco_metrics import EvaluatedImage, Truth, measure
from petbox.evaluation.thresholds import Threshold, as_scores, at, best
from petbox.wire import Box, Detection

NAMES = {1: "chat à poil", 3: "dog $2$", 4: "never there"}
BOX: Box = (0.1, 0.1, 0.5, 0.5)
NEAR: Box = (0.12, 0.1, 0.52, 0.5)
ELSEWHERE: Box = (0.6, 0.6, 0.9, 0.9)


def image(
    number: int, truth: tuple[Truth, ...] = (), *detections: tuple[int, float, Box]
) -> EvaluatedImage:
    found = tuple(Detection(*one) for one in detections)
    return EvaluatedImage(number, 400, 300, truth, found)


def thresholds(*images: EvaluatedImage) -> dict[int, Threshold | None]:
    return best(images, measure(images, NAMES))


def test_the_threshold_parts_right_from_wrong() -> None:
    found = thresholds(
        image(1, (Truth(1, BOX),), (1, 0.8, BOX), (1, 0.4, ELSEWHERE)),
        image(2, (Truth(1, BOX),), (1, 0.6, NEAR), (1, 0.3, ELSEWHERE)),
    )
    assert found == {1: Threshold(0.5, 1.0, 1.0, 1.0), 3: None, 4: None}
    assert as_scores(found, 0.7) == {1: 0.5, 3: 0.7, 4: 0.7}


def test_the_best_f1_weighs_precision_and_recall() -> None:
    """Keeping the second object costs one false alarm, the third four."""
    alarms = tuple((1, score, ELSEWHERE) for score in (0.5, 0.49, 0.48, 0.47))
    found = thresholds(
        image(1, (Truth(1, BOX),), (1, 0.9, BOX)),
        image(2, (Truth(1, BOX),), (1, 0.7, BOX), (1, 0.8, ELSEWHERE)),
        image(3, (Truth(1, BOX),), (1, 0.2, BOX), *alarms),
    )[1]
    assert found == Threshold(0.6, pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_a_false_alarm_with_the_same_score_counts_with_it() -> None:
    found = thresholds(image(1, (Truth(1, BOX),), (1, 0.8, BOX), (1, 0.8, ELSEWHERE)))[1]
    assert found is not None
    assert (found.score, found.precision, found.recall) == (0.8, 0.5, 1.0)


def test_f1_can_be_measured_at_other_thresholds() -> None:
    images = [
        image(1, (Truth(1, BOX),), (1, 0.8, BOX), (1, 0.4, ELSEWHERE)),
        image(2, (Truth(3, BOX),), (1, 0.9, ELSEWHERE)),
    ]
    found = at(images, measure(images, NAMES), {1: 0.4, 3: 0.5, 4: 0.5})
    assert found[1] == Threshold(0.4, pytest.approx(0.5), pytest.approx(1 / 3), 1.0)
    assert found[3] == Threshold(0.5, 0.0, 0.0, 0.0)
    assert found[4] is None


def test_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = Truth(1, ELSEWHERE, crowd=True)
    found = thresholds(image(1, (Truth(1, BOX), crowd), (1, 0.8, BOX), (1, 0.9, ELSEWHERE)))[1]
    assert found == Threshold(0.8, 1.0, 1.0, 1.0)


def test_objects_are_counted_by_what_they_were_detected_as() -> None:
    scores = {1: 0.5, 3: 0.5, 4: 0.9}
    crowd = Truth(1, ELSEWHERE, crowd=True)
    counts = confusion.matrix(
        [
            image(1, (Truth(1, BOX),), (1, 0.6, NEAR), (3, 0.9, ELSEWHERE)),  # and a false alarm
            image(2, (Truth(1, BOX),), (3, 0.6, NEAR), (1, 0.4, BOX)),  # taken for a dog
            image(3, (Truth(3, BOX),), (3, 0.4, BOX), (4, 0.8, BOX)),  # missed
            image(4, (crowd,), (1, 0.9, ELSEWHERE)),  # neither
            image(5, (Truth(3, BOX),), (3, 0.9, BOX), (3, 0.8, NEAR)),  # found twice
        ],
        scores,
    )
    assert counts == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 2, 0, 0]]


@pytest.mark.parametrize("count", [1, 3, 16, 17, 90])
def test_a_matrix_of_any_size_is_plotted(count: int) -> None:
    names = [f"_größe $\\{label}$" * 2 for label in range(count)]
    counts = [[row + column for column in range(count + 1)] for row in range(count + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font has not
        plotted = Image.open(io.BytesIO(confusion.plot(counts, names, "a run: 9 images")))
    assert plotted.format == "PNG" and plotted.width > 400
