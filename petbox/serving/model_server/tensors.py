"""JSON values to tensors, by the rules of TensorFlow Serving's `json_tensor.cc`.

Reads both forms of a predict request: rows (`instances`) and columns (`inputs`). Values are checked
against the signature's dtype only; shapes are left to the graph.
"""

from __future__ import annotations

import binascii
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from petbox.serving.model_server.base64_decoder import b64decode
from petbox.serving.model_server.engine import Tensors
from petbox.serving.model_server.json_parser import MISSING, Base64, Object, is_integer
from petbox.serving.model_server.json_writer import quoted, wrong_value
from petbox.serving.model_server.status import StatusError

MAX_DIMENSIONS = 254  # of a TensorFlow shape
NUMPY_DIMENSIONS = 64


def from_rows(rows: Any, document: Object, dtypes: Mapping[str, str]) -> Tensors:
    """The tensors of `{"instances": [row, ...]}`, for inputs named and typed by `dtypes`."""
    if not isinstance(rows, list):
        raise wrong_value(document, "Expecting 'instances' to be an list/array")
    if not rows:
        raise StatusError("No values in 'instances' array")
    named = _is_named(rows[0])
    if not isinstance(rows[0], Object) and len(dtypes) > 1:
        raise StatusError(
            "instances is a plain list, but expecting list of objects as multiple input "
            "tensors required as per tensorinfo_map"
        )
    columns: dict[str, _Column] = {}
    for number, row in enumerate(rows):
        _add_row(row, number, named, dtypes, columns)
    return {name: column.tensor(name, len(rows)) for name, column in columns.items()}


