"""A model's signature, and its definition as JSON. Imports no TensorFlow by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Signature:
    inputs: dict[str, str]  # dtypes by name, in TensorFlow's spelling: `float`, `half`, `string`
    outputs: list[str]
    call: Callable[..., list[Any]] = field(repr=False)  # arrays in the order of `inputs`
    method: str = "tensorflow/serving/predict"
    definition: str = field(default="", repr=False)  # as protobuf text, for error messages


def definition_json(signature: Any) -> dict[str, Any]:
    """A SignatureDef as shown in the metadata: protobuf's JSON with every field printed."""
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
    # By hand, because protobuf's printer puts fields with their default value last.
    return {
        **({} if encoding is None else {encoding: _message(getattr(info, encoding))}),
        "dtype": DataType.Name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in shape.dim],
            "unknown_rank": shape.unknown_rank,
        },
    }


def _message(value: Any) -> Any:
    """A string as it is; a message (a sparse tensor's encoding, a default) by protobuf."""
    if isinstance(value, str):
        return value
    from google.protobuf.json_format import (  # type: ignore[import-untyped]
        MessageToDict,
    )

    return MessageToDict(
        value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
