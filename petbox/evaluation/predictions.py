"""Runs a trained detector over records by the Model Garden's own evaluation path.

What is made of it, metrics, curves or sheets, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petbox.data.records import shards
from petbox.errors import DataError
from petbox.evaluation.comparison import Compared, Truth
from petbox.tf import as_written
from petbox.training import config as training_config
from petbox.training.tfvision import tf
from petbox.wire import Box, Detection


def compared(config: Any, model: Any, records: Path, split: str) -> Iterator[Compared]:
    """Each picture of one split of `records` with what `model` finds in it, in no set order."""
    data = config.task.validation_data
    data.input_path = shards(records, split)

    @tf.function(reduce_retracing=True)
    @as_written
    def find(images: Any, info: Any) -> Any:
        found = model(images, image_shape=info[:, 1, :], training=False)
        names = ("num_detections", "detection_classes", "detection_scores", "detection_boxes")
        return {name: found[name] for name in names}

    try:
        for images, labels in training_config.task(config).build_inputs(data):
            truth, info = labels["groundtruths"], labels["image_info"]
            batch = tf.nest.map_structure(lambda t: t.numpy(), (truth, info, find(images, info)))
            for at in range(len(info)):
                yield _compared(*tf.nest.map_structure(lambda values, at=at: values[at], batch))
    except tf.errors.DataLossError as error:
        raise DataError(f"{records}: a shard is damaged; make the records again") from error


def _compared(truth: Any, info: Any, found: Any) -> Compared:
    """One picture of a batch, from the Model Garden's padded arrays; its boxes are in pixels."""
    size, scale = info[0], info[2]
    height, width = (float(edge) for edge in size)
    animals = zip(truth["classes"], truth["boxes"], truth["is_crowds"], strict=True)
    # Not cut at the picture's edges, as the Model Garden's evaluator does not either.
    boxes = found["detection_boxes"] / [*scale, *scale]
    pets = zip(found["detection_classes"], found["detection_scores"], boxes, strict=True)
    return Compared(
        number=int(truth["source_id"]),
        width=int(width),
        height=int(height),
        truth=tuple(
            Truth(int(label), _fractions(box, height, width), bool(crowd))
            for label, box, crowd in list(animals)[: int(truth["num_detections"])]
        ),
        found=tuple(
            Detection(int(label), float(score), _fractions(box, height, width))
            for label, score, box in list(pets)[: int(found["num_detections"])]
        ),
    )


def _fractions(box: Any, height: float, width: float) -> Box:
    ymin, xmin, ymax, xmax = (float(edge) for edge in box)
    return ymin / height, xmin / width, ymax / height, xmax / width
