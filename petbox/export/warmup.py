"""The warm-up requests of a SavedModel, in the format of TensorFlow Serving.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of PredictionLogs. The needed fields of that
message are declared here, with the numbers of `prediction_log.proto` and its imports, so that no
further package is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its types are a separate package
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from petbox.tf import tf

FILE = Path("assets.extra", "tf_serving_warmup_requests")

# message: {field: (number, type)}; a capitalized type is a message above, "*" means repeated.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
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


def write(model: Path, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Adds (signature, inputs by name) to the SavedModel in `model`, to be run in order."""
    path = model / FILE
    path.parent.mkdir(exist_ok=True)
    new_log = prediction_log()
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = new_log()
            log.predict_log.request.model_spec.signature_name = signature
            for name, value in inputs.items():
                tensor = tf.make_tensor_proto(value).SerializeToString()
                log.predict_log.request.inputs.add(key=name, value=tensor)
            file.write(log.SerializeToString())


def prediction_log() -> Any:
    """The class of PredictionLog; parsing skips fields that are not declared."""
    file = descriptor_pb2.FileDescriptorProto(name="warmup.proto", package="warmup")
    field = descriptor_pb2.FieldDescriptorProto
    types = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            one, several = kind.rstrip("*"), kind.endswith("*")
            entry = declared.field.add(name=name, number=number, type=types.get(one))
            entry.label = field.LABEL_REPEATED if several else field.LABEL_OPTIONAL
            if one not in types:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".warmup.{one}"
    file.syntax = "proto2"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("warmup.PredictionLog")
    return message_factory.GetMessageClass(descriptor)
