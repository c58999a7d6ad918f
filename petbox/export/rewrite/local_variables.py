"""A SavedModel's graph that finds its variables by itself, where TensorFlow would hand them down.

The graph beside the functions makes a handle of every variable and gives it from call to call.
TensorFlow works on that graph before the first answer, with all functions in hand, and does so
twice unless it is tiny. So a handle is made in the function that uses it.

Who loads the model without a session (`tf.saved_model.load`) finds the functions as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CALL = "StatefulPartitionedCall"
# What is made of nothing, and the name of what it gives.
HELD = {"VarHandleOp": "resource", "Const": "output"}
SAME = ("EnsureShape", "Identity")
TOLD = ("_output_shapes", "debug_name")  # for people and tools
SEALED = "_noinline"


def hold_variables(graph: Any) -> None:
    """Changes the calls in a graph; what they called before stays."""
    nodes = {node.name: node for node in graph.node}
    library = _Library(graph.library, {one.signature.name: one for one in graph.library.function})
    calls = [node for node in graph.node if node.op == CALL]
    for call in calls:
        given = {name: nodes[name] for name in call.input if name in nodes}
        library.hold(call, {name: one for name, one in given.items() if one.op in HELD})
        library.shorten(call)
        # A variable is of one device: that of the call which makes its handle.
        call.attr["_class"].list.s[:] = [f"loc:@{calls[0].name}".encode()]


@dataclass
class _Library:
    proto: Any
    functions: dict[str, Any]
    _holding: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def hold(self, call: Any, held: Mapping[str, Any]) -> None:
        """Makes it the call of a function that has by itself what these inputs would give it."""
        places = [at for at, given in enumerate(call.input) if given not in held]
        if len(places) == len(call.input):
            return
        by_place = [held.get(given) for given in call.input]
        call.attr["f"].func.name = self._function(call.attr["f"].func.name, by_place)
        types = [call.attr["Tin"].list.type[at] for at in places]
        call.attr["Tin"].list.type[:] = types
        call.input[:] = [call.input[at] for at in places]
        call.attr.pop("_read_only_resource_inputs", None)  # it counts inputs

    def shorten(self, call: Any) -> None:
        """Where the function only calls another one, calls that."""
        while inner := _only_call(self.functions[call.attr["f"].func.name]):
            for name in ("f", "config_proto"):
                call.attr[name].CopyFrom(inner.attr[name])

    def _function(self, name: str, held: list[Any]) -> str:
        key = (name, *(one.name if one else "" for one in held))
        if key not in self._holding:
            self._holding[key] = self._made(name, held)
        made: str = self._holding[key].signature.name
        return made

    def _made(self, name: str, held: list[Any]) -> Any:
        function = self.proto.function.add()
        function.CopyFrom(self.functions[name])
        function.signature.name = f"{name}_held_{len(self._holding)}"
        self.functions[function.signature.name] = function
        taken = list(function.signature.input_arg)
        del function.signature.input_arg[:]
        function.signature.input_arg.extend(
            one for one, node in zip(taken, held, strict=True) if not node
        )
        function.arg_attr.clear()  # it counts inputs, as these do:
        function.resource_arg_unique_id.clear()
        function.attr.pop("_input_shapes", None)
        known = {one.name: node for one, node in zip(taken, held, strict=True) if node}
        if SEALED not in function.attr:  # TensorFlow puts it into what calls it
            for node in function.node_def:
                if node.op == CALL:
                    self.hold(node, known)
        self._make(function, known)
        return function

    def _make(self, function: Any, held: Mapping[str, Any]) -> None:
        """Makes in the function what it still uses."""
        made: dict[str, str] = {}
        for node in function.node_def:
            for at, name in enumerate(node.input):
                if name in held:
                    made.setdefault(name, f"held_{len(made)}:{HELD[held[name].op]}:0")
                    node.input[at] = made[name]
        for name, tensor in made.items():
            attributes = {key: one for key, one in held[name].attr.items() if key not in TOLD}
            function.node_def.add(name=tensor.partition(":")[0], op=held[name].op, attr=attributes)


def _only_call(function: Any) -> Any:
    """The call that is given what the function is, and gives what it gives, if it does no more."""
    nodes = {node.name: node for node in function.node_def}
    answer = []
    for one in function.signature.output_arg:
        name, _, at = function.ret[one.name].partition(":")
        while name in nodes and nodes[name].op in SAME:
            name, _, at = nodes[name].input[0].partition(":")
        answer.append((name, at))
    call = nodes.pop(answer[0][0], None) if answer else None
    if not call or call.op != CALL or {node.op for node in nodes.values()} - {*SAME, "NoOp"}:
        return None
    whole = [(call.name, f"output:{at}") for at in range(len(call.attr["Tout"].list.type))]
    same = [*call.input] == [one.name for one in function.signature.input_arg]
    return call if same and answer == whole else None
