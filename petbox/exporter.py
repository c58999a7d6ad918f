"""A finished run made a SavedModel: checked before, written whole, compared with its checkpoint.

Inside, beside the graph and the weights:

    assets/label_map.pbtxt
    assets.extra/params.yaml, pipeline.config      the run's configuration, as far as it has one
    assets.extra/export.json                       this exporter's own report
    assets.extra/tf_serving_warmup_requests
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import petbox
from petbox import (
    checkpoints,
    detector,
    pipeline_config,
    products,
    program,
    runs,
    self_check,
    warmup_records,
)
from petbox.errors import DataError, ModelError
from petbox.export_source import Source, source
from petbox.garden import tf
from petbox.picture_inputs import INPUT_TYPES, KEY
from petbox.savedmodel import SIGNATURES, Servable, Settings

PIPELINE_CONFIG = "pipeline.config"
SAVED_MODEL = "saved_model"  # in a folder of the Object Detection API's form
EXTRA = "assets.extra"
REPORT = "export.json"
CHECKED = 8  # pictures


def export_inference_graph(
    input_type: str,
    pipeline_config: str | Path | None,
    trained_checkpoint_prefix: str | Path,
    output_directory: str | Path,
    *,
    records: Path | None = None,
    settings: Settings | None = None,
) -> Path:
    """The Object Detection API's call: makes `output_directory`, returns saved_model in it.

    `trained_checkpoint_prefix` is a checkpoint in a run's folder, or that folder. The network is
    what the run's params.yaml says; a pipeline.config is only checked against it.
    """
    config = Path(pipeline_config) if pipeline_config else None
    return export_classic(
        source(Path(trained_checkpoint_prefix), config, records),
        Path(output_directory),
        replace(settings or Settings(), input_type=input_type),
    )


def export_classic(source: Source, out: Path, settings: Settings) -> Path:
    """Makes the folder `out` as the Object Detection API's exporter does: saved_model in it."""
    with products.product(out) as partial:
        partial.mkdir()
        model = _written(source, settings, partial, out, SAVED_MODEL)
        extra = model / EXTRA / PIPELINE_CONFIG
        if extra.exists():
            shutil.copy(extra, partial / PIPELINE_CONFIG)
    return out / SAVED_MODEL


def export(source: Source, out: Path, settings: Settings) -> Path:
    """Makes the SavedModel `out`."""
    with products.product(out) as partial:
        _written(source, settings, partial, out)
    return out


def _written(source: Source, settings: Settings, partial: Path, out: Path, name: str = "") -> Path:
    """Writes the SavedModel `name` in the product `out`, which is still called `partial`."""
    if settings.input_type not in INPUT_TYPES:
        raise DataError(f"--input-type {settings.input_type}: there are {', '.join(INPUT_TYPES)}")
    start = time.monotonic()
    config = detector.load_config(source.run)
    names = _names(source.run, config)
    if source.pipeline_config:
        check_pipeline_config(source.pipeline_config, source.run, config)
    checkpoint = checkpoints.chosen(source.run, source.checkpoint)
    model = checkpoints.restored(config, source.run, checkpoint)
    where, asked = self_check.pictures(config, source.records, CHECKED)
    folder = partial / name
    with _said_of(out, partial):
        label_map = source.run / runs.LABEL_MAP
        Servable(config, model, label_map, names, settings).save(folder)
        _add_extras(folder, source, settings)
        built = time.monotonic() - start
        program.say(f"written in {built:.1f} s; comparing it with {checkpoint} ...")
        agreement = self_check.check(config, model, folder, settings.input_type, asked, where)
        seconds = {"written": round(built, 1), "in all": round(time.monotonic() - start, 1)}
        report = {**_versions(), **_of(checkpoint), "settings": asdict(settings)}
        report |= {"self_check": asdict(agreement), "seconds": seconds}
        (folder / EXTRA / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    program.say(
        f"{agreement.pictures} of {agreement.source}: {agreement.detections} detections, boxes "
        f"within {agreement.box_difference:.1e}, scores within {agreement.score_difference:.1e}"
    )
    return folder


def _add_extras(folder: Path, source: Source, settings: Settings) -> None:
    """What travels beside the graph: the run's configuration, requests to warm up with."""
    extra = folder / EXTRA
    extra.mkdir()
    shutil.copy(source.run / runs.PARAMS, extra / runs.PARAMS)
    given = source.pipeline_config or source.run / PIPELINE_CONFIG
    if given.is_file():
        shutil.copy(given, extra / PIPELINE_CONFIG)
    warmup_records.write(folder, _warmup(settings))


def _versions() -> dict[str, Any]:
    garden = "tf-models-official"
    return {
        "petbox": petbox.__version__,
        "tensorflow": tf.__version__,
        garden: metadata.version(garden),
    }


def _of(checkpoint: Path) -> dict[str, Any]:
    return {"checkpoint": checkpoint.name, "step": checkpoints.step(checkpoint)}


def _names(run: Path, config: Any) -> dict[int, str]:
    """The label map, once it has been seen to fit the network."""
    names, classes = detector.class_names(run), config.task.model.num_classes - 1
    # A run of a pipeline.config may have places for classes that its records lack.
    spare = (run / PIPELINE_CONFIG).is_file()
    if max(names) > classes or (max(names) < classes and not spare):
        raise ModelError(
            f"{run / runs.LABEL_MAP}: its highest id is {max(names)}, but the network of "
            f"{run / runs.PARAMS} has {classes} classes; put back the label map it was trained with"
        )
    return names


def check_pipeline_config(path: Path, run: Path, config: Any) -> None:
    """Refuses a pipeline.config that is of another network than the run."""
    mapped = pipeline_config.read(path)
    wanted = detector.experiment(mapped.preset, mapped).task.model
    ours = config.task.model
    for what, theirs, have in (
        ("num_classes", mapped.classes, ours.num_classes - 1),
        ("its backbone", _backbone(wanted), _backbone(ours)),
    ):
        if theirs != have:
            raise DataError(
                f"{path}: {what} is {theirs}, but {run} was trained with {have}; give the "
                "pipeline.config it was trained with, or none"
            )


def _backbone(model: Any) -> str:
    kind = model.backbone.type
    return f"{kind} {getattr(model.backbone.get(), 'model_id', '')}".strip()


def _warmup(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request of each kind, and one that fills a batch."""
    one = self_check.drawn_request(settings.input_type, 1)
    for signature in SIGNATURES:
        yield signature, {KEY: one}
    if settings.batches:
        most = min(settings.batches.most, settings.most_pictures)
        yield SIGNATURES[0], {KEY: self_check.drawn_request(settings.input_type, most)}


@contextmanager
def _said_of(out: Path, partial: Path) -> Iterator[None]:
    """What goes wrong in writing is said of the product, not of the name it still has."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror}); nothing is left") from error
    except tf.errors.OpError as error:
        said = error.message.splitlines()[0].replace(str(partial), str(out))
        raise ModelError(f"{out}: cannot be exported ({said}); nothing is left") from error
