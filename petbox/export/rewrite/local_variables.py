"""Creates variable handles in the functions of a SavedModel that use them.

TensorFlow creates a handle for every variable in the main graph and passes it from call to call.
It optimizes that graph with all its functions before the first response, and twice unless it is
tiny. Each function creates its own handles here, so the main graph is tiny.

`tf.saved_model.load`, which uses no session, finds the functions as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CALL = "StatefulPartitionedCall"
# Ops without inputs, and the names of their outputs.
LOCAL = {"VarHandleOp": "resource", "Const": "output"}
SAME = ("EnsureShape", "Identity")
DESCRIPTIVE = ("_output_shapes", "debug_name")  # for people and tools
SEALED = "_noinline"


def use_local_handles(graph: Any) -> None:
    """Rewrites the calls in a graph; the functions that they called before stay."""
    nodes = {node.name: node for node in graph.node}
    library = _Library(graph.library, {one.signature.name: one for one in graph.library.function})
    calls = [node for node in graph.node if node.op == CALL]
    for call in calls:
        given = {name: nodes[name] for name in call.input if name in nodes}
        library.localize(call, {name: one for name, one in given.items() if one.op in LOCAL})
        library.shorten(call)
        # A variable is on one device: that of the call that creates its handle.
        call.attr["_class"].list.s[:] = [f"loc:@{calls[0].name}".encode()]


@dataclass
class _Library:
    proto: Any
    functions: dict[str, Any]
    _local: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def localize(self, call: Any, local: Mapping[str, Any]) -> None:
        """Replaces the called function by one that creates the inputs in `local` itself."""
        kept = [at for at, given in enumerate(call.input) if given not in local]
        if len(kept) == len(call.input):
            return
        by_place = [local.get(given) for given in call.input]
        call.attr["f"].func.name = self._function(call.attr["f"].func.name, by_place)
        types = [call.attr["Tin"].list.type[at] for at in kept]
        call.attr["Tin"].list.type[:] = types
        call.input[:] = [call.input[at] for at in kept]
        call.attr.pop("_read_only_resource_inputs", None)  # it counts inputs

    def shorten(self, call: Any) -> None:
        """If the function only calls another one, calls that directly."""
        while inner := _only_call(self.functions[call.attr["f"].func.name]):
            for name in ("f", "config_proto"):
                call.attr[name].CopyFrom(inner.attr[name])

    def _function(self, name: str, local: list[Any]) -> str:
        key = (name, *(one.name if one else "" for one in local))
        if key not in self._local:
            self._local[key] = self._made(name, local)
        made: str = self._local[key].signature.name
        return made

    def _made(self, name: str, local: list[Any]) -> Any:
        function = self.proto.function.add()
        function.CopyFrom(self.functions[name])
        function.signature.name = f"{name}_local_{len(self._local)}"
        self.functions[function.signature.name] = function
        parameters = list(function.signature.input_arg)
        del function.signature.input_arg[:]
        function.signature.input_arg.extend(
            one for one, node in zip(parameters, local, strict=True) if not node
        )
        function.arg_attr.clear()  # these refer to inputs by index:
        function.resource_arg_unique_id.clear()
        function.attr.pop("_input_shapes", None)
        known = {one.name: node for one, node in zip(parameters, local, strict=True) if node}
        if SEALED not in function.attr:  # TensorFlow inlines it into its caller
            for node in function.node_def:
                if node.op == CALL:
                    self.localize(node, known)
        self._make(function, known)
        return function

    def _make(self, function: Any, local: Mapping[str, Any]) -> None:
        """Creates in the function the inputs that it still uses."""
        made: dict[str, str] = {}
        for node in function.node_def:
            for at, name in enumerate(node.input):
                if name in local:
                    made.setdefault(name, f"local_{len(made)}:{LOCAL[local[name].op]}:0")
                    node.input[at] = made[name]
        for name, tensor in made.items():
            attributes = {
                key: one for key, one in local[name].attr.items() if key not in DESCRIPTIVE
            }
            function.node_def.add(name=tensor.partition(":")[0], op=local[name].op, attr=attributes)


def _only_call(function: Any) -> Any:
    """The function's only call, if that has the same inputs and outputs as the function."""
    nodes = {node.name: node for node in function.node_def}
    returned = []
    for one in function.signature.output_arg:
        name, _, at = function.ret[one.name].partition(":")
        while name in nodes and nodes[name].op in SAME:
            name, _, at = nodes[name].input[0].partition(":")
        returned.append((name, at))
    call = nodes.pop(returned[0][0], None) if returned else None
    if not call or call.op != CALL or {node.op for node in nodes.values()} - {*SAME, "NoOp"}:
        return None
    whole = [(call.name, f"output:{at}") for at in range(len(call.attr["Tout"].list.type))]
    same = [*call.input] == [one.name for one in function.signature.input_arg]
    return call if same and returned == whole else None
