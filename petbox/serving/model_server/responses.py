"""Response bodies, byte for byte as TensorFlow Serving writes them.

Rows (`predictions`) have their inner lists on one line, columns (`outputs`) one number per line.
NaN and Infinity are written bare as in the original, although that is not valid JSON.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from petbox.serving.model_server.json_writer import string
from petbox.serving.model_server.status import StatusError

Tensor = np.ndarray[Any, Any]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
SIX_DIGITS = "%.6g"
LARGEST_EXACT = 22
TENS = np.array([float(f"1e{power}") for power in range(LARGEST_EXACT + 1)])
# By NumPy's character for float32 and float64, which is faster to get than the name: a format that
# keeps every value of the type.
FLOATS = {"f": "%.9g", "d": "%.17g"}
TINY = {kind: float(np.finfo(kind).tiny) for kind in FLOATS}
SAME_SIZE = {"f": "I", "d": "Q"}  # characters of integers of the same size
ZERO = "0.0"
FEW = 64  # numbers that are faster to write one by one
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
SINGLE = struct.Struct("f")


def rows(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"predictions": [...]}`: one value per row, or an object if there are several outputs."""
    count = _batch_size(outputs)
    if not count:
        return b'{\n    "predictions": []\n}'
    depth = 2 if len(outputs) == 1 else 3
    columns = {
        name: (iter(texts), outputs[name].shape[1:])
        for name, texts in _texts(outputs, depth - 1).items()
    }
    if len(outputs) == 1:
        ((texts, shape),) = columns.values()
        text = ", ".join(_on_one_line(texts, shape) for _ in range(count))
        return _encoded(f'{{\n    "predictions": [{text}\n    ]\n}}')
    lines = []
    for _ in range(count):
        members = [
            f"            {string(name)}: {_on_one_line(texts, shape)}"
            for name, (texts, shape) in columns.items()
        ]
        lines.append("        {\n" + ",\n".join(members) + "\n        }")
    return _encoded('{\n    "predictions": [\n' + ",\n".join(lines) + "\n    ]\n}")


def columns(outputs: Mapping[str, Tensor]) -> bytes:
    """`{"outputs": tensor}`, or an object of tensors if there are several."""
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        text = _spread(_and_zeros(_texts(outputs, 1)[name]), tensor.shape, 1)
    else:
        members = [
            f"        {string(name)}: {_spread(_and_zeros(texts), outputs[name].shape, 2)}"
            for name, texts in _texts(outputs, 2).items()
        ]
        text = "{\n" + ",\n".join(members) + "\n    }"
    return _encoded(f'{{\n    "outputs": {text}\n}}')


def classes(labels: Tensor | None, scores: Tensor | None) -> bytes:
    """`{"results": [[["label", score], ...], ...]}`; missing labels are "", missing scores 0."""
    shape = next(tensor.shape for tensor in (labels, scores) if tensor is not None)
    words = iter(_others("", np.full(shape, b"", object) if labels is None else labels, 0))
    numbers = _and_zeros([] if scores is None else floats(scores)[0])
    examples = [
        "[" + ", ".join(f"[{next(words)}, {next(numbers)}]" for _ in range(shape[1])) + "]"
        for _ in range(shape[0])
    ]
    return _encoded('{\n    "results": [' + ", ".join(examples) + "\n    ]\n}")


def values(numbers: Tensor) -> bytes:
    """`{"results": [number, ...]}`, one number per example."""
    texts = islice(_and_zeros(floats(numbers)[0]), numbers.size)
    return _encoded('{\n    "results": [' + ", ".join(texts) + "]\n}")


def error(message: str) -> bytes:
    return _encoded(f'{{\n    "error": {string(message)}\n}}')


def status(versions: Sequence[tuple[int, str, str, str]]) -> bytes:
    """Model status from version, state, error code and error message."""
    states = [
        {
            "version": str(version),
            "state": state,
            "status": {"error_code": code, "error_message": message},
        }
        for version, state, code, message in versions
    ]
    return _one_space({"model_version_status": states})


def metadata(name: str, version: int, signatures: Mapping[str, Any]) -> bytes:
    """The original concatenates the JSON of two messages, hence the odd layout."""
    spec = _one_space({"name": name, "version": str(version), "signature_name": ""})
    definition = _one_space({"signature_def": signatures})
    return (
        b'{\n"model_spec":' + spec + b',\n"metadata": {"signature_def": ' + definition + b"}\n}\n"
    )


def _one_space(value: Any) -> bytes:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    return _encoded(text.replace("<", "\\u003c").replace(">", "\\u003e"))  # as protobuf does


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _batch_size(outputs: Mapping[str, Tensor]) -> int:
    sizes = {}
    for name, tensor in outputs.items():
        if not tensor.ndim:
            raise StatusError(f"Tensor name: {name} has no shape information ")
        sizes[name] = len(tensor)
    expected = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != expected:
            raise StatusError(
                f"Tensor name: {name} has inconsistent batch size: {size} expecting: {expected}"
            )
    return expected


def _and_zeros(texts: Iterable[str]) -> Iterator[str]:
    return chain(texts, repeat(ZERO))


def _on_one_line(texts: Iterator[str], shape: Sequence[int]) -> str:
    """As many of `texts` as `shape` holds, then zeros."""
    if not shape:
        return next(texts, ZERO)
    values = tuple(islice(texts, math.prod(shape)))
    if len(values) == math.prod(shape):
        return _format(tuple(shape)) % values
    item, size = _format(tuple(shape[1:])), math.prod(shape[1:])
    values += (ZERO,) * (-len(values) % size)
    items = [item % values[at : at + size] for at in range(0, len(values), size)]
    items += [item % ((ZERO,) * size)] * (shape[0] - len(items))
    return f"[{', '.join(items)}]"


