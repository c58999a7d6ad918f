"""Parts with fewer ops return the same as the Model Garden's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SIZES = {"3": (16, 24), "4": (8, 12), "5": (4, 6)}
EDGES = (128, 192)


def chance(*shape: int, seed: int, spread: float = 1.0) -> Any:
    return np.random.default_rng(seed).normal(scale=spread, size=shape).astype(np.float32)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("smallest", [0.0, 24.0])
def test_proposals(batched: bool, smallest: float) -> None:
    from petbox.export.rewrite import fast_rois
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    from official.vision.modeling.layers import roi_generator  # isort: skip

    settings = training_config.experiment("faster_rcnn_resnet50_pets").task.model
    settings.min_level, settings.max_level = 3, 5
    anchors = fast_rois.anchors(settings, EDGES)
    per_place = anchors["3"].shape[3] // 4
    boxes = {name: chance(2, *size, 4 * per_place, seed=int(name)) for name, size in SIZES.items()}
    scores = {
        name: chance(2, *size, per_place, seed=int(name), spread=3.0)
        for name, size in SIZES.items()
    }
    own = roi_generator.MultilevelROIGenerator(
        test_pre_nms_top_k=200,
        test_pre_nms_score_threshold=0.1,
        test_pre_nms_min_size_threshold=smallest,
        test_num_proposals=60,
        use_batched_nms=batched,
    )
    given = [{name: tf.constant(one) for name, one in part.items()} for part in (boxes, scores)]
    size = tf.constant([EDGES, EDGES], tf.float32)
    tiled = {name: tf.tile(one, [2, 1, 1, 1]) for name, one in anchors.items()}
    expected = own(*given, tiled, size, False)
    found = fast_rois.proposing(own)(*given, anchors, size, False)
    assert np.count_nonzero(expected[1]) > 40
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4)


def test_detections_of_one_stage() -> None:
    from petbox.export.rewrite import fast_rois
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    from official.vision.modeling.layers import detection_generator  # isort: skip

    settings = training_config.experiment("retinanet_mobilenet_v2_pets").task.model
    anchors = fast_rois.anchors(settings, EDGES)
    per_place, classes = anchors["3"].shape[3] // 4, 4
    boxes, scores = (
        {
            name: tf.constant(chance(2, *size, each * per_place, seed=int(name) + each) - less)
            for name, size in SIZES.items()
        }
        for each, less in ((4, 0.0), (classes, 2.0))
    )
    own = detection_generator.MultilevelDetectionGenerator(nms_version="batched")
    size = tf.constant([EDGES, EDGES], tf.float32)
    tiled = {name: tf.tile(one, [2, 1, 1, 1]) for name, one in anchors.items()}
    expected = own(boxes, scores, tiled, size)
    found = fast_rois.OnOneLevel(own)(boxes, scores, anchors, size, {})
    assert {1, 2, 3} == set(expected["detection_classes"].numpy().ravel())
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_allclose(
            found[f"detection_{name}"], expected[f"detection_{name}"], rtol=1e-6, atol=1e-4
        )
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])


def test_crops() -> None:
    """Boxes of all levels: inside the image, at its edges, beyond them, and of size zero."""
    from petbox.export.rewrite import fast_rois
    from petbox.training.tfvision import tf

    from official.vision.modeling.layers import roi_aligner  # isort: skip

    height, width = EDGES
    corners = np.random.default_rng(5).uniform(0, 1, (2, 40, 4)) * [height, width, height, width]
    boxes = np.concatenate(
        [
            np.minimum(corners[..., :2], corners[..., 2:]),
            np.maximum(corners[..., :2], corners[..., 2:]),
        ],
        axis=-1,
    )
    boxes[:, 0] = [0, 0, height, width]
    boxes[:, 1] = [height - 9, width - 9, height, width]
    boxes[:, 2] = [height - 20, width - 20, height + 60, width + 60]
    boxes[:, 3] = 0
    boxes[:, 4] = [0, 0, 2000, 2000]
    given = tf.constant(boxes, tf.float32)
    features = {
        name: tf.constant(chance(2, *size, 5, seed=int(name))) for name, size in SIZES.items()
    }
    own = roi_aligner.MultilevelROIAligner(crop_size=7)
    found = fast_rois.cropping(own)(features, given)
    assert found.shape == (2, 40, 7, 7, 5)
    # Beyond the edge theirs adds what cancels out, so it is less exact.
    np.testing.assert_allclose(found, own(features, given), atol=1e-3)
    np.testing.assert_allclose(found[:, 5:], own(features, given)[:, 5:], atol=1e-5)


def test_crops_read_the_size_of_features_when_they_run() -> None:
    from petbox.export.rewrite import fast_rois
    from petbox.training.tfvision import tf

    from official.vision.modeling.layers import roi_aligner  # isort: skip

    own = roi_aligner.MultilevelROIAligner()
    crop = fast_rois.cropping(own)
    specs = {name: tf.TensorSpec([None, None, None, 5]) for name in SIZES}
    traced = tf.function(lambda *given: crop(*given)).get_concrete_function(
        specs, tf.TensorSpec([None, 9, 4])
    )
    features = {
        name: tf.constant(chance(1, *size, 5, seed=int(name))) for name, size in SIZES.items()
    }
    boxes = tf.constant(np.sort(np.random.default_rng(1).uniform(0, 120, (1, 9, 4))), tf.float32)
    np.testing.assert_allclose(traced(features, boxes), own(features, boxes), atol=1e-5)
