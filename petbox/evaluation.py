"""COCO metrics of a detector on records, by the Model Garden's task and pycocotools."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from petbox import detector
from petbox.errors import DataError
from petbox.garden import tf
from petbox.progress import progress
from petbox.records import read_info, shards

# What the Model Garden calls them, and what everybody else does.
METRICS = {"AP": "mAP", "AP50": "mAP@0.5", "AP75": "mAP@0.75", "ARmax100": "AR@100"}


def coco_metrics(config: Any, model: Any, records: Path, split: str = "test") -> dict[str, float]:
    """mAP and its kin of `model` on one split of `records`."""
    data = config.task.validation_data
    data.input_path = shards(records, split)
    task = detector.task(config)
    metrics = task.build_metrics(training=False)

    @tf.function(reduce_retracing=True)
    def step(inputs: Any) -> Any:
        return task.validation_step(inputs, model, metrics)

    state = None
    with progress("evaluate", read_info(records).pictures[split]) as advance:
        try:
            for inputs in task.build_inputs(data):
                state = task.aggregate_logs(state, step(inputs))
                advance(int(inputs[0].shape[0]), "")
        except tf.errors.DataLossError as error:
            raise DataError(f"{records}: a shard is damaged; make the records again") from error
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables of its own
        found = task.reduce_aggregated_logs(state)
    return {ours: float(found[theirs]) for theirs, ours in METRICS.items()}
