"""Folds batch normalization into the convolutions before it: the same network with fewer ops.

A trained normalization multiplies each channel by a constant and adds one, which the convolution's
kernel and a bias can do as well. Works on the graph of a function, whatever layers it was traced
from. A normalization after another op stays as it is, and so does a graph with loops, whose bodies
a copy of the graph could not call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from petbox.export.rewrite.grappler import arguments
from petbox.tf import tf, traced

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")

Values = npt.NDArray[np.float32]


class Weights:
    """Variables by their values, so that several graphs of one network share them."""

    def __init__(self) -> None:
        self._by_values: dict[Any, Any] = {}
        self._unchanged: dict[int, Any] = {}

    def variable(self, values: Values) -> Any:
        key = (values.shape, values.tobytes())
        if key not in self._by_values:
            self._by_values[key] = tf.Variable(values, trainable=False)
        return self._by_values[key]

    def keep(self, variables: Iterable[Any]) -> None:
        self._unchanged |= {id(variable): variable for variable in variables}

    @property
    def all(self) -> list[Any]:
        return [*self._by_values.values(), *self._unchanged.values()]


def folded(function: Any, weights: Weights) -> Any:
    """A concrete function that does what `function` does, with variables among `weights`."""
    graph = function.graph.as_graph_def()
    if graph.library.function:
        weights.keep(function.graph.variables)
        return function
    values = dict(_read(function, graph))  # of each node that reads a variable
    nodes = {node.name: node for node in graph.node}
    uses = Counter(name for node in graph.node for name in _inputs(node))
    for node in graph.node:
        _fold(node, nodes, values, uses)
    outputs = [output.name for output in function.outputs]
    graph = _pruned(graph, nodes, map(_name, outputs), values)
    used = {name for node in graph.node for name in _inputs(node)}
    read = {name: values[name] for name in sorted(used & values.keys())}
    variables = {name: weights.variable(one) for name, one in read.items() if one.ndim != 1}
    # Each variable takes time to load, so all biases are parts of one.
    rows = {one.tobytes(): one for one in read.values() if one.ndim == 1}
    row = weights.variable(np.concatenate([*rows.values()])) if rows else None
    inputs = arguments(function)
    captures = {
        inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource
    }

    def plain(*tensors: Any) -> tuple[Any, ...]:
        given = {one.name: tensor for one, tensor in zip(inputs, tensors, strict=True)}
        given |= {name: tf.identity(one) for name, one in captures.items()}
        once = {id(one): one.read_value() for one in variables.values()}
        given |= {f"{name}:0": once[id(one)] for name, one in variables.items()}
        if row is not None:
            parts = tf.split(row.read_value(), [len(one) for one in rows.values()])
            part = dict(zip(rows, parts, strict=True))
            short = {name: one for name, one in read.items() if one.ndim == 1}
            given |= {f"{name}:0": part[one.tobytes()] for name, one in short.items()}
        given = {name: one for name, one in given.items() if _name(name) in used}
        return tuple(tf.graph_util.import_graph_def(graph, given, outputs, name=""))

    return traced(plain, *(tf.TensorSpec(one.shape, one.dtype) for one in inputs))


def _read(function: Any, graph: Any) -> Iterable[tuple[str, Values]]:
    """The nodes of the graph that read variables, and what they read."""
    handles = {id(variable.handle): variable for variable in function.graph.variables}
    named = {
        inner.op.name: handles[id(outer)]
        for outer, inner in function.graph.captures
        if id(outer) in handles
    }
    for node in graph.node:
        if node.op == "ReadVariableOp":
            yield node.name, named[_name(node.input[0])].numpy()


def _fold(node: Any, nodes: Mapping[str, Any], values: dict[str, Values], uses: Any) -> None:
    """Turns `node` into the bias of a convolution, if it is the normalization after one."""
    if node.op != "FusedBatchNormV3" or node.attr["is_training"].b:
        return
    before, bias = nodes[_name(node.input[0])], np.float32(0)
    biased = before.op == "BiasAdd"
    convolution = nodes[_name(before.input[0])] if biased else before
    kernel = _name(convolution.input[1]) if convolution.op in CONVOLUTIONS else ""
    # A result that another node uses too must not change.
    if kernel not in values or uses[convolution.name] > 1 or uses[before.name] > 1:
        return
    if biased:
        bias = values[_name(before.input[1])]
    gamma, beta, mean, variance = (_constant(name, nodes, values) for name in node.input[1:])
    factor = gamma / np.sqrt(variance + np.float32(node.attr["epsilon"].f))
    new = {"kernel": node.name + "/kernel", "bias": node.name + "/bias"}
    # The last one or two axes of a kernel are those of its output.
    shape = values[kernel].shape[2:] if convolution.op != "Conv2D" else (-1,)
    values[new["kernel"]] = values[kernel] * factor.reshape(shape)
    values[new["bias"]] = beta + (bias - mean) * factor
    convolution.input[1] = new["kernel"]
    layout, kind = node.attr["data_format"].s, node.attr["T"].type
    node.Clear()
    node.name, node.op = new["bias"].removesuffix("/bias"), "BiasAdd"
    node.input.extend([convolution.name, new["bias"]])
    node.attr["T"].type, node.attr["data_format"].s = kind, layout


def _constant(name: str, nodes: Mapping[str, Any], values: Mapping[str, Values]) -> Values:
    """The values at an input of a normalization: a variable's or a constant's."""
    name = _name(name)
    if name in values:
        return values[name]
    return np.asarray(tf.make_ndarray(nodes[name].attr["value"].tensor), np.float32)


def _pruned(
    graph: Any, nodes: Mapping[str, Any], outputs: Iterable[str], given: Iterable[str]
) -> Any:
    """The part of the graph that computes the `outputs` from the `given` nodes."""
    ahead, needed, given = list(outputs), set[str](), {*given}
    while ahead:
        name = ahead.pop()
        if name not in needed and name not in given and nodes[name].op != "Placeholder":
            needed.add(name)
            kept = [one for one in nodes[name].input if not one.startswith("^")]
            del nodes[name].input[:]
            nodes[name].input.extend(kept)  # control dependencies have no effect here
            ahead += map(_name, kept)
    part = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if node.name in needed)
    return part


def _inputs(node: Any) -> list[str]:
    return [_name(one) for one in node.input if not one.startswith("^")]


def _name(tensor: str) -> str:
    return tensor.partition(":")[0]
