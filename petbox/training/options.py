"""What can be said of a training: the options of train/train.py, a job's hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from petbox.cli.options import Json


@dataclass(frozen=True)
class TrainOptions:
    out: Annotated[Path, "folder of the finished run"]
    records: Annotated[Path | None, "folder made by train/make_records.py"] = None
    preset: Annotated[str, "which detector to train"] = "toy"
    pipeline_config: Annotated[
        Path | None, "the Object Detection API's configuration, instead of a preset"
    ] = None
    set_: Annotated[tuple[str, ...], "other fields of the configuration", "FIELD=VALUE"] = ()
    init: Annotated[
        str | None,
        "weights to begin with, by path or address: a checkpoint of the Model Garden (prefix, "
        "folder or archive), or Keras' MobileNetV2 (.h5)",
        "PLACE",
    ] = None
    init_parts: Annotated[
        str | None, "of that checkpoint: backbone (the default), or backbone+decoder", "PARTS"
    ] = None
    steps: Annotated[int | None, "updates to make (default: the preset's)"] = None
    batch_size: Annotated[int | None, "pictures an update (default: the preset's)"] = None
    learning_rate: Annotated[float | None, "its peak (default: the preset's)"] = None
    evaluate_every: Annotated[int | None, "steps between evaluations that keep the best"] = None
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 200
    report_every: Annotated[int, "steps between reports of loss and speed"] = 20
    precision: Annotated[Literal["float32", "float16", "bfloat16"], "of the computations"] = (
        "float32"
    )
    xla: Annotated[bool, "compile the training step (for GPUs)"] = False
    seed: Annotated[int, "of the weights and the order of pictures"] = 1
    json: Json = False
