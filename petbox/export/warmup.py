"""The warm-up requests of a SavedModel, in the format of TensorFlow Serving.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of PredictionLogs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from petbox.export.messages import Messages, message_class

FILE = Path("assets.extra", "tf_serving_warmup_requests")

MESSAGES: Messages = {  # of prediction_log.proto and its imports
    "ModelSpec": {"signature_name": (3, "string")},
    "Named": {"key": (1, "string"), "value": (2, "bytes")},  # a TensorProto, parsed later
    "Examples": {"examples": (1, "bytes*")},
    "ExamplesInContext": {"examples": (1, "bytes*"), "context": (2, "bytes")},
    "Input": {
        "example_list": (1, "Examples"),
        "example_list_with_context": (2, "ExamplesInContext"),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Named*")},
    "InferRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "InferLog": {"request": (1, "InferRequest")},
    "PredictionLog": {
        "classify_log": (1, "InferLog"),
        "regress_log": (2, "InferLog"),
        "predict_log": (6, "PredictLog"),
    },
}
PredictionLog = message_class(MESSAGES, "PredictionLog")


def write(model: Path, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Adds (signature, inputs by name) to the SavedModel in `model`, to be run in order."""
    from petbox.tf import tf

    path = model / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for name, value in inputs.items():
                tensor = tf.make_tensor_proto(value).SerializeToString()
                log.predict_log.request.inputs.add(key=name, value=tensor)
            file.write(log.SerializeToString())