def from_columns(columns: Any, dtypes: Mapping[str, str]) -> Tensors:
    """The tensors of `{"inputs": tensor}` or `{"inputs": {name: tensor, ...}}`."""
    if not isinstance(columns, Object) or is_base64(columns):
        if len(dtypes) > 1:
            raise StatusError(
                "inputs is a plain value/list, but expecting an object/map as multiple input "
                "tensors required as per tensorinfo_map"
            )
        name, dtype = next(iter(dtypes.items()))
        return {name: _tensor(name, columns, dtype)}
    tensors = {}
    for name, dtype in dtypes.items():
        value = columns.get(name)
        if value is MISSING:
            raise StatusError(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = _tensor(name, value, dtype)
    return tensors


@dataclass
class _Column:
    """One input's values, row by row; every row has the first one's shape."""

    dtype: str
    shape: list[int]
    size: int  # values of a row
    values: list[Any]

    def tensor(self, name: str, rows: int) -> np.ndarray[Any, Any]:
        """A row that names an input twice adds values beyond `rows`, which are ignored."""
        return _array(name, self.values[: rows * self.size], [rows, *self.shape], self.dtype)


def _add_row(
    row: Any, number: int, named: bool, dtypes: Mapping[str, str], columns: dict[str, _Column]
) -> None:
    if _is_named(row) != named:
        actual = "object but got list" if named else "value/list but got object"
        raise StatusError(f"Expecting {actual} at item {number} of input list")
    members = row.members if named else [(next(iter(dtypes)), row)]
    for name, value in members:
        try:
            _add(name, value, dtypes, columns)
        except StatusError as error:
            key = f" key: {name}" if named else ""
            raise StatusError(
                f"Failed to process element: {number}{key} of 'instances' list. Error: {error}"
            ) from error
    if named and {name for name, _ in members} != set(dtypes):
        raise StatusError(
            f"Failed to process element: {number} of 'instances' list. JSON object: "
            f"{quoted(row)} keys must be equal to: {','.join(sorted(dtypes))}"
        )


def _add(name: str, value: Any, dtypes: Mapping[str, str], columns: dict[str, _Column]) -> None:
    if name not in dtypes:
        raise StatusError(f"JSON object: does not have named input: {name}")
    dtype = dtypes[name]
    shape = _shape(value)
    values = _leaves(value, shape, dtype)
    column = columns.get(name)
    if column is None:
        columns[name] = _Column(dtype, shape, len(values), values)
        return
    if len(values) != column.size:
        raise StatusError(f"Expecting tensor size: {column.size} but got: {len(values)}")
    if shape != column.shape:
        raise StatusError(
            f"Expecting shape {shape_text(column.shape)} but got: {shape_text(shape)}"
        )
    column.values += values


def _tensor(name: str, value: Any, dtype: str) -> np.ndarray[Any, Any]:
    shape = _shape(value)
    values = _leaves(value, shape, dtype)
    return _array(name, values, shape, dtype)


def _shape(value: Any) -> list[int]:
    """The shape of nested lists, from the first element of each."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _leaves(value: Any, shape: list[int], dtype: str) -> list[Any]:
    values: list[Any] = []
    if len(shape) <= MAX_DIMENSIONS:  # deeper ones are rejected in _array
        _collect(value, 0, shape, _reader(dtype), values)
    return values


def _collect(
    value: Any, level: int, shape: list[int], read: Callable[[Any], Any], values: list[Any]
) -> None:
    """Appends the leaves under `value` to `values`, in order."""
    if not isinstance(value, list):
        if level != len(shape):
            raise StatusError(
                f"Encountered value at unexpected level: {level} expected: {len(shape)}"
            )
        values.append(read(value))
        return
    if level >= len(shape):
        raise StatusError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise StatusError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, read, values)


def _array(name: str, values: list[Any], shape: list[int], dtype: str) -> np.ndarray[Any, Any]:
    if len(shape) > MAX_DIMENSIONS:
        raise StatusError(f"tensor parsing error: {name}")
    if len(shape) > NUMPY_DIMENSIONS:
        message = f"{name}: {len(shape)} dimensions; petbox's model server supports at most 64"
        raise StatusError(message, "UNIMPLEMENTED")
    if dtype == "string":
        array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    if dtype in WRAPPING:  # checked as 32 bits, then truncated, as in the original
        return np.array(values, np.int64).astype(dtype).reshape(shape)
    with np.errstate(over="ignore"):  # values too large for a float become infinity
        return np.array(values, NUMPY.get(dtype, dtype)).reshape(shape)


NUMPY = {"float": "float32", "double": "float64"}
WRAPPING = ("int8", "int16", "uint8")
RANGES = {
    **dict.fromkeys(("int32", *WRAPPING), (-(2**31), 2**31)),
    "int64": (-(2**63), 2**63),
    "uint32": (0, 2**32),
    "uint64": (0, 2**64),
}


def _reader(dtype: str) -> Callable[[Any], Any]:
    """A function that converts one JSON value for `dtype`, or rejects it."""

    def wrong_type(value: Any) -> StatusError:
        return wrong_value(value, f"Type: {kind_of(value)} is not of expected type: {dtype}")

    def floating(value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise wrong_type(value)

    def integer(value: Any) -> Any:
        low, high = RANGES[dtype]
        if is_integer(value) and low <= value < high:
            return value
        raise wrong_type(value)

    def boolean(value: Any) -> Any:
        if isinstance(value, bool):
            return value
        raise wrong_type(value)

    def text(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, Base64):  # of an input named b64
            return value.written
        if isinstance(value, Object):
            return decoded(value)
        raise wrong_type(value)

    def unknown(value: Any) -> Any:
        if isinstance(value, Object):
            raise wrong_type(value)
        raise StatusError(
            f"Conversion of JSON Value: {quoted(value)} to type: {dtype}", "UNIMPLEMENTED"
        )

    if dtype in RANGES:
        return integer
    readers = {"float": floating, "double": floating, "bool": boolean, "string": text}
    return readers.get(dtype, unknown)


def kind_of(value: Any) -> str:
    """RapidJSON's name for the type of `value`."""
    if isinstance(value, bool) or value is None:
        return {True: "True", False: "False", None: "Null"}[value]
    if isinstance(value, (int, float)):
        return "Number"
    return {str: "String", Base64: "String", list: "Array", Object: "Object"}[type(value)]


def is_base64(value: Any) -> bool:
    """Whether `value` is `{"b64": "..."}` and nothing else."""
    return (
        isinstance(value, Object)
        and len(value.members) == 1
        and value.members[0][0] == "b64"
        and isinstance(value.members[0][1], (str, Base64))
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, Object) and not is_base64(value)


def decoded(value: Object) -> bytes:
    if not is_base64(value):
        raise wrong_value(value, "not formatted correctly for base64 data")
    written = value.members[0][1]
    if isinstance(written, Base64):
        return written.content
    try:
        return lenient_base64(written)
    except (binascii.Error, ValueError) as error:
        raise StatusError("Unable to base64 decode") from error


def lenient_base64(text: str) -> bytes:
    """Standard alphabet; white space anywhere; padding with `=` or `.`, complete or missing."""
    if len(text) % 4 == 0:
        with contextlib.suppress(ValueError):  # the fast path for valid base64
            return b64decode(text, validate=True)
    text = re.sub(r"[ \t\n\r\v\f]", "", text)
    digits = text.rstrip("=.")
    padding = len(text) - len(digits)
    if len(digits) % 4 == 1 or padding not in (0, -len(digits) % 4):
        raise ValueError("incomplete or excess padding")
    return b64decode(digits + "=" * (-len(digits) % 4), validate=True)


def shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
