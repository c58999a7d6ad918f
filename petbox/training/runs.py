"""A training run's folder: what it contains, read once into a `Run`. Never imports TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petbox.data import labels
from petbox.errors import ModelError

PARAMS = "params.yaml"  # the Model Garden's whole configuration
LABEL_MAP = labels.FILE_NAME
PIPELINE_CONFIG = "pipeline.config"
THRESHOLDS = "thresholds.json"  # written by the evaluation
OF_EVALUATION = (  # what else it writes, for each split
    *("evaluation*.json", "truth*.json", "predictions*.json"),
    *("precision_recall*.png", "confusion*.png", "worst_misses*.png", "sample*.png"),
)
BEST = "best"  # the checkpoint with the highest mAP, if the training evaluated any
AVERAGED = "averaged"  # the last checkpoint with the moving average of the weights, with --ema


@dataclass(frozen=True)
class Run:
    """A finished run; each of its text files has been read once."""

    folder: Path
    checkpoint: Path  # prefix of the requested checkpoint, or else of the best, or the newest
    params: bytes
    label_map: Path
    label_map_text: bytes
    names: Mapping[int, str]
    pipeline_config: bytes | None
    thresholds: Mapping[
        int, float
    ]  # by class: from which score the checkpoint is trusted, if known


def read(path: Path) -> Run:
    """The run in the folder `path`, or the run of the checkpoint with the prefix `path`."""
    folder, checkpoint = path, None
    if not path.is_dir() and any(path.parent.glob("*.index")):
        folder = of_checkpoint(path) or path.parent
        checkpoint = path
    check(folder)
    if checkpoint and not checkpoint.with_name(f"{path.name}.index").is_file():
        raise ModelError(f"{path}: no checkpoint; name one by its prefix, as in {folder}/ckpt-600")
    checkpoint = checkpoint or preferred_checkpoint(folder)
    if not checkpoint:
        raise ModelError(f"{folder}/checkpoint: names no existing checkpoint; train again")
    label_map = folder / LABEL_MAP
    label_map_text = label_map.read_bytes()
    config = folder / PIPELINE_CONFIG
    names = labels.parse(label_map_text, str(label_map))
    return Run(
        folder=folder,
        checkpoint=checkpoint,
        params=(folder / PARAMS).read_bytes(),
        label_map=label_map,
        label_map_text=label_map_text,
        names=names,
        pipeline_config=config.read_bytes() if config.is_file() else None,
        thresholds=_thresholds(folder / THRESHOLDS, checkpoint, names),
    )


def _thresholds(path: Path, checkpoint: Path, names: Mapping[int, str]) -> dict[int, float]:
    """Those of this very checkpoint; another one's scores mean something else."""
    if not path.is_file():
        return {}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        scores = {name: float(score) for name, score in stated["classes"].items()}
        of_this = stated["checkpoint"] == checkpoint.name
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: not as `petbox evaluate` writes it; evaluate the run again, or remove it"
        ) from error
    return {n: scores[name] for n, name in names.items() if name in scores} if of_this else {}


def thresholds(checkpoint: Path, split: str, scores: Mapping[str, float]) -> str:
    """The content of thresholds.json, by class names."""
    content = {"checkpoint": checkpoint.name, "split": split, "classes": dict(scores)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def check(run: Path) -> None:
    if unfinished(run).is_dir() and not run.is_dir():
        raise ModelError(f"{run}: not finished; repeat the command that started it")
    missing = [name for name in (PARAMS, LABEL_MAP, "checkpoint") if not (run / name).is_file()]
    if missing:
        raise ModelError(
            f"{run}: not a training run, it has no {missing[0]}; "
            f"make one: petbox train --records DIR --out {run}"
        )
    if not any(run.glob("ckpt-*.index")):
        raise ModelError(f"{run}: its checkpoint (ckpt-*) is gone; remove the folder, train again")


def of_checkpoint(prefix: Path) -> Path | None:
    """The folder of the run that the checkpoint belongs to, if it is one's."""
    above = prefix.parent
    folder = above.parent if above.name in (BEST, AVERAGED) else above
    return folder if (folder / PARAMS).is_file() else None


def preferred_checkpoint(folder: Path) -> Path | None:
    """The prefix of the best checkpoint, or else of the averaged or the newest one."""
    return (
        newest_checkpoint(folder / BEST)
        or newest_checkpoint(folder / AVERAGED)
        or newest_checkpoint(folder)
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """The prefix that TensorFlow's file `checkpoint` names, if that checkpoint exists."""
    state = folder / "checkpoint"
    text = state.read_text(errors="replace") if state.is_file() else ""
    named = re.search(r'^model_checkpoint_path: "(.*)"', text, re.MULTILINE)
    # The path may be of the machine that wrote it; the name is still right.
    prefix = folder / Path(named[1]).name if named else None
    return prefix if prefix and Path(f"{prefix}.index").is_file() else None


def steps(folder: Path) -> int:
    """The steps that a run is trained for so far; 0 without a checkpoint."""
    newest = newest_checkpoint(folder)
    return int(newest.name.removeprefix("ckpt-")) if newest else 0


def evaluation(split: str = "test") -> str:
    return "evaluation.json" if split == "test" else f"evaluation-{split}.json"


def unfinished(out: Path) -> Path:
    """Where a run lies until its last step is done."""
    out = out.absolute()  # `.` has no name
    return out.with_name(out.name + ".unfinished")
