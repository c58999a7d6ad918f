"""Optimizes a function's graph at export, so that loading the model does not have to.

A model server optimizes its whole graph before the first response, function by function and more
than once; for a detector that takes as long as several requests. Functions simplified and sealed
here are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from petbox.tf import tf, traced

from tensorflow.core.protobuf.device_properties_pb2 import NamedDevice  # isort: skip
from tensorflow.python.grappler import cluster, tf_optimizer  # isort: skip

# TensorFlow's passes with the same result on every machine.
ANYWHERE = (
    "constfold",
    "shape",
    "pruning",
    "arithmetic",
    "dependency",
    "common_subgraph_elimination",
)
# Passes that adapt a network to its device: memory layout and fused ops.
ON_THE_DEVICE = ("layout", "remap")
# What marks a function to be sealed. It is not a dataset's, but passes over a whole model skip
# those marked as one.
SEALED: dict[str, Any] = {"_noinline": True, "_tf_data_function": True}


def simplified(function: Any) -> Any:
    """A concrete function with the same results as `function` and fewer ops, to be sealed."""
    return of_graph(function, simplified_graph(function), **SEALED)


def simplified_graph(function: Any) -> Any:
    graph = function.graph.as_graph_def()
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=function.graph)
    outputs = [output.name for output in function.outputs]
    meta.collection_def["train_op"].node_list.value.extend(outputs)
    # Without a device, TensorFlow would start a session to list them, and log it.
    device = NamedDevice(name="/CPU:0", properties={"type": "CPU"})
    machine = cluster.Cluster(devices=[device])
    return tf_optimizer.OptimizeGraph(_passes(ANYWHERE), meta, cluster=machine)


def of_graph(function: Any, graph: Any, specs: Sequence[Any] = (), **attributes: Any) -> Any:
    """The function of a graph with the inputs, captures and outputs of the graph of `function`.

    Its inputs are those of `function`, or tensors of the shapes in `specs`.
    """
    inputs = [one.name for one in function.inputs]
    captures = [outer for outer, _ in function.graph.captures]
    outputs = [one.name for one in function.outputs]
    part = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if f"{node.name}:0" not in inputs)
    used = {name.partition(":")[0] for node in part.node for name in node.input}

    def imported(*tensors: Any) -> tuple[Any, ...]:
        here = tf.compat.v1.get_default_graph()
        given = dict(zip(inputs, [*tensors, *map(here.capture, captures)], strict=True))
        given = {name: one for name, one in given.items() if name.removesuffix(":0") in used}
        return tuple(tf.graph_util.import_graph_def(part, given, outputs, name=""))

    specs = specs or [tf.TensorSpec(one.shape, one.dtype) for one in arguments(function)]
    return traced(imported, *specs, **attributes)


class Sealed:
    """A concrete function, marked as sealed, that TensorFlow only optimizes by these passes.

    It does that at the function's first use.
    """

    def __init__(self, function: Any, passes: Sequence[str] = ()) -> None:
        self._body = function
        self._config = _passes(passes).SerializeToString()
        self.outputs = function.outputs

    def __call__(self, *tensors: Any) -> tuple[Any, ...]:
        made = tf.raw_ops.StatefulPartitionedCall(
            args=[*tensors, *self._body.captured_inputs],
            Tout=[one.dtype for one in self.outputs],
            f=self._body,
            config_proto=self._config,
        )
        shaped = zip(made, self.outputs, strict=True)
        return tuple(tf.ensure_shape(tensor, one.shape) for tensor, one in shaped)


def sealed(function: Callable[..., Any], *specs: Any) -> Sealed:
    return Sealed(traced(function, *specs, **SEALED))


def arguments(function: Any) -> list[Any]:
    """The inputs of a concrete function, without its captures."""
    return list(function.inputs[: len(function.inputs) - len(function.graph.captures)])


def _passes(names: Sequence[str]) -> Any:
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    rewriting = config.graph_options.rewrite_options
    rewriting.disable_meta_optimizer = not names
    rewriting.optimizers.extend(names)
    rewriting.min_graph_nodes = -1
    rewriting.meta_optimizer_iterations = rewriting.ONE
    return config
