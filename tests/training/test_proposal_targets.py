"""What anchors should say to a network that proposes regions, beside the Model Garden's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("petbox.training.inputs", exc_type=Exception)

from petbox.training import proposal_targets
from petbox.training.tfvision import anchor, tf

EDGE = 96
ANCHORS = anchor.build_anchor_generator(3, 5, 2, [0.5, 1.0, 2.0], 4.0)(image_size=[EDGE, EDGE])
TWINS = [[10.0, 10.0, 40.0, 40.0]] * 2  # have one closest anchor
TINY = [[50.0, 50.0, 51.5, 51.0]]  # has no anchor above the threshold


def parser(most: int) -> Any:
    return SimpleNamespace(
        rpn_match_threshold=0.7,
        rpn_unmatched_threshold=0.3,
        rpn_batch_size_per_im=most,
        rpn_fg_fraction=0.5,
    )


def some(count: int) -> list[list[float]]:
    corners = np.random.default_rng(count).random((count, 2, 2)) * EDGE
    return np.concatenate([corners.min(1), corners.max(1)], 1).tolist()  # type: ignore[no-any-return]


def labels(boxes: list[list[float]], most: int) -> dict[str, Any]:
    given = tf.reshape(tf.constant(boxes, tf.float32), [-1, 4])
    return proposal_targets.labeler(None, parser(most), ANCHORS)(given, None)


@pytest.mark.parametrize("boxes", [[], TINY, TWINS, some(1), some(7), [*some(40), *TWINS, *TINY]])
def test_all_targets_are_the_model_gardens(boxes: list[list[float]]) -> None:
    all_of_them = 10**5
    theirs = anchor.RpnAnchorLabeler(0.7, 0.3, all_of_them, 0.5).label_anchors(
        ANCHORS, tf.reshape(tf.constant(boxes, tf.float32), [-1, 4]), tf.ones([len(boxes), 1])
    )
    ours = labels(boxes, all_of_them)
    for name, expected in zip(("rpn_score_targets", "rpn_box_targets"), theirs, strict=True):
        assert ours[name].keys() == expected.keys() == {"3", "4", "5"}
        for level, targets in expected.items():
            assert ours[name][level].dtype == targets.dtype
            np.testing.assert_allclose(ours[name][level], targets, atol=1e-5)


@pytest.mark.parametrize(("boxes", "objects"), [([], 0), (some(2), None), (some(40), 8)])
def test_as_many_anchors_as_configured_are_trained_on(
    boxes: list[list[float]], objects: int | None
) -> None:
    def scores(most: int) -> Any:
        levels = labels(boxes, most)["rpn_score_targets"].values()
        return np.concatenate([level.numpy().ravel() for level in levels])

    everything, first, second = scores(10**5), scores(16), scores(16)
    expected = min(8, int((everything == 1).sum())) if objects is None else objects
    for chosen in (first, second):
        assert (chosen == 1).sum() == expected
        assert (chosen == 0).sum() == 16 - expected
        assert (chosen[chosen >= 0] == everything[chosen >= 0]).all()
    assert (first != second).any(), "others each time"


@pytest.mark.parametrize("count", [0, 3, 8, 50])
def test_a_few_rows_are_random_and_different(count: int) -> None:
    rows = tf.range(count)[:, None]
    drawn = [proposal_targets._some(8, rows)[:, 0].numpy().tolist() for _ in range(100)]
    assert {len(few) for few in drawn} == {len(set(few)) for few in drawn} == {min(8, count)}
    assert {row for few in drawn for row in few} == set(range(count))
    assert count < 2 or len({few[0] for few in drawn}) > 1
