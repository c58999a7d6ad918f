"""A detector made a SavedModel: written whole, compared with what it was made from.

Inside, beside the graph and the weights:

    assets/label_map.pbtxt
    assets.extra/params.yaml, pipeline.config      a run's configuration, as far as it has one
    assets.extra/export.json                       this exporter's own report
    assets.extra/node_names.txt                    what the graph's nodes were called before
    assets.extra/tf_serving_warmup_requests
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
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
from petbox.data import labels
from petbox.errors import DataError, ModelError
from petbox.export import verify, warmup
from petbox.export.export_source import Source, source
from petbox.export.inputs import INPUT_TYPES, KEY
from petbox.export.rewrite.slim import slim
from petbox.export.signatures import SIGNATURES, Network, Servable, Settings
from petbox.export.source import PIPELINE_CONFIG, Subject, gist, subject
from petbox.export.wrapped_source import WrappedSource
from petbox.training.tfvision import tf

SAVED_MODEL = "saved_model"  # in a folder of the Object Detection API's form
EXTRA = "assets.extra"
REPORT = "export.json"
NAMES = "node_names.txt"  # for who reads a trace of the graph: its first line is that of node n0


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


def export_classic(source: Source | WrappedSource, out: Path, settings: Settings) -> Path:
    """Makes the folder `out` as the Object Detection API's exporter does: saved_model in it."""
    with outputs.product(out) as partial:
        partial.mkdir()
        model = _written(source, settings, partial, out, SAVED_MODEL)
        extra = model / EXTRA / PIPELINE_CONFIG
        if extra.exists():
            shutil.copy(extra, partial / PIPELINE_CONFIG)
    return out / SAVED_MODEL


def export(source: Source | WrappedSource, out: Path, settings: Settings) -> Path:
    """Makes the SavedModel `out`."""
    with outputs.product(out) as partial:
        _written(source, settings, partial, out)
    return out


def _written(
    source: Source | WrappedSource, settings: Settings, partial: Path, out: Path, name: str = ""
) -> Path:
    """Writes the SavedModel `name` in the product `out`, which is still called `partial`."""
    _check(source, settings)
    start = time.monotonic()
    made = subject(source, settings)
    folder = partial / name
    with _said_of(out, partial):
        with tempfile.TemporaryDirectory() as named:  # an asset is called as its file is
            label_map = Path(named, labels.FILE_NAME)
            shutil.copy(made.label_map, label_map)
            Servable(made.network, label_map, made.names, settings).save(folder)
        names = slim(folder)
        _add_extras(folder, made, settings)
        (folder / EXTRA / NAMES).write_text("\n".join(names) + "\n")
        built = time.monotonic() - start
        program.say(f"written in {built:.1f} s; comparing it with {made.original} ...")
        agreement = verify.check(
            folder, settings.input_type, made.pictures, made.answers, made.original
        )
        seconds = {"written": round(built, 1), "in all": round(time.monotonic() - start, 1)}
        report = {**_versions(), **made.told, "settings": asdict(settings)}
        report |= {"self_check": asdict(agreement), "seconds": seconds}
        (folder / EXTRA / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    program.say(
        f"{agreement.pictures} of {agreement.source}: {agreement.detections} detections, boxes "
        f"within {agreement.box_difference:.1e}, scores within {agreement.score_difference:.1e}"
    )
    return folder


def _check(source: Source | WrappedSource, settings: Settings) -> None:
    if settings.input_type not in INPUT_TYPES:
        raise DataError(f"--input-type {settings.input_type}: there are {', '.join(INPUT_TYPES)}")
    if settings.batches and isinstance(source, WrappedSource):
        raise ModelError(
            f"--batch: {source.model} takes one picture at a time, so there is nothing to batch; "
            "leave it out"
        )
    if settings.whole_canvas and isinstance(source, WrappedSource):
        raise ModelError(
            f"--whole-canvas: {source.model} pads its pictures itself, or not at all; leave it out"
        )


def _add_extras(folder: Path, made: Subject, settings: Settings) -> None:
    """What travels beside the graph: configuration, requests to warm up with."""
    extra = folder / EXTRA
    extra.mkdir()
    for name, path in made.extras.items():
        shutil.copy(path, extra / name)
    warmup.write(folder, _warmup(settings, made.network))


def _versions() -> dict[str, Any]:
    garden = "tf-models-official"
    return {
        "petbox": petbox.__version__,
        "tensorflow": tf.__version__,
        garden: metadata.version(garden),
    }


def _warmup(settings: Settings, network: Network) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request of each kind, one for each canvas, and one that fills a batch."""

    def drawn(count: int = 1, size: tuple[int, int] = (300, 300)) -> dict[str, Any]:
        scale = min(1.0, math.sqrt(settings.most_pixels / math.prod(size)))
        height, width = (max(1, int(side * scale)) for side in size)
        return {KEY: verify.drawn_request(settings.input_type, count, (height, width))}

    for signature in SIGNATURES:
        yield signature, drawn()
    if len(network.canvases) > 1:
        for canvas in network.canvases:
            yield SIGNATURES[0], drawn(size=canvas.most)
    if settings.batches:
        most = min(settings.batches.most, settings.most_pictures)
        yield SIGNATURES[0], drawn(most)


@contextmanager
def _said_of(out: Path, partial: Path) -> Iterator[None]:
    """What goes wrong in writing is said of the product, not of the name it still has."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror}); nothing is left") from error
    except tf.errors.OpError as error:
        said = gist(error).replace(str(partial), str(out))
        raise ModelError(f"{out}: cannot be exported ({said}); nothing is left") from error
