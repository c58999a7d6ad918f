"""SavedModels, run by TensorFlow's C library.

Its loader and its sessions are TensorFlow Serving's: inputs go to the graph unchecked, and errors
of loading and of running are the original's own.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Mapping
from ctypes import c_char_p, c_void_p, string_at
from pathlib import Path
from typing import Any

from petbox.export.messages import Messages, message_class
from petbox.serving.model_server import background
from petbox.serving.model_server.engine import EngineOptions, Tensors
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.signature_def import MetaGraphDef
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensorflow_library import Buffer, Output, Status, library
from petbox.serving.model_server.tensorflow_tensors import from_tensor, to_tensor

CORES = len(os.sched_getaffinity(0))
OPTIONS: Messages = {  # of config.proto
    "Experimental": {"disable_thread_spinning": (9, "bool")},
    "Config": {
        "intra_op_parallelism_threads": (2, "int32"),
        "inter_op_parallelism_threads": (5, "int32"),
        "use_per_session_threads": (9, "bool"),
        "experimental": (16, "Experimental"),
    },
    "RunOptions": {"timeout_in_ms": (2, "int64"), "inter_op_thread_pool": (3, "int32")},
}
ConfigProto = message_class(OPTIONS, "Config")
RunOptions = message_class(OPTIONS, "RunOptions")


class TensorFlow:
    def __init__(self, options: EngineOptions | None = None) -> None:
        self._options = options or EngineOptions()
        self.name = f"TensorFlow {library().TF_Version().decode()}"

    def load(self, folder: Path) -> SavedModel:
        if not any((folder / f"saved_model.{suffix}").exists() for suffix in ("pb", "pbtxt")):
            raise StatusError(  # what TensorFlow Serving says; TensorFlow itself says less
                "Specified file path does not appear to contain a SavedModel bundle (should have "
                f"a file called `saved_model.pb`)\nSpecified file path: {folder}",
                "NOT_FOUND",
            )
        return SavedModel(folder, self._options)


class SavedModel:
    """A session with its graph. Both are freed with the last reference to this, so never while a
    thread is in `run`.
    """

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        self._session, self._graph, content = _load(folder, options)
        weakref.finalize(self, _free, self._session, self._graph).atexit = False
        definitions = MetaGraphDef.FromString(content).signature_def
        self.signatures = {name: Signature.of(definitions[name]) for name in definitions}
        self._calls = {name: _Call(self._graph, definitions[name]) for name in definitions}
        run_options = RunOptions(timeout_in_ms=max(options.timeout_ms, 0))
        self._in_pool = Buffer.of(run_options.SerializeToString())
        run_options.inter_op_thread_pool = -1  # the thread that calls
        self._in_caller = Buffer.of(run_options.SerializeToString())
        self._gathers = b"BatchFunction" in content
        self._running: list[str] = []  # whose length is right in every thread

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        tf, call, names = library(), self._calls[signature], self.signatures[signature]
        # In the pool the newest request is next, so of many that gather for a batch some are left
        # behind; the threads that call take turns. But only in the pool is one request computed by
        # several threads, and ends a run at its time-out.
        crowded = self._gathers and len(self._running) >= CORES
        one_row = all(len(tensor) == 1 for tensor in tensors.values() if tensor.ndim)
        in_caller = background.is_this_thread() or (crowded and one_row)
        options = self._in_caller if in_caller else self._in_pool
        if call.error:
            raise call.error
        inputs = (c_void_p * len(names.inputs))()
        outputs = (c_void_p * len(names.outputs))()
        self._running.append(signature)
        try:
            for place, name in enumerate(names.inputs):
                inputs[place] = to_tensor(tensors[name])
            with Status() as status:
                tf.TF_SessionRun(
                    *(self._session, options),
                    *(call.inputs, inputs, len(inputs)),
                    *(call.outputs, outputs, len(outputs)),
                    *(None, 0, None, status),
                )
            arrays = map(from_tensor, outputs)
            return dict(zip(names.outputs, arrays, strict=True))
        finally:
            self._running.pop()
            for tensor in (*inputs, *outputs):
                if tensor:
                    tf.TF_DeleteTensor(tensor)


class _Call:
    """The tensors of a signature in the graph, or the error that a run of it ends with."""

    def __init__(self, graph: int, definition: Any) -> None:
        self.error: StatusError | None = None
        # TensorFlow's words, for signatures that name what the graph has not.
        self.inputs = self._find(
            graph, definition.inputs, "FeedInputs: unable to find feed output {}"
        )
        self.outputs = self._find(graph, definition.outputs, "FetchOutputs node {}: not found")

    def _find(self, graph: int, tensors: Mapping[str, Any], error: str) -> Any:
        """In the order of the signature's names, which is alphabetical."""
        found = (Output * len(tensors))()
        for place, name in enumerate(sorted(tensors)):
            tensor = tensors[name].name
            operation, _, index = tensor.partition(":")
            found[place].operation = library().TF_GraphOperationByName(graph, operation.encode())
            if not found[place].operation or not (index or "0").isdecimal():
                self.error = StatusError(error.format(tensor), "NOT_FOUND")
                break
            found[place].index = int(index or "0")
        return found


def _load(folder: Path, options: EngineOptions) -> tuple[int, int, bytes]:
    """A new session, its graph, and the MetaGraphDef that was loaded."""
    tf = library()
    graph, meta_graph, tags = tf.TF_NewGraph(), tf.TF_NewBuffer(), options.tags
    session_options = tf.TF_NewSessionOptions()
    config = _config(options)
    try:
        with Status() as status:
            tf.TF_SetConfig(session_options, config, len(config), status)
        with Status() as status:
            session = tf.TF_LoadSessionFromSavedModel(
                *(session_options, None, os.fsencode(folder)),
                *((c_char_p * len(tags))(*map(os.fsencode, tags)), len(tags)),
                *(graph, meta_graph, status),
            )
        loaded = meta_graph.contents
        return session, graph, string_at(loaded.data, loaded.length)
    except StatusError:
        tf.TF_DeleteGraph(graph)
        raise
    finally:
        tf.TF_DeleteSessionOptions(session_options)
        tf.TF_DeleteBuffer(meta_graph)


def _config(options: EngineOptions) -> bytes:
    config = ConfigProto(
        inter_op_parallelism_threads=options.inter_op_threads,
        intra_op_parallelism_threads=options.intra_op_threads,
        # So that the warm-up of another model does not hold all threads.
        use_per_session_threads=True,
    )
    # TensorFlow's threads would spin for a while before they sleep, and slow down the Python
    # thread that writes the response.
    config.experimental.disable_thread_spinning = True
    content: bytes = config.SerializeToString()
    return content


def _free(session: int, graph: int) -> None:
    with contextlib.suppress(StatusError), Status() as status:
        library().TF_DeleteSession(session, status)
    library().TF_DeleteGraph(graph)
