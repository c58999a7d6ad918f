"""One version of a SavedModel: its signatures, and running them.

The graph is run through a TensorFlow session, as TensorFlow Serving does: inputs go to the graph
unchecked and errors come back in the graph's own words. Objects and functions of the SavedModel
are not rebuilt, which is most of the time `tf.saved_model.load` takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petbox.serving.model_server import definition
from petbox.serving.model_server.refusal import STATUS, Refusal
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.tensors import Tensors
from petbox.tf import tf


@dataclass(frozen=True)
class Running:
    """How a graph is run."""

    timeout_ms: int = 30_000  # of a call; 0 is none
    tags: tuple[str, ...] = ("serve",)
    inter_op_threads: int = 0  # 0 lets TensorFlow choose
    intra_op_threads: int = 0


class Model:
    """A loaded version, ready to be called from several threads."""

    def __init__(
        self, name: str, version: int, signatures: dict[str, Signature], definitions: Any
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self._definitions = definitions

    def definitions(self) -> dict[str, Any]:
        """All signatures as the metadata call shows them."""
        return {name: definition.as_json(self._definitions[name]) for name in self._definitions}

    def run(self, signature: Signature, tensors: Tensors) -> Tensors:
        """The outputs by name, in no order a client may rely on."""
        if len(tensors) != len(signature.inputs):
            raise _mismatch(tensors, signature)
        try:
            results = signature.call(*(tensors[name] for name in signature.inputs))
        except tf.errors.OpError as error:
            raise graph_refusal(error) from error
        return {
            name: _array(result) for name, result in zip(signature.outputs, results, strict=True)
        }


def load(name: str, version: int, folder: Path, running: Running) -> Model:
    """The SavedModel in `folder`; a refusal in TensorFlow's words if it cannot be loaded."""
    graph = tf.Graph()
    config = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=running.inter_op_threads,
        intra_op_parallelism_threads=running.intra_op_threads,
    )
    # TensorFlow's threads look out for more work for a while before they sleep, at the expense of
    # Python's, which then writes the answer.
    config.experimental.disable_thread_spinning = True
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            meta = tf.compat.v1.saved_model.load(session, list(running.tags), str(folder))
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise _load_refusal(folder, running.tags, error) from error
    signatures = {
        key: _signature(session, of, running.timeout_ms) for key, of in meta.signature_def.items()
    }
    return Model(name, version, signatures, meta.signature_def)


def _signature(session: Any, of: Any, timeout_ms: int) -> Signature:
    inputs = {name: of.inputs[name] for name in sorted(of.inputs)}
    outputs = {name: of.outputs[name] for name in sorted(of.outputs)}
    method, text = of.method_name, str(of)
    if not inputs:
        return Signature({}, list(outputs), list, method, text)
    from tensorflow.core.protobuf.config_pb2 import CallableOptions, RunOptions

    options = CallableOptions(
        feed=[info.name for info in inputs.values()],
        fetch=[info.name for info in outputs.values()],
        run_options=RunOptions(timeout_in_ms=max(timeout_ms, 0)),
    )
    # Unlike `Session.run` and `make_callable`, this leaves shapes to the graph.
    call = session._make_callable_from_options(options)
    dtypes = {name: _dtype(info.dtype) for name, info in inputs.items()}
    return Signature(dtypes, list(outputs), call, method, text)


def _load_refusal(folder: Path, tags: tuple[str, ...], error: Exception) -> Refusal:
    """Why the SavedModel could not be loaded; Python's loader words it other than the C++ one."""
    if isinstance(error, tf.errors.OpError):
        return graph_refusal(error)
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    if not file.exists() and not file.with_suffix(".pbtxt").exists():
        return Refusal(
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {folder}",
            "NOT_FOUND",
        )
    try:
        graphs = SavedModel.FromString(file.read_bytes()).meta_graphs
    except Exception:  # protobuf's own error class, which moves between its versions
        return Refusal(f"Can't parse {file} as binary proto", "DATA_LOSS")
    if all(set(graph.meta_info_def.tags) != set(tags) for graph in graphs):
        return Refusal(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To "
            "inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
            "`saved_model_cli`",
            "NOT_FOUND",
        )
    return Refusal(f"{folder}: {error}", "UNKNOWN")


def graph_refusal(error: Any) -> Refusal:
    """TensorFlow's own error as the client is to read it."""
    number: int = error.error_code
    return Refusal(error.message, list(STATUS)[number - 1])


def _array(result: Any) -> np.ndarray[Any, Any]:
    """A lone string comes as bytes, a lone number as a NumPy scalar."""
    array: np.ndarray[Any, Any] = np.asarray(result, object if isinstance(result, bytes) else None)
    return array


def _dtype(number: int) -> str:
    """TensorFlow's word in error texts: `float`, `double`, `half`, `int32`, `string`, ..."""
    words = {"float32": "float", "float64": "double", "float16": "half"}
    name: str = tf.as_dtype(number).name
    return words.get(name, name)


def _mismatch(tensors: Tensors, signature: Signature) -> Refusal:
    given, wanted = sorted(tensors), sorted(signature.inputs)
    missing = ",".join(sorted(set(wanted) - set(given)))
    return Refusal(
        f"input size does not match signature: {len(given)}!={len(wanted)} "
        f"len({{{','.join(given)}}}) != len({{{','.join(wanted)}}}). "
        f"Sent extra: {{}}. Missing but required: {{{missing}}}."
    )
