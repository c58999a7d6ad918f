"""A function's graph worked on at the export, so that nobody waits for it who loads the model.

A model server prepares its whole graph before the first answer, function by function and more than
once: for a detector that takes as long as several answers. What is simplified and sealed here is
left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petbox.tf import as_written, tf

from tensorflow.core.protobuf.device_properties_pb2 import NamedDevice  # isort: skip
from tensorflow.python.grappler import cluster, tf_optimizer  # isort: skip

# Those of TensorFlow's own passes whose work is the same on every machine.
ANYWHERE = (
    "constfold",
    "shape",
    "pruning",
    "arithmetic",
    "dependency",
    "common_subgraph_elimination",
)
# Those that suit a network to the device it is on: its layout, and steps taken together.
ON_THE_DEVICE = ("layout", "remap")


def simplified(function: Any) -> Any:
    """A concrete function that gives what `function` does in fewer steps."""
    graph = function.graph.as_graph_def()
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=function.graph)
    wanted = [output.name for output in function.outputs]
    meta.collection_def["train_op"].node_list.value.extend(wanted)
    # It is not asked what this machine has, which would start a session, and say so.
    device = NamedDevice(name="/CPU:0", properties={"type": "CPU"})
    machine = cluster.Cluster(devices=[device])
    return of_graph(function, tf_optimizer.OptimizeGraph(_passes(ANYWHERE), meta, cluster=machine))


def of_graph(function: Any, graph: Any, specs: Sequence[Any] = (), **attributes: Any) -> Any:
    """The function of a graph that takes, holds and gives what the graph of `function` does.

    It takes what `function` takes, or tensors of the shapes in `specs`.
    """
    taken = [one.name for one in function.inputs]
    caught = [outer for outer, _ in function.graph.captures]
    outputs = [one.name for one in function.outputs]
    part = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if f"{node.name}:0" not in taken)
    used = {name.partition(":")[0] for node in part.node for name in node.input}

    def call(*tensors: Any) -> tuple[Any, ...]:
        here = tf.compat.v1.get_default_graph()
        given = dict(zip(taken, [*tensors, *map(here.capture, caught)], strict=True))
        given = {name: one for name, one in given.items() if name.removesuffix(":0") in used}
        return tuple(tf.graph_util.import_graph_def(part, given, outputs, name=""))

    specs = specs or [tf.TensorSpec(one.shape, one.dtype) for one in arguments(function)]
    traced = tf.function(as_written(call), experimental_attributes=attributes)
    return traced.get_concrete_function(*specs)


class Sealed:
    """A concrete function, called as it is but for these passes just before its first use."""

    def __init__(self, function: Any, passes: Sequence[str] = ()) -> None:
        graph = function.graph.as_graph_def()
        # It is no dataset's, but a dataset's are what the passes over a whole model leave alone.
        self._body = of_graph(function, graph, _noinline=True, _tf_data_function=True)
        self._config = _passes(passes).SerializeToString()
        self.outputs = self._body.outputs

    def __call__(self, *tensors: Any) -> tuple[Any, ...]:
        made = tf.raw_ops.StatefulPartitionedCall(
            args=[*tensors, *self._body.captured_inputs],
            Tout=[one.dtype for one in self.outputs],
            f=self._body,
            config_proto=self._config,
        )
        shaped = zip(made, self.outputs, strict=True)
        return tuple(tf.ensure_shape(tensor, one.shape) for tensor, one in shaped)


def arguments(function: Any) -> list[Any]:
    """What a concrete function takes, without what it holds."""
    return list(function.inputs[: len(function.inputs) - len(function.graph.captures)])


def _passes(names: Sequence[str]) -> Any:
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    rewriting = config.graph_options.rewrite_options
    rewriting.disable_meta_optimizer = not names
    rewriting.optimizers.extend(names)
    rewriting.min_graph_nodes = -1
    rewriting.meta_optimizer_iterations = rewriting.ONE
    return config
