"""What is exported, seen to be sound: a network, its class names, its answers to a few pictures.

There are two kinds: the detector of a finished run, and a SavedModel that exists already. How it
is written is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from petbox.data import labels
from petbox.errors import DataError, ModelError
from petbox.export import verify
from petbox.export.export_source import Source
from petbox.export.faster_rcnn import TrainedNetwork
from petbox.export.picture_requests import request
from petbox.export.signatures import Network, Settings
from petbox.export.verify import Found
from petbox.export.wrapped import WrappedNetwork
from petbox.export.wrapped_source import WrappedSource
from petbox.training import checkpoints, runs
from petbox.training import config as training_config
from petbox.training.pipeline_config import network as pipeline_config_network
from petbox.training.tfvision import tf

PIPELINE_CONFIG = "pipeline.config"
CHECKED = 8  # pictures


@dataclass(frozen=True)
class Subject:
    network: Network
    names: Mapping[int, str]
    label_map: Path
    extras: Mapping[str, Path]  # files that travel along, by the names they get
    told: Mapping[str, Any]  # what the report says of it
    original: str  # what the new model must agree with
    pictures: verify.Pictures
    answers: Iterator[Found]  # of the original to them


def subject(source: Source | WrappedSource, settings: Settings) -> Subject:
    if isinstance(source, Source):
        return _run(source, settings.whole_canvas)
    return _saved_model(source)


def _run(source: Source, whole_canvas: bool) -> Subject:
    config = training_config.load_config(source.run)
    # Only training needs it; without, normalisation is a single step, which can be folded away.
    config.task.model.norm_activation.use_sync_bn = False
    names = _names(source.run, config)
    if source.pipeline_config:
        check_pipeline_config(source.pipeline_config, source.run, config)
    checkpoint = checkpoints.chosen(source.run, source.checkpoint)
    model = checkpoints.restored(config, source.run, checkpoint)
    extras = {runs.PARAMS: source.run / runs.PARAMS}
    given = source.pipeline_config or source.run / PIPELINE_CONFIG
    if given.is_file():
        extras[PIPELINE_CONFIG] = given
    pictures = verify.pictures(source.records, CHECKED, verify.own_records(config))
    network = TrainedNetwork(config, model, whole_canvas)
    return Subject(
        network,
        names,
        source.run / runs.LABEL_MAP,
        extras,
        {"checkpoint": checkpoint.name, "step": checkpoints.step(checkpoint)},
        "its checkpoint",
        pictures,
        verify.evaluated(config, model, pictures.examples, network.canvases),
    )


def _names(run: Path, config: Any) -> dict[int, str]:
    """The label map, once it has been seen to fit the network."""
    names, classes = training_config.class_names(run), config.task.model.num_classes - 1
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
    mapped = pipeline_config_network.read(path)
    wanted = training_config.experiment(mapped.preset, mapped).task.model
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


def _saved_model(source: WrappedSource) -> Subject:
    names = labels.read(source.label_map)
    network = WrappedNetwork(source.model, max(names) + 1)
    pictures = verify.pictures(source.records, CHECKED)
    answers = [_answer(source.model, network, example) for example in pictures.examples]
    _check_answers(source, names, answers)
    return Subject(
        network,
        names,
        source.label_map,
        {},
        {"wrapped": "/".join(source.model.resolve().parts[-2:])},
        "the model it wraps",
        pictures,
        # Some reach beyond the picture, as ours never do.
        (replace(one, boxes=one.boxes.clip(0.0, 1.0)) for one in answers),
    )


def _answer(model: Path, network: WrappedNetwork, serialized: bytes) -> Found:
    try:
        (pixels,) = request("image_tensor", verify.file(serialized))
        boxes, classes, scores, count = (one.numpy() for one in network.answer(pixels))
    except tf.errors.OpError as error:
        raise ModelError(f"{model}: does not answer ({gist(error)}); mend it first") from error
    return Found(boxes[: int(count)], classes[: int(count)], scores[: int(count)])


def gist(error: Any) -> str:
    """What a failure of TensorFlow is, without the places in the graph it passed through."""
    lines = [line for line in error.message.splitlines() if line and not line[0].isspace()]
    return lines[-1] if lines else type(error).__name__


def _check_answers(
    source: WrappedSource, names: Mapping[int, str], answers: Sequence[Found]
) -> None:
    """Refuses a model whose answers mean something else than ours would say."""
    strangers = sorted({int(label) for one in answers for label in one.classes} - names.keys())
    if strangers:
        raise ModelError(
            f"{source.model}: finds class {strangers[0]}, which {source.label_map} does not name; "
            "give the label map it was trained with by --label-map"
        )
    if any(np.abs(one.boxes).max(initial=0.0) > 2 for one in answers):
        raise ModelError(
            f"{source.model}: its detection_boxes are no fractions of the picture; export it with "
            "normalized coordinates"
        )