@lru_cache(32)  # few, since one may be as long as a response
def _format(shape: tuple[int, ...]) -> str:
    text = "%s"
    for size in reversed(shape):
        text = f"[{', '.join([text] * size)}]"
    return text


def _spread(texts: Iterator[str], shape: Sequence[int], depth: int) -> str:
    if not shape:
        return next(texts)
    if not shape[0]:
        return "[]"
    margin = "    " * depth
    items = [f"{margin}    {_spread(texts, shape[1:], depth + 1)}" for _ in range(shape[0])]
    return "[\n" + ",\n".join(items) + f"\n{margin}]"


def _texts(outputs: Mapping[str, Tensor], depth: int) -> dict[str, list[str]]:
    """The elements as text, at `depth`; floats without trailing zeros."""
    texts: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}  # by type, the names of the float outputs
    for name, tensor in outputs.items():
        texts[name] = []  # keeps the order
        if tensor.dtype.char in FLOATS:
            kinds.setdefault(tensor.dtype.char, []).append(name)
        else:
            texts[name] = _others(name, tensor, depth + tensor.ndim)
    for names in kinds.values():
        texts |= zip(names, floats(*(outputs[name] for name in names)), strict=True)
    return texts


def _others(name: str, tensor: Tensor, depth: int) -> list[str]:
    kind = tensor.dtype.name
    if kind in INTEGERS:
        return list(map(str, tensor.ravel().tolist()))
    if kind == "bool":
        return ["true" if value else "false" for value in tensor.ravel().tolist()]
    if kind == "object":
        write = _base64_object if name.endswith("_bytes") else _plain_string
        return [write(value, depth) for value in tensor.ravel().tolist()]
    name = {"float16": "half"}.get(kind, kind)
    raise StatusError(f"Failed to write JSON value for tensor type: {name}")


def floats(*tensors: Tensor) -> list[list[str]]:
    """The values of tensors of one type as text, without trailing zeros.

    Six digits where these are exact, else as many as any value of the type needs. Each distinct
    value is written once, since most of a detector's response is padding. A few values are written
    without NumPy, since some twenty calls to it would take longer than a small model.
    """
    kind, size = tensors[0].dtype.char, tensors[0].itemsize
    heads = []
    for tensor in tensors:
        data = tensor.tobytes()
        count = -(-len(data.rstrip(b"\0")) // size)
        heads.append(struct.unpack_from(f"{count}{SAME_SIZE[kind]}", data))
    distinct = [*set().union(*heads)]
    same = struct.pack(f"{len(distinct)}{SAME_SIZE[kind]}", *distinct)
    write = _one_by_one if len(distinct) <= FEW else _all_at_once
    text = dict(zip(distinct, write(same, kind), strict=True))
    return [[*map(text.__getitem__, head)] for head in heads]


def _one_by_one(data: bytes, kind: str) -> list[str]:
    numbers = struct.unpack(f"{len(data) // struct.calcsize(kind)}{kind}", data)
    return [_alone(number, kind) for number in numbers]


def _alone(number: float, kind: str) -> str:
    if not math.isfinite(number):
        return NOT_FINITE[str(number)]
    if abs(number) < TINY[kind]:
        number = math.copysign(0, number)
    text = SIX_DIGITS % number
    read = float(text)
    if (read if kind == "d" else SINGLE.unpack(SINGLE.pack(read))[0]) != number:
        text = FLOATS[kind] % number
    return text if "." in text or "e" in text else text + ".0"


def _all_at_once(data: bytes, kind: str) -> list[str]:
    flat: Tensor = np.frombuffer(data, kind)
    tiny = np.abs(flat) < TINY[kind]
    if tiny.any():
        flat = np.where(tiny, np.copysign(0, flat), flat)  # like the original
    numbers = flat.tolist()
    # One format for all takes a third of the time.
    formats = [SIX_DIGITS if fits else FLOATS[kind] for fits in _fit(flat).tolist()]
    texts = (" ".join(formats) % tuple(numbers)).split()
    texts = [text if "." in text or "e" in text else text + ".0" for text in texts]
    for i in np.flatnonzero(~np.isfinite(flat)):
        texts[i] = NOT_FINITE[str(numbers[i])]
    return texts


def _fit(flat: Tensor) -> Tensor:
    """Which numbers are exact in six digits.

    Powers of ten up to the 22nd are exact, and so are numbers of six digits, so their product or
    quotient is the double that the text would be parsed as.
    """
    with np.errstate(all="ignore"):
        wide = flat.astype(np.float64)
        power = 5 - np.floor(np.log10(np.abs(wide)))
        exact = np.abs(power) <= LARGEST_EXACT
        up = TENS[np.where(exact, np.maximum(power, 0), 0).astype(int)]
        down = TENS[np.where(exact, np.maximum(-power, 0), 0).astype(int)]
        fit: Tensor = (np.rint(wide * up / down) * down / up).astype(flat.dtype) == flat
        for i in np.flatnonzero(~exact):  # too large, too small, or not a number
            fit[i] = flat.dtype.type(SIX_DIGITS % wide[i]) == flat[i]
    return fit


def _plain_string(value: bytes, _: int) -> str:
    return string(value.decode("utf-8", "surrogateescape"))


def _base64_object(value: bytes, depth: int) -> str:
    margin = "    " * depth
    return f'{{\n{margin}    "b64": "{base64.b64encode(value).decode()}"\n{margin}}}'
