"""Writes the warm-up requests of a SavedModel, in the format of TensorFlow Serving.

That is a TFRecord of PredictionLogs. A predict request needs only nested fields of bytes of that
message, so they are encoded here, without the package that declares them. The numbers are those
of `prediction_log.proto`, `predict.proto` and `model.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from petbox.tf import tf

FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write(model: Path, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Adds (signature, inputs by name) to the SavedModel in `model`, to be run in order."""
    path = model / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            file.write(_prediction_log(signature, inputs))


def _prediction_log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    model_spec = _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: number and wire type, length, content."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size % 128 + 128])
        size //= 128
    return bytes([number * 8 + 2]) + length + bytes([size]) + content
