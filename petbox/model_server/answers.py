"""Tensors to JSON text, letter for letter as TensorFlow Serving writes it.

Rows (`predictions`) have their inner lists on one line, columns (`outputs`) every number on its
own. NaN and Infinity are written bare, as the original does, though JSON has no such words.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from petbox.model_server.json_text import string
from petbox.model_server.refusal import Refusal

Tensor = np.ndarray[Any, Any]


def rows(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"predictions": [...]}`: a value a row, or an object a row if there are several outputs."""
    count = _batch_size(outputs)
    if not count:
        return b'{\n    "predictions": []\n}'
    writers = {name: _writer(name, tensor) for name, tensor in outputs.items()}
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        text = ", ".join(_on_one_line(tensor[i], writers[name], 2) for i in range(count))
        return _encoded(f'{{\n    "predictions": [{text}\n    ]\n}}')
    lines = []
    for i in range(count):
        members = [
            f"            {string(name)}: {_on_one_line(tensor[i], writers[name], 3)}"
            for name, tensor in outputs.items()
        ]
        lines.append("        {\n" + ",\n".join(members) + "\n        }")
    return _encoded('{\n    "predictions": [\n' + ",\n".join(lines) + "\n    ]\n}")


def columns(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"outputs": tensor}`, or an object of tensors if there are several."""
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        text = _spread(tensor, _writer(name, tensor), 1)
    else:
        members = [
            f"        {string(name)}: {_spread(tensor, _writer(name, tensor), 2)}"
            for name, tensor in outputs.items()
        ]
        text = "{\n" + ",\n".join(members) + "\n    }"
    return _encoded(f'{{\n    "outputs": {text}\n}}')


def error(message: str) -> bytes:
    return _encoded(f'{{\n    "error": {string(message)}\n}}')


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _batch_size(outputs: Mapping[str, Tensor]) -> int:
    sizes = {}
    for name, tensor in outputs.items():
        if not tensor.ndim:
            raise Refusal(f"Tensor name: {name} has no shape information ")
        sizes[name] = len(tensor)
    expected = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != expected:
            raise Refusal(
                f"Tensor name: {name} has inconsistent batch size: {size} expecting: {expected}"
            )
    return expected


def _writer(name: str, tensor: Tensor) -> Callable[[Any, int], str]:
    """What writes one element; the second argument is how deep the text is indented already."""
    kind = tensor.dtype.name
    if kind in ("float32", "float64"):
        return lambda value, _: floating(value)
    if kind in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"):
        return lambda value, _: str(value)
    if kind == "bool":
        return lambda value, _: "true" if value else "false"
    if kind == "object":
        return _base64_object if name.endswith("_bytes") else _plain_string
    word = {"float16": "half"}.get(kind, kind)
    raise Refusal(f"Failed to write JSON value for tensor type: {word}")


def _plain_string(value: bytes, _: int) -> str:
    return string(value.decode("utf-8", "surrogateescape"))


def _base64_object(value: bytes, depth: int) -> str:
    margin = "    " * depth
    return f'{{\n{margin}    "b64": "{base64.b64encode(value).decode()}"\n{margin}}}'


def _on_one_line(tensor: Any, write: Callable[[Any, int], str], depth: int) -> str:
    if isinstance(tensor, np.ndarray):
        return "[" + ", ".join(_on_one_line(item, write, depth) for item in tensor) + "]"
    return write(tensor, depth)


def _spread(tensor: Any, write: Callable[[Any, int], str], depth: int) -> str:
    if not isinstance(tensor, np.ndarray) or not tensor.ndim:
        return write(tensor[()] if isinstance(tensor, np.ndarray) else tensor, depth)
    if not len(tensor):
        return "[]"
    margin = "    " * depth
    items = [f"{margin}    {_spread(item, write, depth + 1)}" for item in tensor]
    return "[\n" + ",\n".join(items) + f"\n{margin}]"


def floating(value: np.floating[Any]) -> str:
    """Six digits if they say it all, else as many as any value of the type needs."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if abs(value) < np.finfo(value.dtype).tiny:
        return "-0.0" if np.signbit(value) else "0.0"  # the original flushes denormals to zero
    number = float(value)
    text = f"{number:.6g}"
    with np.errstate(over="ignore"):
        same = type(value)(float(text)) == value
    if not same:
        text = f"{number:.9g}" if value.dtype == np.float32 else f"{number:.17g}"
    return text if "." in text or "e" in text else text + ".0"
