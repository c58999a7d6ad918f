"""The declared SignatureDef against TensorFlow's own: the same text, and the same JSON."""

from __future__ import annotations

from google.protobuf import json_format  # type: ignore[import-untyped]

from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.signature_def import MetaGraphDef, dtype_name
from petbox.tf import tf


def test_it_prints_as_tensorflow_prints_its_own() -> None:
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, struct_pb2

    v1 = tf.compat.v1
    build = v1.saved_model.build_tensor_info
    with tf.Graph().as_default():
        inputs = {
            "plain": build(v1.placeholder(tf.string, [None, 3], "plain")),
            "any_rank": build(v1.placeholder(tf.bfloat16, None, "any_rank")),
            "sparse": build(v1.sparse_placeholder(tf.int64, name="sparse")),
            "ragged": build(v1.ragged.placeholder(tf.float32, 1, [2], name="ragged")),
        }
        signature = v1.saved_model.build_signature_def(inputs, {"y": inputs["plain"]}, "any/method")
    for value in ([1.5], [b"a\xff"], [1 + 2j], [True], tf.constant([1.0], tf.half)):
        signature.defaults[f"{len(signature.defaults)}"].CopyFrom(tf.make_tensor_proto(value))
    state = signature.inputs["ragged"].composite_tensor.type_spec.type_state
    state.tuple_value.values.add().dict_value.fields["n"].int64_value = -3
    state.tuple_value.values.add().none_value.CopyFrom(struct_pb2.NoneValue())
    graph = meta_graph_pb2.MetaGraphDef()
    graph.signature_def["of"].CopyFrom(signature)
    declared = MetaGraphDef.FromString(graph.SerializeToString()).signature_def["of"]

    assert str(declared) == str(signature)
    as_json = json_format.MessageToDict(
        signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    described = Signature.of(declared)
    assert described.metadata["defaults"] == as_json["defaults"]
    for name in ("sparse", "ragged"):
        (encoding,) = {"coo_sparse", "composite_tensor"} & described.metadata["inputs"][name].keys()
        assert described.metadata["inputs"][name][encoding] == as_json["inputs"][name][encoding]
    assert described.inputs["any_rank"] == "bfloat16"
    assert described.metadata["inputs"]["any_rank"]["tensor_shape"]["unknown_rank"]
    assert [f"DT_{dtype_name(number).upper()}" for number in types_pb2.DataType.values()] == list(
        types_pb2.DataType.keys()
    )
