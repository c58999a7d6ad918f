"""SavedModels, run by TensorFlow.

The graph runs in a TensorFlow session, as in TensorFlow Serving: inputs go to the graph unchecked
and errors are the graph's own. The SavedModel's objects and functions are not rebuilt, which is
what takes `tf.saved_model.load` most of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petbox.serving.model_server.engine import EngineOptions
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.signature_def import MetaGraphDef
from petbox.serving.model_server.status import HTTP_STATUS, StatusError
from petbox.serving.model_server.tensors import Tensors
from petbox.tf import tf


class TensorFlow:
    name = f"TensorFlow {tf.__version__}"

    def __init__(self, options: EngineOptions | None = None) -> None:
        self._options = options or EngineOptions()

    def load(self, folder: Path) -> SavedModel:
        """Loads the SavedModel in `folder`; a failure has TensorFlow's error message."""
        graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=self._options.inter_op_threads,
            intra_op_parallelism_threads=self._options.intra_op_threads,
            # So that the warm-up of another model does not hold all threads.
            use_per_session_threads=True,
        )
        # TensorFlow's threads would spin for a while before they sleep, and slow down the Python
        # thread that writes the response.
        config.experimental.disable_thread_spinning = True
        session = tf.compat.v1.Session(graph=graph, config=config)
        tags = list(self._options.tags)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.load(session, tags, str(folder))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            raise _load_error(folder, self._options.tags, error) from error
        definitions = MetaGraphDef.FromString(meta.SerializeToString()).signature_def
        signatures = {key: Signature.of(definitions[key]) for key in definitions}
        calls = {
            key: _call(session, definitions[key], self._options.timeout_ms) for key in definitions
        }
        return SavedModel(signatures, calls)


@dataclass
class SavedModel:
    signatures: dict[str, Signature]
    calls: dict[str, Any]

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        described = self.signatures[signature]
        try:
            results = self.calls[signature](*(tensors[name] for name in described.inputs))
        except tf.errors.OpError as error:
            raise graph_error(error) from error
        except UnicodeDecodeError as error:  # a message that quotes bytes; its status is lost
            raise StatusError(error.object.decode("utf-8", "surrogateescape")) from error
        return {
            name: _array(result) for name, result in zip(described.outputs, results, strict=True)
        }


def _call(session: Any, of: Any, timeout_ms: int) -> Any:
    if not of.inputs:
        return list
    from tensorflow.core.protobuf.config_pb2 import CallableOptions, RunOptions

    options = CallableOptions(
        feed=[of.inputs[name].name for name in sorted(of.inputs)],
        fetch=[of.outputs[name].name for name in sorted(of.outputs)],
        run_options=RunOptions(timeout_in_ms=max(timeout_ms, 0)),
    )
    # Unlike `Session.run` and `make_callable`, this does not check shapes.
    return session._make_callable_from_options(options)


def _load_error(folder: Path, tags: tuple[str, ...], error: Exception) -> StatusError:
    """The error of TensorFlow's C++ loader; that of the Python loader differs."""
    if isinstance(error, tf.errors.OpError):
        return graph_error(error)
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Message

    file = folder / "saved_model.pb"
    if not file.exists() and not file.with_suffix(".pbtxt").exists():
        return StatusError(
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {folder}",
            "NOT_FOUND",
        )
    try:
        graphs = Message.FromString(file.read_bytes()).meta_graphs
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
