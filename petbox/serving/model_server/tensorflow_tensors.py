"""Arrays to tensors of TensorFlow's C library, and back."""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache
from typing import Any

import numpy as np

from petbox.serving.model_server.signature_def import dtype_name
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensor_proto import STRING, TensorProto, numbers, numpy_types
from petbox.serving.model_server.tensorflow_library import Buffer, Status, library

Array = np.ndarray[Any, Any]

STRING_SIZE = 24  # of a TF_TString


def to_tensor(array: Array) -> int:
    """A new TF_Tensor, which shares no memory with `array`."""
    number = numbers().get(array.dtype)
    if number is None:
        raise StatusError(f"unsupported tensor type: {array.dtype.name}", "UNIMPLEMENTED")
    tf = library()
    if number == STRING:
        return _strings(array)
    tensor: int = tf.TF_AllocateTensor(number, _dims(array.shape), array.ndim, array.nbytes)
    ctypes.memmove(tf.TF_TensorData(tensor), array.tobytes(), array.nbytes)
    return tensor


def _strings(array: Array) -> int:
    """Made by TensorFlow from a message, so that it frees them whenever its graph no longer has a
    use for them.
    """
    proto = TensorProto(dtype=STRING, string_val=array.ravel().tolist())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    tensor: int = library().TF_AllocateTensor(STRING, _dims((0,)), 1, 0)
    try:
        with Status() as status:
            content = Buffer.of(proto.SerializeToString())
            library().TF_TensorFromProto(content, tensor, status)
    except StatusError:
        library().TF_DeleteTensor(tensor)
        raise
    return tensor


@lru_cache
def _dims(shape: tuple[int, ...]) -> Any:
    return (ctypes.c_int64 * len(shape))(*shape)


def from_tensor(tensor: int) -> Array:
    """An array with a copy of the tensor, so that it may outlive the model."""
    tf = library()
    number: int = tf.TF_TensorType(tensor)
    dtype = numpy_types().get(number)
    if dtype is None:
        raise StatusError(f"Failed to write JSON value for tensor type: {dtype_name(number)}")
    shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
    count, size = math.prod(shape), tf.TF_TensorByteSize(tensor)
    if size != count * (STRING_SIZE if number == STRING else dtype.itemsize):
        raise StatusError(f"a tensor of shape {shape} has {size} bytes", "INTERNAL")
    data = tf.TF_TensorData(tensor)
    if number == STRING:
        array = np.empty(count, object)
        array[:] = [_string(data + STRING_SIZE * place) for place in range(count)]
    else:
        array = np.frombuffer(ctypes.string_at(data, size) if size else b"", dtype)
    return array.reshape(shape)


def _string(pointer: int) -> bytes:
    tf = library()
    return ctypes.string_at(tf.TF_StringGetDataPointer(pointer), tf.TF_StringGetSize(pointer))
