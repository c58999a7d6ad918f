"""What training says of its losses, its speed and its evaluations, and how that is read back.

SageMaker plots what its regular expressions find in a job's log, so the words and the expressions
are kept together. Knows nothing of TensorFlow, and prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

TOTAL = "total_loss"
PARTS = {  # the Model Garden's names of what the loss is made of, and ours
    "rpn_score_loss": "rpn score",
    "rpn_box_loss": "rpn box",
    "frcnn_cls_loss": "class",
    "frcnn_box_loss": "box",
}
NUMBER = r"([0-9.]+)"

# As SageMaker's MetricDefinitions want it: a name, and an expression with one group.
METRICS: dict[str, str] = {
    "train:loss": rf"train: [0-9]+/[0-9]+ loss {NUMBER}",
    "train:rpn_score_loss": rf"\(rpn score {NUMBER}",
    "train:rpn_box_loss": rf", rpn box {NUMBER}",
    "train:class_loss": rf", class {NUMBER}",
    "train:box_loss": rf", box {NUMBER}\)",
    "train:steps_per_second": rf"\), {NUMBER} steps/s",
    "validation:mAP": rf"evaluated at step [0-9]+: mAP {NUMBER}",
    "validation:mAP50": rf"evaluated at step [0-9]+: .*mAP@0\.5 {NUMBER}",
}


def note(losses: Mapping[str, float], speed: float) -> str:
    """What stands beside the progress bar; `losses` are under the Model Garden's names."""
    parts = ", ".join(f"{ours} {losses[theirs]:.3f}" for theirs, ours in PARTS.items())
    return f"loss {losses[TOTAL]:.3f} ({parts}), {speed:.1f} steps/s"


def evaluated(step: int, metrics: Mapping[str, float]) -> str:
    """The line after an evaluation; `metrics` are under the Model Garden's names."""
    return f"evaluated at step {step}: mAP {metrics['AP']:.3f}, mAP@0.5 {metrics['AP50']:.3f}"
