"""A SavedModel's graph without what only costs time when it is loaded.

TensorFlow copies all functions of a model some thirty times before its first answer, whether they
are asked or not. A copy takes as long as there are nodes and long names. What is left does the
same, and no more: a served model is not saved again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petbox.quiet_tensorflow import tf

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # isort: skip
from tensorflow.python.framework import op_def_registry  # isort: skip
from tensorflow.python.saved_model import fingerprinting_utils  # isort: skip

NOT_SAVED = "a_served_model_is_not_saved_again:0"  # some name there must be
INIT_SIGNATURE = "__saved_model_init_op"
INIT_OP = "saved_model_main_op"
# Of the steps with a state, those that nothing finds by their names.
NAMELESS = ("ReadVariableOp", "StatefulPartitionedCall")


def slim(folder: Path) -> list[str]:
    """Rewrites the model in `folder`; says what its nodes n0, n1, ... were called before."""
    file = folder / tf.saved_model.SAVED_MODEL_FILENAME_PB
    model = SavedModel.FromString(file.read_bytes())
    (meta,) = model.meta_graphs
    _leave_out_saving(meta)
    _leave_out_starting(meta)
    _leave_out_unused(meta)
    names: list[str] = []
    for function in meta.graph_def.library.function:
        _merge_constants(function)
        _shorten_names(function, names)
    file.write_bytes(model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))
    return names


def _leave_out_saving(meta: Any) -> None:
    """What restores the variables stays."""
    graph, name = meta.graph_def, _node(meta.saver_def.save_tensor_name)
    (call,) = (node for node in graph.node if node.name == name)
    called = call.attr["f"].func.name
    (function,) = (one for one in graph.library.function if one.signature.name == called)
    graph.node.remove(call)
    graph.library.function.remove(function)
    meta.saver_def.save_tensor_name = NOT_SAVED


def _leave_out_starting(meta: Any) -> None:
    """Where all it does is to tell the names of files to variables that nobody asks."""
    nodes = {node.name: node for node in meta.graph_def.node}
    (start,) = meta.collection_def[INIT_OP].node_list.value
    steps = [nodes[_node(name)] for name in nodes[start].input]
    asked = {
        name
        for node in nodes.values()
        if node.op == "StatefulPartitionedCall"
        for name in node.input
    }
    if all(step.op == "AssignVariableOp" and step.input[0] not in asked for step in steps):
        del meta.signature_def[INIT_SIGNATURE], meta.collection_def[INIT_OP]


def _leave_out_unused(meta: Any) -> None:
    """Every variable is read once more beside the functions, for nobody."""
    nodes = {node.name: node for node in meta.graph_def.node}
    ahead = [node.name for node in nodes.values() if node.op != "ReadVariableOp"]
    used = set[str]()
    while ahead:
        name = ahead.pop()
        used.add(name)
        ahead += {_node(given) for given in nodes[name].input} - used
    for name in nodes.keys() - used:
        meta.graph_def.node.remove(nodes[name])


def _merge_constants(function: Any) -> None:
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for node in function.node_def:
        if node.op == "Const" and not node.input:
            told = type(node)(attr=node.attr).SerializeToString(deterministic=True)
            same[node.name] = first.setdefault(told, node.name)
    kept = [node for node in function.node_def if same.get(node.name, node.name) == node.name]
    kept = [type(node).FromString(node.SerializeToString()) for node in kept]
    del function.node_def[:]
    function.node_def.extend(kept)
    _rename(function, same)


def _shorten_names(function: Any, names: list[str]) -> None:
    """Names of 15 letters with what is given behind them take no memory of their own."""
    before = len(names)
    new = {}
    for node in function.node_def:
        op = op_def_registry.get(node.op)
        if node.op in NAMELESS or (op and not op.is_stateful):
            new[node.name] = f"n{len(names)}"
            names.append(node.name)
    taken = {one.name for one in function.signature.input_arg}
    taken |= {node.name for node in function.node_def} - new.keys()
    if taken & set(new.values()):
        del names[before:]
    else:
        _rename(function, new)


def _rename(function: Any, new: Mapping[str, str]) -> None:
    def renamed(text: str) -> str:
        name = _node(text)
        return text.replace(name, new.get(name, name), 1)

    for node in function.node_def:
        node.name = renamed(node.name)
        node.input[:] = map(renamed, node.input)
        node.ClearField("experimental_debug_info")
        beside = node.attr["_class"].list.s if "_class" in node.attr else []
        for at, text in enumerate(beside):
            name = text.decode().removeprefix("loc:@")
            beside[at] = text.replace(name.encode(), new.get(name, name).encode())
    for given in (function.ret, function.control_ret):
        for key in list(given):
            given[key] = renamed(given[key])


def _node(text: str) -> str:
    """The node of an input."""
    return text.removeprefix("^").partition(":")[0]
