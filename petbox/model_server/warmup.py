"""The requests a SavedModel carries along to be warmed up with, run before it is announced.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of TensorFlow Serving's PredictionLog.
The three messages of it that a predict request needs are declared here, field numbers as in
`prediction_log.proto` and `predict.proto`, so that no package has to be installed for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its types are a package apart
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from petbox.errors import ModelError
from petbox.model_server.model import Model
from petbox.model_server.refusal import Refusal
from petbox.model_server.signature import DEFAULT
from petbox.quiet_tensorflow import tf

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000  # TensorFlow Serving's own limit

# message: {field: (number, type)}; a type in capitals is a message above it.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelSpec": {"signature_name": (3, "string")},
    "Input": {"key": (1, "string"), "value": (2, "bytes")},  # a TensorProto, parsed later
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Input")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def warm_up(model: Model, folder: Path) -> int:
    """Runs the requests in `folder`, a version of `model`; a failing one fails the load."""
    path = folder / FILE
    if not path.exists():
        return 0
    log = _prediction_log()
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            if count == MOST_RECORDS:
                raise Refusal(f"more than {MOST_RECORDS} records")
            _run(model, log.FromString(record))
            count += 1
    except (tf.errors.OpError, Refusal, KeyError, ValueError) as error:
        raise ModelError(f"{path}: warm-up request {count} fails: {error}") from error
    return count


def _run(model: Model, log: Any) -> None:
    if not log.HasField("predict_log"):
        raise Refusal("not a predict request; only those are run here")
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    request = log.predict_log.request
    tensors = {
        item.key: tf.make_ndarray(TensorProto.FromString(item.value)) for item in request.inputs
    }
    model.run(model.signature(request.model_spec.signature_name or DEFAULT), tensors)


def _prediction_log() -> Any:
    """The class of PredictionLog. Fields not declared are skipped in parsing, as ever."""
    file = descriptor_pb2.FileDescriptorProto(name="warmup.proto", package="warmup")
    field = descriptor_pb2.FieldDescriptorProto
    types = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            entry = declared.field.add(name=name, number=number, type=types.get(kind))
            entry.label = field.LABEL_REPEATED if kind == "Input" else field.LABEL_OPTIONAL
            if kind not in types:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".warmup.{kind}"
    file.syntax = "proto2"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("warmup.PredictionLog")
    return message_factory.GetMessageClass(descriptor)
