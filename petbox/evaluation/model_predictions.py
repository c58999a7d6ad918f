"""Runs an exported model over records as its clients would: by its signature serving_default.

Whose model it is does not matter, as long as its answers are of the Object Detection API's form.
What is made of them is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petbox.data import records
from petbox.data.records import Example
from petbox.errors import ModelError
from petbox.evaluation.comparison import Compared, Truth
from petbox.export.picture_requests import request
from petbox.tf import tf
from petbox.wire import Detection

REPORT = Path("assets.extra", "export.json")
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


def compared(model: Path, folder: Path, split: str) -> Iterator[Compared]:
    """Each picture of one split of the records in `folder` with what `model` finds in it."""
    try:
        loaded = tf.saved_model.load(str(model))
        signature = loaded.signatures["serving_default"]
        ((key, spec),) = signature.structured_input_signature[1].items()
        answered = set(OUTPUTS) <= signature.structured_outputs.keys()
    except (tf.errors.OpError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{model}: no SavedModel that takes pictures; export it again") from error
    if not answered:
        raise ModelError(f"{model}: gives no {', '.join(OUTPUTS)}; name a detector")
    input_type = _input_type(model, spec)
    for at, example in enumerate(records.examples(folder, split)):
        try:
            found = signature(**{key: request(input_type, example.encoded)})
        except tf.errors.OpError as error:
            said = " ".join(error.message.split())
            raise ModelError(f"{model}: does not answer to {example.name}: {said}") from error
        yield _compared(at, example, {name: found[name][0].numpy() for name in OUTPUTS})


def _input_type(model: Path, spec: Any) -> str:
    """Text may be a picture's file or an example with one in it; only our exporter says which."""
    if spec.dtype == tf.uint8:
        return "image_tensor"
    if not (model / REPORT).is_file():
        return "encoded_image_string_tensor"
    try:
        report = json.loads((model / REPORT).read_text(encoding="utf-8"))
        return str(report["settings"]["input_type"])
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{model / REPORT}: is broken; export the model again") from error


def _compared(at: int, example: Example, found: dict[str, Any]) -> Compared:
    truth = zip(example.classes, example.boxes, example.crowds, strict=True)
    boxes, classes, scores, count = (found[name] for name in OUTPUTS)
    pets = zip(classes, scores, boxes.tolist(), strict=True)
    return Compared(
        number=at if example.source_id is None else example.source_id,
        width=example.width,
        height=example.height,
        truth=tuple(Truth(label, box, crowd) for label, box, crowd in truth),
        found=tuple(
            Detection(int(label), float(score), (ymin, xmin, ymax, xmax))
            for label, score, (ymin, xmin, ymax, xmax) in list(pets)[: int(count)]
        ),
    )
