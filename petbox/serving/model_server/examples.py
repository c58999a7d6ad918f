"""JSON objects to serialized tf.train.Example, the input of classify and regress.

The type of a feature is guessed from its values, as TensorFlow Serving does: a number with a point
is a float, one without an integer; a model that expects the other type rejects it. The message is
small enough to encode by hand, without TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from petbox.serving.model_server.json_parser import MISSING, Base64, Object
from petbox.serving.model_server.json_writer import wrong_value
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensors import decoded, is_base64, kind_of

BYTES, FLOAT, INT64 = "bytes", "float", "int64"
NUMBERS = {BYTES: 1, FLOAT: 2, INT64: 3}  # of the fields of tf.train.Feature


def from_document(document: Object) -> list[bytes]:
    """One serialized Example for each of `examples`; `context` is merged into all of them."""
    context, given = document.get("context"), document.get("examples")
    shared = b"" if context is MISSING else serialized(context)
    if given is MISSING:  # the original also says "classify" for regress
        why = "When method is classify, key 'examples' is expected and was not found"
        raise wrong_value(document, why)
    if not isinstance(given, list):
        raise wrong_value(document, "Expecting 'examples' value to be an list/array")
    if not given:
        raise wrong_value(document, "'examples' value is an empty array")
    # Two serialized messages in a row are merged when parsed; the later feature wins.
    return [shared + serialized(example) for example in given]


def serialized(example: Any) -> bytes:
    if not isinstance(example, Object):
        raise StatusError(f"Example must be JSON object but got JSON {kind_of(example)}")
    # Of two features with one name the last one counts, but both must be valid.
    features = {name: _feature(name, value) for name, value in example.members}
    entries = [
        _field(1, _field(1, _utf8(name)) + _field(2, feature)) for name, feature in features.items()
    ]
    return _field(1, b"".join(entries))


def _feature(name: str, value: Any) -> bytes:
    kind = ""
    values = []
    for item in value if isinstance(value, list) else [value]:
        item_kind, read = _value(name, item)
        if kind not in ("", item_kind):
            raise StatusError(f"Unexpected element type in feature: {name} expecting type: {kind}")
        kind = item_kind
        values.append(read(item) if callable(read) else read)
    return _field(NUMBERS[kind], _list(kind, values)) if kind else b""


def _value(name: str, value: Any) -> tuple[str, Any]:
    """The type of `value`, and its value or a function that decodes it once the type fits."""
    if isinstance(value, str):
        return BYTES, _utf8(value)
    if isinstance(value, Base64):  # of a feature named b64
        return BYTES, value.written
    if is_base64(value):
        return BYTES, decoded
    if isinstance(value, float):
        return FLOAT, value
    if isinstance(value, int):  # including true and false
        if value >= 2**63:
            raise StatusError(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return INT64, int(value)
    raise StatusError(f"Feature: {name} has element with unexpected JSON type: {kind_of(value)}")


def _list(kind: str, values: list[Any]) -> bytes:
    if kind == BYTES:
        return b"".join(_field(1, value) for value in values)
    if kind == FLOAT:
        with np.errstate(over="ignore"):  # values too large for a float become infinity
            return _field(1, np.array(values).astype("<f4").tobytes())
    return _field(1, b"".join(_varint(value % 2**64) for value in values))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field: tag, length, content."""
    return bytes([number * 8 + 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = b""
    while value > 127:
        groups += bytes([value % 128 + 128])
        value //= 128
    return groups + bytes([value])


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
