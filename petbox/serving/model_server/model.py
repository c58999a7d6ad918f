"""One version of a SavedModel: its signatures, and running them.

The graph runs in a TensorFlow session, as in TensorFlow Serving: inputs go to the graph unchecked
and errors are the graph's own. The SavedModel's objects and functions are not rebuilt, which is
what takes `tf.saved_model.load` most of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petbox.serving.model_server.signature import Signature, definition_json
from petbox.serving.model_server.status import HTTP_STATUS, StatusError
from petbox.serving.model_server.tensors import Tensors
from petbox.tf import tf


@dataclass(frozen=True)
class SessionOptions:
    timeout_ms: int = 30_000  # per call; 0 for no limit
    tags: tuple[str, ...] = ("serve",)
    inter_op_threads: int = 0  # 0 lets TensorFlow choose
    intra_op_threads: int = 0


@dataclass
class Model:
    """A loaded version; may be called from several threads."""

    name: str
    version: int
    signatures: dict[str, Signature]
    signature_defs: Any

    def definitions(self) -> dict[str, Any]:
        """All signatures, as shown in the metadata."""
        return {name: definition_json(each) for name, each in self.signature_defs.items()}

    def run(self, signature: Signature, tensors: Tensors) -> Tensors:
        if len(tensors) != len(signature.inputs):
            raise _mismatch(tensors, signature)
        try:
            results = signature.call(*(tensors[name] for name in signature.inputs))
        except tf.errors.OpError as error:
            raise graph_error(error) from error
        except UnicodeDecodeError as error:  # a message that quotes bytes; its status is lost
            raise StatusError(error.object.decode("utf-8", "surrogateescape")) from error
        return {
            name: _array(result) for name, result in zip(signature.outputs, results, strict=True)
        }


def load(name: str, version: int, folder: Path, options: SessionOptions) -> Model:
    """Loads the SavedModel in `folder`; a failure has TensorFlow's error message."""
    graph = tf.Graph()
    config = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=options.inter_op_threads,
        intra_op_parallelism_threads=options.intra_op_threads,
        # So that the warm-up of another model does not hold all threads.
        use_per_session_threads=True,
    )
    # TensorFlow's threads would spin for a while before they sleep, and slow down the Python
    # thread that writes the response.
    config.experimental.disable_thread_spinning = True
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            meta = tf.compat.v1.saved_model.load(session, list(options.tags), str(folder))
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise _load_error(folder, options.tags, error) from error
    signatures = {
        key: _signature(session, of, options.timeout_ms) for key, of in meta.signature_def.items()
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
    # Unlike `Session.run` and `make_callable`, this does not check shapes.
    call = session._make_callable_from_options(options)
    dtypes = {name: _dtype(info.dtype) for name, info in inputs.items()}
    return Signature(dtypes, list(outputs), call, method, text)


def _load_error(folder: Path, tags: tuple[str, ...], error: Exception) -> StatusError:
    """The error of TensorFlow's C++ loader; that of the Python loader differs."""
    if isinstance(error, tf.errors.OpError):
        return graph_error(error)
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    if not file.exists() and not file.with_suffix(".pbtxt").exists():
        return StatusError(
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {folder}",
            "NOT_FOUND",
        )
    try:
        graphs = SavedModel.FromString(file.read_bytes()).meta_graphs
    except Exception:  # protobuf's error class, which has moved between versions
        return StatusError(f"Can't parse {file} as binary proto", "DATA_LOSS")
    if all(set(graph.meta_info_def.tags) != set(tags) for graph in graphs):
        return StatusError(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To "
            "inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
            "`saved_model_cli`",
            "NOT_FOUND",
        )
    return StatusError(f"{folder}: {error}", "UNKNOWN")


def graph_error(error: Any) -> StatusError:
    """TensorFlow's error, as sent to the client."""
    number: int = error.error_code
    return StatusError(error.message, list(HTTP_STATUS)[number - 1])


def _array(result: Any) -> np.ndarray[Any, Any]:
    """As an array; a scalar string comes as bytes, a scalar number as a NumPy scalar."""
    array: np.ndarray[Any, Any] = np.asarray(result, object if isinstance(result, bytes) else None)
    return array


def _dtype(number: int) -> str:
    """TensorFlow's name in error messages: `float`, `double`, `half`, `int32`, `string`, ..."""
    names = {"float32": "float", "float64": "double", "float16": "half"}
    name: str = tf.as_dtype(number).name
    return names.get(name, name)


def _mismatch(tensors: Tensors, signature: Signature) -> StatusError:
    given, expected = sorted(tensors), sorted(signature.inputs)
    missing = ",".join(sorted(set(expected) - set(given)))
    return StatusError(
        f"input size does not match signature: {len(given)}!={len(expected)} "
        f"len({{{','.join(given)}}}) != len({{{','.join(expected)}}}). "
        f"Sent extra: {{}}. Missing but required: {{{missing}}}."
    )
