"""Parts of the Model Garden's detector that give the same in fewer steps.

A step takes little time when it is done, but much before the first answer; see `graphs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from petbox.garden import anchor, box_ops, propose_rois, tf

Levels = Mapping[str, Any]


def anchors(model: Any) -> dict[str, Any]:
    """The anchors [1,H,W,4A] of each level, the same for every picture; of a model's settings."""
    settings = model.anchor
    made = anchor.Anchor(
        model.min_level,
        model.max_level,
        settings.num_scales,
        settings.aspect_ratios,
        settings.anchor_size,
        model.input_size[:2],
    )
    return {level: boxes[None] for level, boxes in made.multilevel_boxes.items()}


def proposing(generator: Any) -> Any:
    """Proposes as a generator of the Model Garden, but finds the boxes of all levels together."""
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
        levels = sorted(scores)
        counts = [math.prod(scores[level].shape[1:]) for level in levels]

        def together(maps: Levels, *last: int) -> Any:
            rows = zip(levels, counts, strict=True)
            return tf.concat([tf.reshape(maps[level], [-1, n, *last]) for level, n in rows], 1)

        found = box_ops.decode_boxes(together(boxes, 4), together(anchors, 4))
        found = box_ops.clip_boxes(found, size[:, None])
        sure = tf.sigmoid(together(scores, 1, 1))
        apart = (dict(zip(levels, tf.split(one, counts, 1), strict=True)) for one in (found, sure))
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


def cropping(aligner: Any) -> Any:
    """Crops features as an aligner of the Model Garden does, of both axes together."""
    settings = aligner.get_config()
    edge = settings["crop_size"]
    samples = np.arange(edge, dtype=np.float32) + np.float32(settings["sample_offset"])

    def crop(features: Levels, boxes: Any, _training: Any = None) -> Any:
        names = sorted(features, key=int)
        sizes = tf.stack([tf.shape(features[name])[1:3] for name in names])
        channels = features[names[0]].shape[3]
        flat = [tf.reshape(features[name], [tf.shape(boxes)[0], -1, channels]) for name in names]
        begins = tf.cumsum(tf.reduce_prod(sizes, axis=1), exclusive=True)

        extent = boxes[..., 2:] - boxes[..., :2]
        # The level whose cells are to a box as to one of 224 pixels those of level 4.
        relative = tf.math.divide_no_nan(tf.sqrt(extent[..., 0] * extent[..., 1]), 224.0)
        level = tf.cast(tf.math.floordiv(tf.math.log(relative), tf.math.log(2.0)) + 4.0, tf.int32)
        place = tf.clip_by_value(level, int(names[0]), int(names[-1])) - int(names[0])
        cell = tf.gather(tf.constant([[2.0 ** int(name)] for name in names]), place)

        # [N,K,2,E] for the two axes and the samples on each, which lie between two cells.
        at = (boxes[..., :2] / cell)[..., None] + samples * (extent / cell)[..., None] / edge
        last = tf.gather(tf.cast(sizes[..., None] - 1, tf.float32), place)
        at = tf.minimum(at, last)
        first = tf.maximum(tf.floor(at), 0.0)
        beyond = at - first

        def pairs(one: Any, other: Any) -> Any:
            both = tf.stack([one, other], axis=-1)
            return tf.unstack(
                tf.reshape(both, [*tf.unstack(tf.shape(boxes)[:2]), 2, 2 * edge]), axis=2
            )

        down, across = pairs(1.0 - beyond, beyond)
        rows, columns = pairs(
            *(tf.cast(one, tf.int32) for one in (first, tf.minimum(first + 1, last)))
        )
        rows = tf.gather(begins, place)[..., None] + rows * tf.gather(sizes[:, 1:], place)
        cells = tf.gather(tf.concat(flat, 1), rows[..., None] + columns[:, :, None], batch_dims=1)
        shares = down[..., None] * across[:, :, None] * 4.0  # of a mean of four
        taken = tf.reshape(cells * shares[..., None], [-1, 2 * edge, 2 * edge, channels])
        mean = tf.nn.avg_pool2d(taken, 2, 2, "VALID")
        return tf.reshape(mean, [-1, boxes.shape[1], edge, edge, channels])

    return crop
