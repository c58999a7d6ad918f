"""One version of a SavedModel: its signatures, and running them.

The graph is run through a TensorFlow session, as TensorFlow Serving does: inputs go to the graph
unchecked and errors come back in the graph's own words. Objects and functions of the SavedModel
are not rebuilt, which is most of the time `tf.saved_model.load` takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from petbox.errors import ModelError
from petbox.model_server.refusal import STATUS, Refusal
from petbox.model_server.signature import Signature
from petbox.model_server.tensors import Tensors
from petbox.quiet_tensorflow import tf


class Model:
    """A loaded version, ready to be called from several threads."""

    def __init__(self, name: str, version: int, signatures: dict[str, Signature]) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures

    def signature(self, name: str) -> Signature:
        if name not in self.signatures:
            raise Refusal(f'Serving signature name: "{name}" not found in signature def')
        signature = self.signatures[name]
        if not signature.inputs:
            raise Refusal(f"Failed to get input map for signature: {name}")
        return signature

    def run(self, signature: Signature, tensors: Tensors) -> Tensors:
        """The outputs by name, in no order a client may rely on."""
        if len(tensors) != len(signature.inputs):
            raise _mismatch(tensors, signature)
        try:
            results = signature.call(*(tensors[name] for name in signature.inputs))
        except tf.errors.OpError as error:
            raise Refusal(error.message, _code(error)) from error
        return {
            name: _array(result) for name, result in zip(signature.outputs, results, strict=True)
        }


def load(name: str, base_path: Path) -> tuple[Model, Path]:
    """The newest version in `base_path`, and its folder."""
    versions = {int(p.name): p for p in base_path.glob("*") if re.fullmatch(r"\d+", p.name)}
    if not versions:
        raise ModelError(f"{base_path}: no version folder such as 1/ in it")
    version, folder = max(versions.items())
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        with graph.as_default():
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{folder}: not a SavedModel TensorFlow can load: {error}") from error
    signatures = {key: _signature(session, of) for key, of in meta.signature_def.items()}
    return Model(name, version, signatures), folder


def _signature(session: Any, definition: Any) -> Signature:
    inputs = {name: definition.inputs[name] for name in sorted(definition.inputs)}
    outputs = {name: definition.outputs[name] for name in sorted(definition.outputs)}
    if not inputs:
        return Signature({}, list(outputs), list)
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    options = CallableOptions(
        feed=[info.name for info in inputs.values()],
        fetch=[info.name for info in outputs.values()],
    )
    # Unlike `Session.run` and `make_callable`, this leaves shapes to the graph.
    call = session._make_callable_from_options(options)
    dtypes = {name: _dtype(info.dtype) for name, info in inputs.items()}
    return Signature(dtypes, list(outputs), call)


def _array(result: Any) -> np.ndarray[Any, Any]:
    """A lone string comes as bytes, a lone number as a NumPy scalar."""
    array: np.ndarray[Any, Any] = np.asarray(result, object if isinstance(result, bytes) else None)
    return array


def _dtype(number: int) -> str:
    """TensorFlow's word in error texts: `float`, `double`, `half`, `int32`, `string`, ..."""
    words = {"float32": "float", "float64": "double", "float16": "half"}
    name: str = tf.as_dtype(number).name
    return words.get(name, name)


def _code(error: Any) -> str:
    number: int = error.error_code
    return list(STATUS)[number - 1]


def _mismatch(tensors: Tensors, signature: Signature) -> Refusal:
    given, wanted = sorted(tensors), sorted(signature.inputs)
    missing = ",".join(sorted(set(wanted) - set(given)))
    return Refusal(
        f"input size does not match signature: {len(given)}!={len(wanted)} "
        f"len({{{','.join(given)}}}) != len({{{','.join(wanted)}}}). "
        f"Sent extra: {{}}. Missing but required: {{{missing}}}."
    )
