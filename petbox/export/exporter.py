"""Exports a run, or an existing SavedModel, as a SavedModel that takes whole image files.

Beside the graph and the weights it contains:

    assets/label_map.pbtxt
    assets.extra/params.yaml, pipeline.config      the run's configuration, if it has one
    assets.extra/export.json                       the exporter's report
    assets.extra/node_names.txt                    the graph's node names before they were shortened
    assets.extra/tf_serving_warmup_requests
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import petbox
from petbox import outputs
from petbox.cli import program
from petbox.errors import DataError, ModelError
from petbox.export import verify, warmup
from petbox.export.batching import BY_DEFAULT
from petbox.export.inputs import INPUT_TYPES, KEY
from petbox.export.model_folder import EXTRA, REPORT, ModelFolder
from petbox.export.rewrite.slim import slim
from petbox.export.signatures import SIGNATURES, Network, Servable, Settings
from petbox.export.source import Source, error_summary, load
from petbox.training import runs
from petbox.training.pipeline_config.mapping import PipelineConfig
from petbox.training.pipeline_config.mapping import read as read_pipeline_config
from petbox.training.runs import PIPELINE_CONFIG, Run
from petbox.training.tfvision import tf

SAVED_MODEL = "saved_model"  # in a folder of the Object Detection API's form
NODE_NAMES = "node_names.txt"  # for reading a trace of the graph: the first line is node n0's


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
    defined by the run's params.yaml; a pipeline.config is only checked against it.
    """
    return export(
        runs.read(Path(trained_checkpoint_prefix)),
        Path(output_directory),
        replace(settings or Settings(), input_type=input_type),
        records,
        read_pipeline_config(Path(pipeline_config)) if pipeline_config else None,
        classic=True,
    )


def export(
    model: Run | ModelFolder,
    out: Path,
    settings: Settings,
    records: Path | None = None,
    pipeline_config: PipelineConfig | None = None,
    *,
    classic: bool = False,
) -> Path:
    """Makes the SavedModel `out`, verified on images of `records`, the run's, or drawn ones.

    With `classic` it makes the folder `out` as the Object Detection API's exporter does.
    """
    _check(model, settings)
    if isinstance(model, ModelFolder):
        settings = replace(settings, batches=None)  # it takes one image at a time
    elif settings.thresholds is None:
        settings = replace(settings, thresholds=model.thresholds)
    start = time.monotonic()
    with outputs.product(out) as partial, _errors_name(out, partial):
        folder = partial / SAVED_MODEL if classic else partial
        source = load(model, records, pipeline_config)
        network = source.build(settings.whole_canvas, settings.plain)
        servable = Servable(network, source.names, settings)
        _write(servable, source, folder, settings)
        _verify(folder, source, network, settings, start)
        if classic and (config := source.files.get(PIPELINE_CONFIG)):
            (partial / PIPELINE_CONFIG).write_bytes(config)
    return out / SAVED_MODEL if classic else out


def _check(model: Run | ModelFolder, settings: Settings) -> None:
    if settings.input_type not in INPUT_TYPES:
        known = ", ".join(INPUT_TYPES)
        raise DataError(f"input type {settings.input_type}: unknown; choose one of {known}")
    if settings.batches not in (None, BY_DEFAULT) and isinstance(model, ModelFolder):
        raise ModelError(
            f"{model.folder}: takes one image at a time, so there is nothing to batch; leave out "
            "--batch (in Python batches)"
        )
    if settings.whole_canvas and isinstance(model, ModelFolder):
        raise ModelError(
            f"{model.folder}: pads its images itself, or not at all; leave out --whole-canvas (in "
            "Python whole_canvas)"
        )


def _write(servable: Servable, source: Source, folder: Path, settings: Settings) -> None:
    servable.save(folder, source.label_map)
    names = [] if settings.plain else slim(folder)
    extra = folder / EXTRA
    extra.mkdir()
    for name, content in source.files.items():
        (extra / name).write_bytes(content)
    warmup.write(folder, _warmup(settings))
    if names:
        (extra / NODE_NAMES).write_text("\n".join(names) + "\n")


def _verify(
    folder: Path, source: Source, network: Network, settings: Settings, start: float
) -> None:
    """Compares the SavedModel with its source, and writes the report."""
    written = time.monotonic() - start
    program.say(f"written in {written:.1f} s; comparing it with {source.title} ...")
    expected = source.expected(network)
    turns = settings.exif == "apply" and settings.input_type != "image_tensor"
    result = verify.check(folder, settings.input_type, source.images, expected, source.title, turns)
    choice = source.canvas_choice(network)
    report = {
        **versions("tensorflow", "tf-models-official"),
        **source.report,
        "settings": asdict(settings),
        "self_check": asdict(result),
        **({"canvases": choice} if choice else {}),
        "seconds": {"written": round(written, 1), "in all": round(time.monotonic() - start, 1)},
    }
    (folder / EXTRA / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    program.say(
        f"{result.pictures} of {result.source}: {result.detections} detections, boxes "
        f"within {result.box_difference:.1e}, scores within {result.score_difference:.1e}"
    )
    if choice:
        program.say(
            f"mAP {choice['mAP']:.4f} on its canvases, {choice['mAP on the whole canvas']:.4f} on "
            f"the whole one, of {choice['images']} validation images"
        )


def versions(*packages: str) -> dict[str, str]:
    return {"petbox": petbox.__version__, **{name: metadata.version(name) for name in packages}}


def _warmup(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request for each signature, whose graph TensorFlow sets up at its first run.

    Another canvas or a batch sets up nothing more: its first request takes no longer than later
    ones, but of a large network as long as a signature's set-up.
    """
    edge = max(1, min(300, math.isqrt(settings.most_pixels)))
    request = {KEY: verify.drawn_request(settings.input_type, edge)}
    return ((signature, request) for signature in SIGNATURES)


@contextmanager
def _errors_name(out: Path, partial: Path) -> Iterator[None]:
    """Errors of writing name the final path, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{out}: cannot be written ({error.strerror}); nothing was kept"
        ) from error
    except tf.errors.OpError as error:
        cause = error_summary(error).replace(str(partial), str(out))
        raise ModelError(f"{out}: cannot be exported ({cause}); nothing was kept") from error
