"""Converts a run to LiteRT or OpenVINO: the same detector without TensorFlow.

OUT gets the network (model.tflite, or model.xml and model.bin), its settings
(detector.json) and the label map; `petbox.litert.detector` runs it. OpenVINO
in int8 is the fastest on CPUs; it is calibrated on 64 training images. Before
the folder gets its name, its results on a few images are compared with those of
the run's checkpoint.

examples:
  petbox convert --run runs/toy --out model/toy-litert
  petbox convert --run runs/toy --out model/toy-openvino --to openvino
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import SCORE, Checked, Json
from petbox.export.command import MEGAPIXELS
from petbox.training import runs


@dataclass(frozen=True)
class Options(Checked):
    run: Annotated[Path, "folder made by `petbox train`, or the prefix of a checkpoint in one"]
    out: Annotated[Path, "folder to make"]
    to: Annotated[Literal["litert", "openvino"], "engine to convert to"] = "litert"
    form: Annotated[
        Literal["int8", "float32"], "in 8 bits and a quarter of the size, or as trained"
    ] = "int8"
    min_score: Annotated[float, "lowest score of a detection", SCORE] = 0.05
    max_megapixels: Annotated[float, "reject images with more", MEGAPIXELS] = 40
    records: Annotated[Path | None, "to calibrate and verify on (default: the run's, or drawn)"] = (
        None
    )
    json: Json = False


def main(options: Options) -> None:
    outputs.reject_existing(options.out)
    run = runs.read(options.run)
    program.say_loading()
    from petbox.export.signatures import Settings
    from petbox.litert import convert as litert_convert

    settings = Settings(
        min_score=options.min_score, most_pixels=round(options.max_megapixels * 1e6)
    )
    what = (options.form, settings, options.records, options.to)
    made = litert_convert.convert(run, options.out, *what)
    program.report(made, options.json)
