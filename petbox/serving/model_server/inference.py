"""Classify and regress: checks of the signature and of the outputs, around running the model.

Both take serialized tf.train.Example in a single input named `inputs`; the checks and messages are
those of TensorFlow Serving's `classifier.cc` and `regressor.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from petbox.serving.model_server import responses
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensors import shape_text

Tensor = np.ndarray[Any, Any]
Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def classify(signature: Signature, examples: list[bytes], run: Run) -> bytes:
    _check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise StatusError(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _check_input_name(signature, "classification")
    if not {"classes", "scores"} & set(signature.outputs):
        raise StatusError(
            'Expected classification signature outputs to contain at least one of "classes" or '
            f'"scores". Signature was: {signature.definition}',
            "FAILED_PRECONDITION",
        )
    outputs = run(_fed(signature, examples))
    labels, scores = outputs.get("classes"), outputs.get("scores")
    _check_table(labels, "classes", "object", "DT_STRING", len(examples))
    _check_table(scores, "scores", "float32", "DT_FLOAT", len(examples))
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise StatusError(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    return responses.classes(labels, scores)


def regress(signature: Signature, examples: list[bytes], run: Run) -> bytes:
    _check_one_input(signature)
    if len(signature.outputs) != 1:
        raise StatusError("Expected one output Tensor.")
    _check_input_name(signature, "regression")
    if "outputs" not in signature.outputs:
        raise _missing("regression outputs", signature)
    values = run(_fed(signature, examples))["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise StatusError(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + shape_text(values.shape)
        )
    if len(values) != len(examples):
        raise StatusError(
            f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise StatusError(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}")
    return responses.values(values)


def _fed(signature: Signature, examples: list[bytes]) -> dict[str, Tensor]:
    dtype = signature.inputs["inputs"]
    if dtype != "string":  # the message of a session's callable
        raise StatusError(f"Expects arg[0] to be {dtype} but string is provided")
    tensor = np.empty(len(examples), object)
    tensor[:] = examples
    return {"inputs": tensor}


def _check_one_input(signature: Signature) -> None:
    if len(signature.inputs) != 1:
        raise StatusError("Expected one input Tensor.")


def _check_input_name(signature: Signature, what: str) -> None:
    if "inputs" not in signature.inputs:
        raise _missing(f"{what} inputs", signature)


def _missing(what: str, signature: Signature) -> StatusError:
    return StatusError(
        f"No {what} found in SignatureDef: {signature.definition}", "FAILED_PRECONDITION"
    )


def _check_table(
    tensor: Tensor | None, name: str, numpy_dtype: str, dtype: str, examples: int
) -> None:
    """It must have a row per example and a value per class, of the right type."""
    if tensor is None:
        return
    if tensor.ndim != 2:
        shape = shape_text(tensor.shape)
        raise StatusError(f"Expected Tensor shape: [batch_size num_classes] but got {shape}")
    if tensor.dtype.name != numpy_dtype:
        raise StatusError(f"Expected {name} Tensor of {dtype}. Got: {_dtype(tensor)}")
    if len(tensor) != examples:
        raise StatusError(f"Expected {name} output batch size of {examples}. Got: {len(tensor)}")


def _dtype(tensor: Tensor) -> str:
    names = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF", "object": "STRING"}
    name = str(tensor.dtype.name)
    return "DT_" + names.get(name, name.upper())
