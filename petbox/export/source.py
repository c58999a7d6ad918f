"""What an export is made from, loaded and checked: a run's detector, or an existing SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from petbox.errors import DataError, ModelError
from petbox.export import canvas_choice, verify
from petbox.export.inputs import request
from petbox.export.model_folder import ModelFolder
from petbox.export.signatures import Network
from petbox.export.trained import TrainedNetwork
from petbox.export.verify import Found
from petbox.export.wrapped import WrappedNetwork
from petbox.training import checkpoints, families, runs
from petbox.training import config as training_config
from petbox.training.pipeline_config.mapping import PipelineConfig
from petbox.training.runs import PIPELINE_CONFIG, Run
from petbox.training.tfvision import tf

VERIFIED = 8  # images


@dataclass(frozen=True)
class Source:
    """The model to export, and what its export must reproduce."""

    title: str  # what messages call it
    names: Mapping[int, str]
    label_map: bytes
    files: Mapping[str, bytes]  # copied into assets.extra, by name
    report: Mapping[str, Any]  # its part of export.json
    images: verify.Images
    build: Callable[[bool, bool], Network]  # for the whole canvas only or not; plain or not
    expected: Callable[[Network], Iterator[Found]]  # detections in the images
    # What the choice of canvases changes, if that can be measured.
    canvas_choice: Callable[[Network], Mapping[str, Any] | None] = lambda _: None


def load(
    model: Run | ModelFolder,
    records: Path | None = None,
    pipeline_config: PipelineConfig | None = None,
) -> Source:
    if isinstance(model, ModelFolder):
        return _saved_model(model, records)
    return _run(model, records, pipeline_config)


def _run(run: Run, records: Path | None, pipeline_config: PipelineConfig | None) -> Source:
    config = training_config.load_config(run)
    # Only training needs it; without, normalization is a single op, which can be folded away.
    config.task.model.norm_activation.use_sync_bn = False
    _check_names(run, config)
    if pipeline_config:
        _check_pipeline_config(pipeline_config, run, config)
    task, model = training_config.task(config), checkpoints.restored(config, run)
    text = pipeline_config.text if pipeline_config else run.pipeline_config
    own = verify.own_records(config.task.validation_data)
    images, call = verify.images(records, VERIFIED, own), verify.caller(model)
    files = verify.validation_files(records, own)
    return Source(
        title="its checkpoint",
        names=run.names,
        label_map=run.label_map_text,
        files={runs.PARAMS: run.params, **({PIPELINE_CONFIG: text} if text else {})},
        report={
            "detector": families.of(config.task.model).name,
            "checkpoint": run.checkpoint.name,
            "step": checkpoints.step(run.checkpoint),
        },
        images=images,
        build=partial(TrainedNetwork, config, model),
        expected=lambda network: verify.evaluated(task, call, images.examples, network.canvases),
        canvas_choice=lambda network: canvas_choice.measured(task, call, files, network.canvases),
    )


def _check_names(run: Run, config: Any) -> None:
    highest, classes = max(run.names), config.task.model.num_classes - 1
    # A run of a pipeline.config may have more classes than its records.
    if highest > classes or (highest < classes and run.pipeline_config is None):
        raise ModelError(
            f"{run.label_map}: its highest id is {highest}, but the network of "
            f"{run.folder / runs.PARAMS} has {classes} classes; restore the label map it was "
            "trained with"
        )


def _check_pipeline_config(theirs: PipelineConfig, run: Run, config: Any) -> None:
    """Rejects a pipeline.config of a different network than the run's."""
    expected = training_config.experiment(theirs.preset, theirs).task.model
    actual = config.task.model
    for what, stated, trained in (
        ("its network", families.of(expected).name, families.of(actual).name),
        ("num_classes", theirs.classes, actual.num_classes - 1),
        ("its backbone", _backbone(expected), _backbone(actual)),
    ):
        if stated != trained:
            raise DataError(
                f"{theirs.source}: {what} is {stated}, but {run.folder} was trained with "
                f"{trained}; pass the pipeline.config it was trained with, or none"
            )


def _backbone(model: Any) -> str:
    kind = model.backbone.type
    return f"{kind} {getattr(model.backbone.get(), 'model_id', '')}".strip()


def _saved_model(model: ModelFolder, records: Path | None) -> Source:
    network = WrappedNetwork(model.folder, max(model.names) + 1)
    images = verify.images(records, VERIFIED)
    results = [_detections(model.folder, network, example) for example in images.examples]
    _check_results(model, results)
    return Source(
        title="the model it wraps",
        names=model.names,
        label_map=model.label_map_text,
        files={},
        report={"wrapped": "/".join(model.folder.resolve().parts[-2:])},
        images=images,
        build=lambda *_: network,
        # Some boxes reach beyond the image, as those of the export never do.
        expected=lambda _: (replace(one, boxes=one.boxes.clip(0.0, 1.0)) for one in results),
    )


def _detections(folder: Path, network: WrappedNetwork, serialized: bytes) -> Found:
    try:
        (pixels,) = request("image_tensor", verify.file(serialized))
        boxes, classes, scores, count = (one.numpy() for one in network.results(pixels))
    except tf.errors.OpError as error:
        raise ModelError(
            f"{folder}: fails on an image ({error_summary(error)}); name another model"
        ) from error
    return Found(boxes[: int(count)], classes[: int(count)], scores[: int(count)])


def error_summary(error: Any) -> str:
    """The last line of a TensorFlow error that is not about places in the graph."""
    lines = [line for line in error.message.splitlines() if line and not line[0].isspace()]
    return lines[-1] if lines else type(error).__name__


def _check_results(model: ModelFolder, results: Sequence[Found]) -> None:
    """Rejects a model whose outputs have other meanings than the export's."""
    unknown = sorted({int(label) for one in results for label in one.classes} - model.names.keys())
    if unknown:
        raise ModelError(
            f"{model.folder}: detects class {unknown[0]}, which {model.label_map} does not name; "
            "pass the label map it was trained with as --label-map"
        )
    if any(np.abs(one.boxes).max(initial=0.0) > 2 for one in results):
        raise ModelError(
            f"{model.folder}: its detection_boxes are not fractions of the image; export it with "
            "normalized coordinates"
        )
