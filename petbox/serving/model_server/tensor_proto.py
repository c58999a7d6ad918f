"""NumPy's types for TensorFlow's, and a TensorProto as an array."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from petbox.export.messages import message_class
from petbox.serving.model_server.signature_def import MESSAGES, TYPES, dtype_name
from petbox.serving.model_server.status import StatusError

Array = np.ndarray[Any, Any]

TensorProto = message_class(MESSAGES, "Tensor", "proto3")
STRING = TYPES.index("STRING")
NUMPY = {"float": "float32", "double": "float64", "half": "float16", "string": "object"}
NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 half bfloat16 float double complex64 "
    "complex128 string"
)
VALUES = {  # the field with the values of a type, where it is another than int_val
    "float": "float_val",
    "double": "double_val",
    "half": "half_val",
    "bfloat16": "half_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
}


@cache
def numpy_types() -> dict[int, np.dtype[Any]]:
    """By TensorFlow's number; strings are objects, namely bytes."""
    names = NAMES.split()
    try:
        import ml_dtypes  # noqa: F401  # makes bfloat16 a name of NumPy
    except ImportError:  # TensorFlow requires it, another engine may not
        names.remove("bfloat16")
    return {TYPES.index(name.upper()): np.dtype(NUMPY.get(name, name)) for name in names}


@cache
def numbers() -> dict[np.dtype[Any], int]:
    return {dtype: number for number, dtype in numpy_types().items()}


def from_proto(serialized: bytes) -> Array:
    proto = TensorProto.FromString(serialized)
    dtype, shape = numpy_types().get(proto.dtype), [dim.size for dim in proto.tensor_shape.dim]
    if dtype is None:
        raise StatusError(f"unsupported tensor type: {dtype_name(proto.dtype)}", "UNIMPLEMENTED")
    try:
        if min(shape, default=0) < 0:
            raise ValueError(shape)
        return _values(proto, dtype, math.prod(shape)).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise StatusError(f"the values of a tensor do not fit its shape {shape}") from error


def _values(proto: Any, dtype: np.dtype[Any], count: int) -> Array:
    if proto.tensor_content and proto.dtype != STRING:
        return np.frombuffer(proto.tensor_content, dtype)
    name = dtype_name(proto.dtype)
    given = getattr(proto, VALUES.get(name, "int_val"))
    values: Array = np.empty(len(given), object)
    values[:] = given
    if name in ("half", "bfloat16"):  # their bits
        values = values.astype(np.uint16).view(dtype)
    elif name.startswith("complex"):  # two numbers each
        values = values.astype(np.empty(0, dtype).real.dtype).view(dtype)
    else:
        values = values.astype(dtype)
    if 0 < len(values) < count:  # the last one stands for all that follow
        values = np.concatenate([values, np.full(count - len(values), values[-1], dtype)])
    return values
