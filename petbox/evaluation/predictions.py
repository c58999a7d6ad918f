"""Detections of a run, or of an exported model, in each image of a split, beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from petbox.data import records
from petbox.errors import DataError, ModelError
from petbox.evaluation.coco_metrics import EvaluatedImage, Truth
from petbox.export.inputs import request
from petbox.export.model_folder import OUTPUTS, SIGNATURE, ModelFolder
from petbox.images import exif
from petbox.tf import as_written
from petbox.training import checkpoints
from petbox.training import config as training_config
from petbox.training.runs import Run
from petbox.training.tfvision import tf
from petbox.wire import Box, Detection

Predict = Callable[[Path, str], Iterator[EvaluatedImage]]  # of a split of the records in a folder

# A run, by the Model Garden's own evaluation


def of_run(run: Run) -> Predict:
    """Gives each image of one split, in no set order."""
    config = training_config.load_config(run)
    task, model = training_config.task(config), checkpoints.restored(config, run)

    @tf.function
    @as_written
    def detect(images: Any, info: Any) -> Any:
        found = model(images, image_shape=info[:, 1, :], training=False)
        return {name: found[name] for name in OUTPUTS}

    return partial(_of_split, task, detect)


def _of_split(task: Any, detect: Any, folder: Path, split: str) -> Iterator[EvaluatedImage]:
    data = task.task_config.validation_data
    data.input_path = [str(path) for path in records.files(folder, split)]
    try:
        batches = task.build_inputs(data)
        images, labels = batches.element_spec  # of any number, so that one trace does for all
        detect = detect.get_concrete_function(images, labels["image_info"])
        for images, labels in batches:
            truth, info = labels["groundtruths"], labels["image_info"]
            batch = tf.nest.map_structure(lambda t: t.numpy(), (truth, info, detect(images, info)))
            for at in range(len(info)):
                yield _of_batch(*tf.nest.map_structure(lambda values, at=at: values[at], batch))
    except tf.errors.DataLossError as error:
        raise DataError(f"{folder}: a shard is damaged; make the records again") from error


def _of_batch(truth: Any, info: Any, found: Any) -> EvaluatedImage:
    """One image of a batch, from the Model Garden's padded arrays; its boxes are in pixels."""
    size, scale = [*info[0], *info[0]], [*info[2], *info[2]]
    names = ("is_crowds", "is_difficults")
    flags = (truth[name].astype(bool) for name in names)
    animals = zip(truth["classes"], truth["boxes"] / size, *flags, strict=True)
    # Not clipped to the image, as in the Model Garden's evaluator.
    boxes = found["detection_boxes"] / scale / size
    return EvaluatedImage(
        number=int(truth["source_id"]),
        width=int(size[1]),
        height=int(size[0]),
        truth=tuple(
            # The Model Garden takes difficult objects for crowds.
            Truth(int(label), _box(edges), bool(crowd and not difficult), bool(difficult))
            for label, edges, crowd, difficult in list(animals)[: int(truth["num_detections"])]
        ),
        detections=_detections({**found, "detection_boxes": boxes}),
    )


def _box(edges: Any) -> Box:
    ymin, xmin, ymax, xmax = map(float, edges)
    return ymin, xmin, ymax, xmax


def _detections(found: Mapping[str, Any]) -> tuple[Detection, ...]:
    boxes, classes, scores, count = (found[name] for name in OUTPUTS)
    rows = list(zip(classes, scores, boxes, strict=True))[: int(count)]
    return tuple(Detection(int(label), float(score), _box(edges)) for label, score, edges in rows)


# An exported model, by its signature serving_default, as its clients call it


def of_model(model: ModelFolder, folder: Path, split: str) -> Iterator[EvaluatedImage]:
    """Each image of one split of the records in `folder`, for any model of the API's form."""
    where = model.folder
    try:
        loaded = tf.saved_model.load(str(where))
        signature = loaded.signatures[SIGNATURE]
        ((key, spec),) = signature.structured_input_signature[1].items()
        missing = set(OUTPUTS) - signature.structured_outputs.keys()
    except (tf.errors.OpError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{where}: no SavedModel that takes images; export it again") from error
    if missing:
        raise ModelError(f"{where}: lacks outputs ({', '.join(sorted(missing))}); name a detector")
    input_type = "image_tensor" if spec.dtype == tf.uint8 else model.input_type
    for at, example in enumerate(records.examples(folder, split)):
        try:
            # The boxes belong to the pixels as they are stored.
            found = signature(**{key: request(input_type, exif.as_stored(example.encoded))})
        except tf.errors.OpError as error:
            cause = " ".join(error.message.split())
            raise ModelError(f"{where}: fails on {example.name}: {cause}") from error
        outputs = {name: found[name][0].numpy() for name in OUTPUTS}
        yield EvaluatedImage.of(at, example, _detections(outputs))
