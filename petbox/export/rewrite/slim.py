"""Removes everything from a SavedModel's graph that only costs time when it is loaded.

TensorFlow copies all functions of a model about thirty times before the first response, called or
not. The time of a copy grows with the number of nodes and the length of their names. The rest
computes the same, but the model cannot be saved again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from petbox.export.rewrite.local_variables import DESCRIPTIVE, use_local_handles
from petbox.tf import tf

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # isort: skip
from tensorflow.python.framework import op_def_registry  # isort: skip
from tensorflow.python.saved_model import fingerprinting_utils  # isort: skip

NOT_SAVED = "a_served_model_is_not_saved_again:0"  # the field must not be empty
INIT_SIGNATURE = "__saved_model_init_op"
INIT_OP = "saved_model_main_op"
# Ops with state that nothing looks up by name.
NAMELESS = ("ReadVariableOp", "StatefulPartitionedCall")


def slim(folder: Path) -> list[str]:
    """Rewrites the model in `folder`; returns the original names of its nodes n0, n1, ..."""
    file = folder / tf.saved_model.SAVED_MODEL_FILENAME_PB
    model = SavedModel.FromString(file.read_bytes())
    (meta,) = model.meta_graphs
    _remove_saving(meta)
    _remove_initialization(meta)
    use_local_handles(meta.graph_def)
    _remove_unused(meta)
    names: list[str] = []
    for function in meta.graph_def.library.function:
        _remove_identities(function)
        _merge_constants(function)
        _shorten_names(function, names)
    file.write_bytes(model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))
    return names


def _remove_saving(meta: Any) -> None:
    graph, name = meta.graph_def, _node(meta.saver_def.save_tensor_name)
    (call,) = (node for node in graph.node if node.name == name)
    called = call.attr["f"].func.name
    (function,) = (one for one in graph.library.function if one.signature.name == called)
    graph.node.remove(call)
    graph.library.function.remove(function)
    meta.saver_def.save_tensor_name = NOT_SAVED


def _remove_initialization(meta: Any) -> None:
    """Removes initialization, if it only assigns file names to variables that nothing reads."""
    nodes = {node.name: node for node in meta.graph_def.node}
    (start,) = meta.collection_def[INIT_OP].node_list.value
    steps = [nodes[_node(name)] for name in nodes[start].input]
    read = {
        name
        for node in nodes.values()
        if node.op == "StatefulPartitionedCall"
        for name in node.input
    }
    if all(node.op == "AssignVariableOp" and node.input[0] not in read for node in steps):
        del meta.signature_def[INIT_SIGNATURE], meta.collection_def[INIT_OP]


def _remove_unused(meta: Any) -> None:
    """Removes nodes and functions that no name used outside the graph leads to."""
    graph, saver = meta.graph_def, meta.saver_def
    nodes = {node.name: node for node in graph.node}
    used_outside = [saver.restore_op_name, saver.filename_tensor_name]
    used_outside += [asset.tensor_info.name for asset in meta.asset_file_def]
    for signature in meta.signature_def.values():
        used_outside += [
            info.name for info in [*signature.inputs.values(), *signature.outputs.values()]
        ]
    for collection in meta.collection_def.values():
        used_outside += collection.node_list.value
    used_outside += [one.constant.operation for one in meta.object_graph_def.nodes]
    names = [_node(name) for name in used_outside if name]
    used = _reached(names, lambda name: map(_node, nodes[name].input))
    for name in nodes.keys() - used:
        graph.node.remove(nodes[name])

    functions = {one.signature.name: one for one in graph.library.function}
    called = [name for node in graph.node for name in _called(node)]
    called += meta.object_graph_def.concrete_functions
    used = _reached(
        called, lambda name: (one for node in functions[name].node_def for one in _called(node))
    )
    for name in functions.keys() - used:
        graph.library.function.remove(functions[name])


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        for function in (value.func, *value.list.func):
            if function.name:
                yield function.name


def _reached(names: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    ahead, found = [*names], set[str]()
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += following(name)
    return found


def _remove_identities(function: Any) -> None:
    """Removes Identity nodes without control dependencies."""
    named = {*function.control_ret.values()}
    for node in function.node_def:
        named |= {name[1:] for name in node.input if name.startswith("^")}
        named |= {text.decode().removeprefix("loc:@") for text in _colocated(node)}
    same = {
        f"{node.name}:output:0": node.input[0]
        for node in function.node_def
        if node.op == "Identity"
        and len(node.input) == 1
        and ":" in node.input[0]
        and node.name not in named
    }

    def made(text: str) -> str:
        while text in same:
            text = same[text]
        return text

    _keep(function, lambda node: f"{node.name}:output:0" not in same)
    for node in function.node_def:
        node.input[:] = map(made, node.input)
    for key in list(function.ret):
        function.ret[key] = made(function.ret[key])


def _keep(function: Any, predicate: Callable[[Any], bool]) -> None:
    kept = [deepcopy(node) for node in function.node_def if predicate(node)]
    del function.node_def[:]
    function.node_def.extend(kept)


def _merge_constants(function: Any) -> None:
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for node in function.node_def:
        if node.op == "Const" and not node.input:
            key = type(node)(attr=node.attr).SerializeToString(deterministic=True)
            same[node.name] = first.setdefault(key, node.name)
    _keep(function, lambda node: same.get(node.name, node.name) == node.name)
    _rename(function, same)


def _shorten_names(function: Any, names: list[str]) -> None:
    """Shortens names: inputs of up to 15 characters need no memory of their own."""
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
        for attribute in DESCRIPTIVE:
            node.attr.pop(attribute, None)
        colocated = _colocated(node)
        for at, text in enumerate(colocated):
            name = text.decode().removeprefix("loc:@")
            colocated[at] = text.replace(name.encode(), new.get(name, name).encode())
    for given in (function.ret, function.control_ret):
        for key in list(given):
            given[key] = renamed(given[key])


def _colocated(node: Any) -> Any:
    """The names of the ops that a node is colocated with."""
    return node.attr["_class"].list.s if "_class" in node.attr else []


def _node(text: str) -> str:
    return text.removeprefix("^").partition(":")[0]
