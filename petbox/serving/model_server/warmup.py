"""Runs the warm-up requests in a SavedModel before it becomes available."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # a separate package

from petbox.export.warmup import FILE, MESSAGES, PredictionLog
from petbox.serving.model_server import background, inference
from petbox.serving.model_server.model import Model
from petbox.serving.model_server.records import CorruptRecord, records
from petbox.serving.model_server.signature import DEFAULT, Signature
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensor_proto import from_proto

MAX_RECORDS = 1000  # TensorFlow Serving's own limit
AT_ONCE = 2  # signatures, whose first run takes one core


def warm_up(model: Model, folder: Path, times: int = 1, yields: bool = False) -> int:
    """Runs the requests in `folder`, if any; returns how many. One that fails fails the load.

    It yields to the requests of clients, if asked to.
    """
    path = folder / FILE
    if not times or not path.exists():
        return 0
    logs: list[Any] = []
    try:
        for record in records(path):
            if len(logs) == MAX_RECORDS:
                raise StatusError(f"Number of warmup records exceeds the maximum ({MAX_RECORDS})")
            logs.append(PredictionLog.FromString(record))
    except CorruptRecord as error:
        raise StatusError(
            f"{error}. Please verify your warmup data is in TFRecord format.", "DATA_LOSS"
        ) from error
    except DecodeError as error:
        message = f"Failed to parse warmup record: {path}: record {len(logs)}"
        raise StatusError(message) from error

    def run(number: int) -> None:
        try:
            for _ in range(times):
                _run(model, logs[number])
        except StatusError as error:
            message = f"{error.message} (warm-up request {number})"
            raise StatusError(message, error.code) from error

    background.run([partial(run, number) for number in range(len(logs))], AT_ONCE, yields)
    return len(logs)


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
        tensors = {item.key: from_proto(item.value) for item in request.inputs}
        model.run(name, tensors)
    else:
        infer = inference.classify if kind == "classify_log" else inference.regress
        infer(signature, _examples(request.input), partial(model.run, name))


def _examples(given: Any) -> list[bytes]:
    if given.HasField("example_list_with_context"):
        shared = given.example_list_with_context
        return [shared.context + example for example in shared.examples]
    return list(given.example_list.examples)
