"""Classify and regress: what the two ask of a signature, and of what the graph gives back.

Both take serialized tf.train.Example in a single input called `inputs`; the checks and their
sentences are those of TensorFlow Serving's `classifier.cc` and `regressor.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from petbox.serving.model_server import answers
from petbox.serving.model_server.refusal import Refusal
from petbox.serving.model_server.signature import Signature

Tensor = np.ndarray[Any, Any]
Run = Callable[[Signature, dict[str, Tensor]], dict[str, Tensor]]


def classify(signature: Signature, examples: list[bytes], run: Run) -> bytes:
    _refuse_several_inputs(signature)
    if len(signature.outputs) not in (1, 2):
        raise Refusal(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _refuse_other_input(signature, "classification")
    if not {"classes", "scores"} & set(signature.outputs):
        raise Refusal(
            'Expected classification signature outputs to contain at least one of "classes" or '
            f'"scores". Signature was: {signature.definition}',
            "FAILED_PRECONDITION",
        )
    outputs = run(signature, _fed(signature, examples))
    labels, scores = outputs.get("classes"), outputs.get("scores")
    _refuse_table(labels, "classes", "object", "DT_STRING", len(examples))
    _refuse_table(scores, "scores", "float32", "DT_FLOAT", len(examples))
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise Refusal(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    return answers.classes(labels, scores)


def regress(signature: Signature, examples: list[bytes], run: Run) -> bytes:
    _refuse_several_inputs(signature)
    if len(signature.outputs) != 1:
        raise Refusal("Expected one output Tensor.")
    _refuse_other_input(signature, "regression")
    if "outputs" not in signature.outputs:
        raise _missing("regression outputs", signature)
    values = run(signature, _fed(signature, examples))["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise Refusal(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _shape(values)
        )
    if len(values) != len(examples):
        raise Refusal(
            f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise Refusal(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}")
    return answers.values(values)


def _fed(signature: Signature, examples: list[bytes]) -> dict[str, Tensor]:
    wanted = signature.inputs["inputs"]
    if wanted != "string":  # the session's own words, which differ by how it is called
        raise Refusal(f"Expects arg[0] to be {wanted} but string is provided")
    tensor = np.empty(len(examples), object)
    tensor[:] = examples
    return {"inputs": tensor}


def _refuse_several_inputs(signature: Signature) -> None:
    if len(signature.inputs) != 1:
        raise Refusal("Expected one input Tensor.")


def _refuse_other_input(signature: Signature, what: str) -> None:
    if "inputs" not in signature.inputs:
        raise _missing(f"{what} inputs", signature)


def _missing(what: str, signature: Signature) -> Refusal:
    return Refusal(
        f"No {what} found in SignatureDef: {signature.definition}", "FAILED_PRECONDITION"
    )


def _refuse_table(tensor: Tensor | None, name: str, wanted: str, dtype: str, examples: int) -> None:
    """Unless it has a row an example, a value a class, of the right type."""
    if tensor is None:
        return
    if tensor.ndim != 2:
        raise Refusal(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
    if tensor.dtype.name != wanted:
        raise Refusal(f"Expected {name} Tensor of {dtype}. Got: {_dtype(tensor)}")
    if len(tensor) != examples:
        raise Refusal(f"Expected {name} output batch size of {examples}. Got: {len(tensor)}")


def _shape(tensor: Tensor) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"


def _dtype(tensor: Tensor) -> str:
    words = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF", "object": "STRING"}
    name = str(tensor.dtype.name)
    return "DT_" + words.get(name, name.upper())
