"""Parts of the Model Garden's detectors with fewer ops and the same results.

An op costs little when it runs, but much before the first response; see `grappler`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from petbox.training.tfvision import anchor, box_ops, propose_rois, tf

Levels = Mapping[str, Any]


def anchors(model: Any, size: Sequence[int]) -> dict[str, Any]:
    """The anchors [1,H,W,4A] of each level on a canvas of that size, the same for every image."""
    settings = model.anchor
    made = anchor.Anchor(
        model.min_level,
        model.max_level,
        settings.num_scales,
        settings.aspect_ratios,
        settings.anchor_size,
        size,
    )
    return {level: boxes[None] for level, boxes in made.multilevel_boxes.items()}


def proposing(generator: Any) -> Any:
    """Proposes like the Model Garden's generator, but decodes the boxes of all levels at once."""
    given = generator.get_config()
    names = (
        "pre_nms_top_k",
        "pre_nms_score_threshold",
        "pre_nms_min_size_threshold",
        "nms_iou_threshold",
        "num_proposals",
    )
    settings = {name: given[f"test_{name}"] for name in names}
    settings["use_batched_nms"] = given["use_batched_nms"]

    def propose(boxes: Levels, scores: Levels, anchors: Levels, size: Any, _training: Any) -> Any:
        counts = _anchors_by_level(boxes)
        with tf.name_scope("multilevel_roi_generator"):
            found = box_ops.decode_boxes(*(_together(maps, counts, 4) for maps in (boxes, anchors)))
            found = box_ops.clip_boxes(found, size[:, None])
            confidence = tf.sigmoid(_together(scores, counts, 1, 1))
        apart = (
            dict(zip(counts, tf.split(one, [*counts.values()], 1), strict=True))
            for one in (found, confidence)
        )
        return propose_rois(
            *apart,
            anchors,
            size,
            decode_boxes=False,
            clip_boxes=False,
            apply_sigmoid_to_score=False,
            **settings,
        )

    return propose


class OnOneLevel:
    """Detects like the Model Garden's one-stage generator, which gets all levels as one."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.get_config = generator.get_config  # the model asks what it returns

    def __call__(self, boxes: Levels, scores: Levels, anchors: Levels, size: Any, *_: Any) -> Any:
        counts = _anchors_by_level(boxes)
        level = next(iter(counts))
        classes = scores[level].shape[3] * 4 // boxes[level].shape[3]
        every = tf.tile(_together(anchors, counts, 1, 4), [tf.shape(size)[0], 1, 1, 1])
        as_one = (_together(boxes, counts, 1, 4), _together(scores, counts, 1, classes), every)
        return self._generator(*({level: one} for one in as_one), size)


def _anchors_by_level(boxes: Levels) -> dict[str, int]:
    """The number of anchors of each level, lowest first."""
    return {level: math.prod(boxes[level].shape[1:]) // 4 for level in sorted(boxes)}


def _together(maps: Levels, counts: Mapping[str, int], *last: int) -> Any:
    """The `maps` of all levels as [N, anchors, *last]."""
    return tf.concat([tf.reshape(maps[level], [-1, n, *last]) for level, n in counts.items()], 1)


def cropping(aligner: Any) -> Any:
    """Crops features like an aligner of the Model Garden, but both axes at once."""
    settings = aligner.get_config()
    samples = np.arange(settings["crop_size"], dtype=np.float32) + settings["sample_offset"]

    def crop(features: Levels, boxes: Any, _training: Any = None) -> Any:
        with tf.name_scope("multilevel_roi_aligner"):
            return _crops(features, boxes, samples)

    return crop


def _crops(features: Levels, boxes: Any, samples: Any) -> Any:
    """[N,K,E,E,C]: for each of the E samples on each axis, the mean of the four cells around it."""
    levels, edge = sorted(features, key=int), len(samples)
    sizes = tf.stack([tf.shape(features[level])[1:3] for level in levels])
    begins = tf.cumsum(tf.reduce_prod(sizes, axis=1), exclusive=True)
    count, channels = tf.shape(boxes)[0], features[levels[0]].shape[3]
    flat = tf.concat([tf.reshape(features[one], [count, -1, channels]) for one in levels], 1)

    extent = boxes[..., 2:] - boxes[..., :2]
    level_index = _level(extent, int(levels[0]), int(levels[-1])) - int(levels[0])
    cell = tf.gather(tf.constant([[2.0 ** int(level)] for level in levels]), level_index)
    # [N,K,2,E]: the positions of the samples on both axes, in cells, and the two cells around each.
    at = (boxes[..., :2] / cell)[..., None] + samples * (extent / cell)[..., None] / edge
    last = tf.gather(tf.cast(sizes[..., None] - 1, tf.float32), level_index)
    at = tf.minimum(at, last)
    first = tf.maximum(tf.floor(at), 0.0)
    second = tf.minimum(first + 1, last)

    def of_axes(*pair: Any) -> Any:
        joined = [*tf.unstack(tf.shape(boxes)[:2]), 2, 2 * edge]
        return tf.unstack(tf.reshape(tf.stack(pair, axis=-1), joined), axis=2)

    down, across = of_axes(1.0 - (at - first), at - first)
    rows, columns = of_axes(tf.cast(first, tf.int32), tf.cast(second, tf.int32))
    rows = tf.gather(begins, level_index)[..., None] + rows * tf.gather(sizes[:, 1:], level_index)
    cells = tf.gather(flat, rows[..., None] + columns[:, :, None], batch_dims=1)
    weights = down[..., None] * across[:, :, None] * 4.0  # for the mean of four
    weighted = tf.reshape(cells * weights[..., None], [-1, 2 * edge, 2 * edge, channels])
    mean = tf.nn.avg_pool2d(weighted, 2, 2, "VALID")
    return tf.reshape(mean, [-1, boxes.shape[1], edge, edge, channels])


def _level(extent: Any, lowest: int, highest: int) -> Any:
    """Level 4 is for boxes [..., 2] of 224 pixels; one of half of that is for the level below."""
    relative = tf.math.divide_no_nan(tf.sqrt(extent[..., 0] * extent[..., 1]), 224.0)
    level = tf.math.floordiv(tf.math.log(relative), tf.math.log(2.0)) + 4.0
    return tf.clip_by_value(tf.cast(level, tf.int32), lowest, highest)
