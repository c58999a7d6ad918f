"""TensorFlow's SignatureDef, which describes a signature, as a message of protobuf.

Every engine describes its models with it: the metadata and some error texts are printed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from petbox.export.messages import Messages, message_class

DATA_TYPE = (  # from 0
    "INVALID FLOAT DOUBLE INT32 UINT8 INT16 INT8 STRING COMPLEX64 INT64 BOOL QINT8 QUINT8 QINT32 "
    "BFLOAT16 QINT16 QUINT16 UINT16 COMPLEX128 HALF RESOURCE VARIANT UINT32 UINT64 FLOAT8_E5M2 "
    "FLOAT8_E4M3FN FLOAT8_E4M3FNUZ FLOAT8_E4M3B11FNUZ FLOAT8_E5M2FNUZ INT4 UINT4 INT2 UINT2 "
    "FLOAT4_E2M1FN"
)
TYPES = DATA_TYPE.split()
TYPE_SPEC_CLASS = (  # from 0
    "UNKNOWN SPARSE_TENSOR_SPEC INDEXED_SLICES_SPEC RAGGED_TENSOR_SPEC TENSOR_ARRAY_SPEC "
    "DATA_DATASET_SPEC DATA_ITERATOR_SPEC OPTIONAL_SPEC PER_REPLICA_SPEC VARIABLE_SPEC "
    "ROW_PARTITION_SPEC unused REGISTERED_TYPE_SPEC EXTENSION_TYPE_SPEC"
)
_SPEC = {"name": (1, "string"), "shape": (2, "TensorShape"), "dtype": (3, "DataType")}

MESSAGES: Messages = {  # of meta_graph.proto and its imports
    "DataType": {
        **{f"DT_{name}": number for number, name in enumerate(TYPES)},
        **{f"DT_{name}_REF": 100 + number for number, name in enumerate(TYPES) if number},
    },
    "Dim": {"size": (1, "int64"), "name": (2, "string")},
    "TensorShape": {"dim": (2, "Dim*"), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "DataType"),
        "tensor_shape": (2, "TensorShape"),
        "version_number": (3, "int32"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "double_val": (6, "double*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
        "scomplex_val": (9, "float*"),
        "int64_val": (10, "int64*"),
        "bool_val": (11, "bool*"),
        "dcomplex_val": (12, "double*"),
        "half_val": (13, "int32*"),
        "resource_handle_val": (14, "bytes*"),  # as it is, like the next
        "variant_val": (15, "bytes*"),
        "uint32_val": (16, "uint32*"),
        "uint64_val": (17, "uint64*"),
        "float8_val": (18, "bytes"),
    },
    "None": {},
    "TensorSpec": _SPEC,
    "BoundedTensorSpec": {**_SPEC, "minimum": (4, "Tensor"), "maximum": (5, "Tensor")},
    "List": {"values": (1, "Value*")},
    "Dict": {"fields": (1, "map Value")},
    "Pair": {"key": (1, "string"), "value": (2, "Value")},
    "NamedTuple": {"name": (1, "string"), "values": (2, "Pair*")},
    "Value": {
        "none_value": (1, "None in kind"),
        "float64_value": (11, "double in kind"),
        "int64_value": (12, "sint64 in kind"),
        "string_value": (13, "string in kind"),
        "bool_value": (14, "bool in kind"),
        "tensor_shape_value": (31, "TensorShape in kind"),
        "tensor_dtype_value": (32, "DataType in kind"),
        "tensor_spec_value": (33, "TensorSpec in kind"),
        "type_spec_value": (34, "TypeSpec in kind"),
        "bounded_tensor_spec_value": (35, "BoundedTensorSpec in kind"),
        "list_value": (51, "List in kind"),
        "tuple_value": (52, "List in kind"),
        "dict_value": (53, "Dict in kind"),
        "named_tuple_value": (54, "NamedTuple in kind"),
        "tensor_value": (55, "Tensor in kind"),
        "numpy_value": (56, "Tensor in kind"),
    },
    "TypeSpecClass": {name: number for number, name in enumerate(TYPE_SPEC_CLASS.split())},
    "TypeSpec": {
        "type_spec_class": (1, "TypeSpecClass"),
        "type_state": (2, "Value"),
        "type_spec_class_name": (3, "string"),
        "num_flat_components": (4, "int32"),
    },
    "CooSparse": {
        "values_tensor_name": (1, "string"),
        "indices_tensor_name": (2, "string"),
        "dense_shape_tensor_name": (3, "string"),
    },
    "CompositeTensor": {"type_spec": (1, "TypeSpec"), "components": (2, "TensorInfo*")},
    "TensorInfo": {
        "name": (1, "string in encoding"),
        "dtype": (2, "DataType"),
        "tensor_shape": (3, "TensorShape"),
        "coo_sparse": (4, "CooSparse in encoding"),
        "composite_tensor": (5, "CompositeTensor in encoding"),
    },
    "SignatureDef": {
        "inputs": (1, "map TensorInfo"),
        "outputs": (2, "map TensorInfo"),
        "method_name": (3, "string"),
        "defaults": (4, "map Tensor"),
    },
    "MetaGraphDef": {"signature_def": (5, "map SignatureDef")},
}
MetaGraphDef = message_class(MESSAGES, "MetaGraphDef", "proto3")


def definition_json(signature: Any) -> dict[str, Any]:
    """A SignatureDef as shown in the metadata: protobuf's JSON with every field printed."""
    return {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "method_name": signature.method_name,
        "defaults": {name: _message(value) for name, value in sorted(signature.defaults.items())},
    }


def dtype_name(number: int) -> str:
    """TensorFlow's name of a DataType in error messages: `float`, `half`, `int32`, `string`, ..."""
    name = TYPES[number % 100].lower() if number % 100 < len(TYPES) else str(number)
    return f"{name}_ref" if number > 100 else name


def _tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tensor(tensors[name]) for name in sorted(tensors)}


def _tensor(info: Any) -> dict[str, Any]:
    encoding = info.WhichOneof("encoding")
    shape = info.tensor_shape
    # By hand, because protobuf's printer puts fields with their default value last.
    return {
        **({} if encoding is None else {encoding: _message(getattr(info, encoding))}),
        "dtype": f"DT_{dtype_name(info.dtype).upper()}",
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
