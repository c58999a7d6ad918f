"""Runs the warm-up requests in a SavedModel before it becomes available.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of TensorFlow Serving's PredictionLog. The
needed fields of that message are declared here, with the numbers of `prediction_log.proto` and its
imports, so that no further package is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its types are a separate package
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from petbox.serving.model_server import inference
from petbox.serving.model_server.model import Model, graph_error
from petbox.serving.model_server.signature import DEFAULT, Signature
from petbox.serving.model_server.status import StatusError
from petbox.tf import tf

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000  # TensorFlow Serving's own limit

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


def warm_up(model: Model, folder: Path, times: int = 1) -> int:
    """Runs the requests in `folder`, if any; returns how many. One that fails fails the load."""
    path = folder / FILE
    if not times or not path.exists():
        return 0
    log = _prediction_log()
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            if count == MAX_RECORDS:
                raise StatusError(f"Number of warmup records exceeds the maximum ({MAX_RECORDS})")
            for _ in range(times):
                _run(model, log.FromString(record))
            count += 1
    except tf.errors.DataLossError as error:
        raise StatusError(
            f"{error.message}. Please verify your warmup data is in TFRecord format.", "DATA_LOSS"
        ) from error
    except tf.errors.OpError as error:
        raise graph_error(error) from error
    except DecodeError as error:
        raise StatusError(f"Failed to parse warmup record: {path}: record {count}") from error
    except StatusError as error:
        raise StatusError(f"{error.message} (warm-up request {count})", error.code) from error
    return count


def _run(model: Model, log: Any) -> None:
    kind = next((name for name in MESSAGES["PredictionLog"] if log.HasField(name)), None)
    if kind is None:
        raise StatusError("Unsupported log_type for warmup", "UNIMPLEMENTED")
    request = getattr(log, kind).request
    name = request.model_spec.signature_name or DEFAULT
    if name not in model.signatures:
        raise StatusError(f'Serving signature name: "{name}" not found in signature def')
    signature: Signature = model.signatures[name]
    if kind == "predict_log":
        tensors = {item.key: _tensor(item.value) for item in request.inputs}
        model.run(signature, tensors)
    else:
        infer = inference.classify if kind == "classify_log" else inference.regress
        infer(signature, _examples(request.input), model.run)


def _tensor(serialized: bytes) -> Any:
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    return tf.make_ndarray(TensorProto.FromString(serialized))


def _examples(given: Any) -> list[bytes]:
    if given.HasField("example_list_with_context"):
        shared = given.example_list_with_context
        return [shared.context + example for example in shared.examples]
    return list(given.example_list.examples)


def _prediction_log() -> Any:
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
