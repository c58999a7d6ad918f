"""A training run's folder: what lies in it, and whether it is whole. Never imports TensorFlow."""

from __future__ import annotations

from pathlib import Path

from petbox.data import labels
from petbox.errors import ModelError

PARAMS = "params.yaml"  # the Model Garden's whole configuration
LABEL_MAP = labels.FILE_NAME
BEST = "best"  # the checkpoint with the highest mAP, where one was looked for


def evaluation(split: str = "test") -> str:
    """The file with the metrics on one split; without its name on held-out pictures."""
    return "evaluation.json" if split == "test" else f"evaluation-{split}.json"


def unfinished(out: Path) -> Path:
    """Where a run lies until its last step is done."""
    out = out.absolute()  # `.` has no name
    return out.with_name(out.name + ".unfinished")


def check(run: Path) -> None:
    """Refuses a folder that is not a finished run."""
    if unfinished(run).is_dir() and not run.is_dir():
        raise ModelError(f"{run}: not finished; type the command that began it again")
    missing = [name for name in (PARAMS, LABEL_MAP, "checkpoint") if not (run / name).is_file()]
    if missing:
        raise ModelError(
            f"{run}: not a training run, it has no {missing[0]}; "
            f"make one: python train/train.py --records DIR --out {run}"
        )
    if not any(run.glob("ckpt-*.index")):
        raise ModelError(f"{run}: its checkpoint (ckpt-*) is gone; remove the folder, train again")
