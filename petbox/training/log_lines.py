"""The log lines of a training, and the regular expressions that parse them.

SageMaker plots what its expressions find in a job's log, so both are kept together.
"""

from __future__ import annotations

from collections.abc import Mapping

TOTAL = "total_loss"
PARTS = {  # the parts of the loss: the Model Garden's names, and ours
    "rpn_score_loss": "rpn score",
    "rpn_box_loss": "rpn box",
    "frcnn_cls_loss": "class",
    "frcnn_box_loss": "box",
    "cls_loss": "class",  # of RetinaNet
    "box_loss": "box",
}
NUMBER = r"([0-9.]+)"

# For SageMaker's MetricDefinitions: a name, and an expression with one group.
METRICS: dict[str, str] = {
    "train:loss": rf"train: [0-9]+/[0-9]+ loss {NUMBER}",
    "train:rpn_score_loss": rf"\(rpn score {NUMBER}",
    "train:rpn_box_loss": rf", rpn box {NUMBER}",
    "train:class_loss": rf"[(,] ?class {NUMBER}",
    "train:box_loss": rf", box {NUMBER}\)",
    "train:steps_per_second": rf"\), {NUMBER} steps/s",
    "validation:mAP": rf"evaluated at step [0-9]+: mAP {NUMBER}",
    "validation:mAP50": rf"evaluated at step [0-9]+: .*mAP@0\.5 {NUMBER}",
}


def note(losses: Mapping[str, float], speed: float) -> str:
    """The text beside the progress bar; `losses` have the Model Garden's names."""
    named = {ours: losses[theirs] for theirs, ours in PARTS.items() if theirs in losses}
    parts = ", ".join(f"{name} {value:.3f}" for name, value in named.items())
    return f"loss {losses[TOTAL]:.3f} ({parts}), {speed:.1f} steps/s"


def evaluated(step: int, metrics: Mapping[str, float]) -> str:
    """The line after an evaluation; `metrics` have the Model Garden's names."""
    return f"evaluated at step {step}: mAP {metrics['AP']:.3f}, mAP@0.5 {metrics['AP50']:.3f}"
