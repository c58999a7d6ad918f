"""TensorFlow's C library, out of the `tensorflow` package, without the package's Python.

Importing the package takes several times as long as loading the library, and more memory.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from petbox.errors import PetboxError, needs
from petbox.serving.model_server.status import HTTP_STATUS, StatusError

LIBRARY = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"


class Buffer(ctypes.Structure):
    """TF_Buffer: bytes, here or in the library."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))

    @staticmethod
    def of(content: bytes) -> Buffer:
        buffer = Buffer(ctypes.cast(c_char_p(content), c_void_p), len(content), None)
        buffer.content = content  # has to live as long
        return buffer


class Output(ctypes.Structure):
    """TF_Output: an output of an operation in the graph."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what each returns and takes
    "TF_Version": (c_char_p,),
    "TF_NewStatus": (c_void_p,),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_NewBuffer": (POINTER(Buffer),),
    "TF_DeleteBuffer": (None, POINTER(Buffer)),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_SetConfig": (None, c_void_p, c_char_p, c_size_t, c_void_p),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_NewGraph": (c_void_p,),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        *(c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int),
        *(c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_SessionRun": (
        None,
        *(c_void_p, POINTER(Buffer)),
        *(POINTER(Output), POINTER(c_void_p), c_int),  # inputs
        *(POINTER(Output), POINTER(c_void_p), c_int),  # outputs
        *(c_void_p, c_int, POINTER(Buffer), c_void_p),
    ),
    "TF_AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_TensorFromProto": (None, POINTER(Buffer), c_void_p, c_void_p),
    "TF_DeleteTensor": (None, c_void_p),
    "TF_TensorType": (c_int, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_TensorByteSize": (c_size_t, c_void_p),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_StringGetDataPointer": (c_void_p, c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
}
# Other Python threads run during these. Giving way in the many short ones as well would take longer
# than the calls, and under load each would have to wait for its turn again.
SLOW = {"TF_LoadSessionFromSavedModel", "TF_SessionRun", "TF_DeleteSession", "TF_DeleteGraph"}


@cache
def library() -> Any:
    """The library's functions as attributes."""
    spec = find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise needs_tensorflow()
    file = Path(spec.submodule_search_locations[0], LIBRARY)
    # Its C++ side logs lines about CPU features and a missing GPU in every process.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        loaded, giving_way = ctypes.PyDLL(str(file)), ctypes.CDLL(str(file))
    except OSError as error:
        raise PetboxError(f"{file}: cannot be loaded ({error}); reinstall tensorflow") from error
    for name, (result, *arguments) in FUNCTIONS.items():
        try:
            function = getattr(giving_way if name in SLOW else loaded, name)
        except AttributeError:
            raise PetboxError(f"{file}: has no {name}; install tensorflow 2.20") from None
        function.restype, function.argtypes = result, arguments
        setattr(loaded, name, function)
    return loaded


def needs_tensorflow() -> Exception:
    try:
        needs("tensorflow", "tf")
    except PetboxError as error:
        return error
    return PetboxError("tensorflow: is not the package of that name; reinstall it")


class Status:
    """A status for calls to report to: `with Status() as status` raises what they report."""

    def __enter__(self) -> Any:
        self._pointer = library().TF_NewStatus()
        return self._pointer

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        tf = library()
        try:
            if kind is None and (code := tf.TF_GetCode(self._pointer)):
                message = tf.TF_Message(self._pointer).decode("utf-8", "surrogateescape")
                raise StatusError(message, list(HTTP_STATUS)[code - 1])
        finally:
            tf.TF_DeleteStatus(self._pointer)
