"""The options of `petbox train`, which are also a training job's hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from petbox.cli.options import Json


@dataclass(frozen=True)
class TrainOptions:
    out: Annotated[Path, "folder of the finished run"]
    records: Annotated[Path | None, "folder made by `petbox records`"] = None
    preset: Annotated[str | None, "which detector (default: chosen for the data)"] = None
    pipeline_config: Annotated[
        Path | None, "the Object Detection API's configuration, instead of a preset"
    ] = None
    set_: Annotated[tuple[str, ...], "set a field of the configuration", "FIELD=VALUE"] = ()
    init: Annotated[
        str | None,
        "initial weights: imagenet, coco (downloaded), none (random), or a path or URL of a "
        "checkpoint of the Model Garden (prefix, folder or archive) or Keras' MobileNetV2 (.h5)",
        "PLACE",
    ] = None
    init_parts: Annotated[
        str | None,
        "what to load of them: backbone (the default), backbone+decoder, or fit: all that fits "
        "(the default for coco and for a run of petbox)",
        "PARTS",
    ] = None
    anchors: Annotated[
        Literal["preset", "auto"], "the preset's, or chosen to cover the training boxes"
    ] = "preset"
    augment: Annotated[
        Literal["preset", "none", "light", "heavy"],
        "random changes to training images (preset: its flips and scales)",
    ] = "preset"
    steps: Annotated[int | None, "training steps (default: the preset's)"] = None
    batch_size: Annotated[int | None, "images per step (default: the preset's)"] = None
    learning_rate: Annotated[float | None, "peak learning rate (default: the preset's)"] = None
    ema: Annotated[
        float | None, "export a moving average of the weights with this decay, such as 0.999", "D"
    ] = None
    evaluate_every: Annotated[int | None, "steps between evaluations that keep the best"] = None
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 200
    report_every: Annotated[int, "steps between reports of loss and speed"] = 20
    precision: Annotated[
        Literal["float32", "float16", "bfloat16"], "what layers compute in; float16 needs a GPU"
    ] = "float32"
    seed: Annotated[
        int, "seed of all random choices; the same repeats a run bit for bit on a CPU"
    ] = 1
    json: Json = False
