"""A signature's definition as the metadata call shows it: protobuf's JSON, every field printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_json(signature: Any) -> dict[str, Any]:
    """The JSON value of a SignatureDef."""
    return {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "method_name": signature.method_name,
        "defaults": {name: _message(value) for name, value in sorted(signature.defaults.items())},
    }


def _tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tensor(tensors[name]) for name in sorted(tensors)}


def _tensor(info: Any) -> dict[str, Any]:
    from tensorflow.core.framework.types_pb2 import DataType

    encoding = info.WhichOneof("encoding")
    shape = info.tensor_shape
    # By hand, because protobuf's own printer puts what has its default value last.
    return {
        **({} if encoding is None else {encoding: _message(getattr(info, encoding))}),
        "dtype": DataType.Name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in shape.dim],
            "unknown_rank": shape.unknown_rank,
        },
    }


def _message(value: Any) -> Any:
    """A plain value as it is; a message (a sparse tensor's encoding, a default) by protobuf."""
    if isinstance(value, str):
        return value
    from google.protobuf.json_format import (  # type: ignore[import-untyped]
        MessageToDict,
    )

    return MessageToDict(
        value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
