"""Exports a finished run as a SavedModel that takes image files.

The last part of OUT is the version that TensorFlow Serving announces. The flags
of the Object Detection API's exporter work as well, with underscores too, and
produce the same: DIR/saved_model and, if the run has one, DIR/pipeline.config.
An existing detection SavedModel, such as one of the Object Detection API's zoo,
gets the same signatures and limits with --from-saved-model. Before the model
gets its name, its results on a few images are compared with its source's.

examples:
  petbox export --run runs/toy --out model/toy/1
  petbox export --from-saved-model DIR --label-map FILE --out model/zoo/1
  petbox export --input_type image_tensor \\
      --trained_checkpoint_dir runs/toy --output_directory exported
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import SCORE, Checked, Json, Value, at_least, between, flag
from petbox.errors import ModelError
from petbox.export import model_folder
from petbox.export.model_folder import ModelFolder
from petbox.training import runs
from petbox.training.pipeline_config import mapping
from petbox.training.runs import Run

COUNT = Value("N", at_least(1))
MEGAPIXELS = Value("N", between(0.001, 250))  # TensorFlow's decoders take no more
InputType = Literal["encoded_image_string_tensor", "image_tensor", "tf_example"]


@dataclass(frozen=True)
class Options(Checked):
    run: Annotated[Path | None, "folder made by `petbox train`"] = None
    out: Annotated[Path | None, "folder to make; its name is the version, a whole number"] = None
    input_type: Annotated[
        InputType, "its input: encoded_image_string_tensor, image_tensor or tf_example", "TYPE"
    ] = "encoded_image_string_tensor"
    min_score: Annotated[float, "lowest score in the output of `detect`", SCORE] = 0.05
    min_score_drawn: Annotated[
        float | None,
        "lowest score of a box drawn by `draw` (default: the class's threshold, or 0.5)",
        SCORE,
    ] = None
    max_megapixels: Annotated[float, "reject images with more", MEGAPIXELS] = 40
    max_pictures: Annotated[int, "reject requests with more images", COUNT] = 64
    batch: Annotated[
        int | None,
        "images of concurrent requests to compute together; 1: none (default: 8; 2 if slow)",
        COUNT,
    ] = None
    batch_timeout_micros: Annotated[
        int, "how long the first one waits for more; 0: not at all", Value("N", at_least(0))
    ] = 0
    whole_canvas: Annotated[
        bool, "pad every image to the full training canvas: slower, matches the checkpoint exactly"
    ] = False
    plain: Annotated[
        bool, "do not optimize the graph: larger and slower, to look for faults of the exporter"
    ] = False
    exif: Annotated[
        Literal["apply", "ignore"], "turn images upright as their EXIF says, or take them as stored"
    ] = "apply"
    records: Annotated[Path | None, "records to verify on (default: the run's, or drawn)"] = None
    trained_checkpoint_dir: Annotated[Path | None, "the same as --run", "DIR"] = None
    trained_checkpoint_prefix: Annotated[
        Path | None, "a specific checkpoint of a run, such as runs/toy/ckpt-600", "PREFIX"
    ] = None
    from_saved_model: Annotated[Path | None, "wrap this detection SavedModel instead", "DIR"] = None
    label_map: Annotated[Path | None, "its class names, if it does not contain them", "FILE"] = None
    pipeline_config_path: Annotated[
        Path | None, "must be of the run's network; params.yaml in the run is what counts", "FILE"
    ] = None
    output_directory: Annotated[Path | None, "folder to make saved_model in", "DIR"] = None
    json: Json = False


def main(options: Options) -> None:
    out = one_of(options, "out", "output_directory")
    if out == options.out and not out.name.isdecimal():
        raise ModelError(
            f"{out}: not a version for TensorFlow Serving; "
            f"end the path with a whole number, as in {out}/1"
        )
    outputs.reject_existing(out)
    if options.from_saved_model and (options.batch or 1) > 1:
        raise ModelError(
            f"{options.from_saved_model}: takes one image at a time, so there is nothing to batch; "
            "leave out --batch"
        )
    model = read(options)
    config = options.pipeline_config_path
    pipeline_config = mapping.read(config) if config else None
    program.say_loading()
    from petbox.export import exporter
    from petbox.export.batching import asked_for
    from petbox.export.signatures import Settings

    settings = Settings(
        input_type=options.input_type,
        min_score=options.min_score,
        min_score_drawn=options.min_score_drawn,
        most_pixels=round(options.max_megapixels * 1e6),
        most_pictures=options.max_pictures,
        batches=asked_for(options.batch, options.batch_timeout_micros),
        whole_canvas=options.whole_canvas,
        plain=options.plain,
        exif=options.exif,
    )
    classic = options.out is None
    made = exporter.export(model, out, settings, options.records, pipeline_config, classic=classic)
    program.report(made, options.json)


def read(options: Options) -> Run | ModelFolder:
    trained = one_of(
        options, "run", "trained_checkpoint_dir", "trained_checkpoint_prefix", "from_saved_model"
    )
    other = "pipeline_config_path" if options.from_saved_model else "label_map"
    if getattr(options, other):
        only = "a run" if options.from_saved_model else "--from-saved-model"
        raise ModelError(f"{flag(options, other)}: goes with {only} only; leave it out")
    if options.from_saved_model:
        return model_folder.read(trained, options.label_map)
    return runs.read(trained)


def one_of(options: Options, *names: str) -> Path:
    """The value of the one flag that is given; rejects none, or several."""
    given = [getattr(options, name) for name in names if getattr(options, name) is not None]
    if len(given) != 1:
        flags = " or ".join(flag(options, name) for name in names)
        raise ModelError(f"{flags}: give one of them, not {len(given)}")
    path: Path = given[0]
    return path
