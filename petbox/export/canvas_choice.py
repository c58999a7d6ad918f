"""What a model's smaller canvases change: its mAP on them, and the checkpoint's on the whole one.

Both are of the model in memory, by the Model Garden's evaluator; `petbox.export.verify` checks that
the file gives the same detections.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any

from petbox.export import verify
from petbox.export.canvases import Canvas
from petbox.training.tfvision import coco_evaluator

MOST = 50  # images, because each takes two detections


def measured(
    task: Any, call: Any, files: Sequence[str], canvases: Sequence[Canvas]
) -> dict[str, Any] | None:
    """The mAP of both; None if there is nothing to choose, or no object to measure it on."""
    if len(canvases) == 1 or not files:
        return None
    chosen, whole = (
        coco_evaluator.COCOEvaluator(annotation_file=None, include_mask=False) for _ in range(2)
    )
    for evaluator, allowed in ((chosen, canvases), (whole, canvases[-1:])):
        found = verify.detected(task, call, files, allowed)
        images = 0
        for labels, detections in itertools.islice(found, MOST):
            images += 1
            truth = labels["groundtruths"]
            image = {"source_id": truth["source_id"], "image_info": labels["image_info"]}
            evaluator.update_state(truth, {**detections, **image})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        of_chosen, of_whole = (float(one.result()["AP"]) for one in (chosen, whole))
    if of_whole < 0:
        return None
    return {
        "images": images,
        "mAP": of_chosen,
        "mAP on the whole canvas": of_whole,
        "difference": of_chosen - of_whole,
    }
