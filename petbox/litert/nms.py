"""Rewrites a network's graph with ops that LiteRT has, for one image at a time.

LiteRT lacks CombinedNonMaxSuppression, which handles the boxes of all classes; it has
NON_MAX_SUPPRESSION_V4, for the boxes of one class. The two only differ for an overlap equal to the
threshold: V4 drops the box with the lower score, the other keeps it. The rest of the graph stays
as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from petbox.export.rewrite.grappler import of_graph
from petbox.tf import tf, traced

COMBINED = "CombinedNonMaxSuppression"


def for_one_image(function: Any, specs: Sequence[Any]) -> Any:
    """A concrete function like `function`, for tensors of the shapes in `specs`."""
    alone = of_graph(function, function.graph.as_graph_def(), specs)  # with all shapes known
    graph = alone.graph.as_graph_def()
    for node in graph.node:
        if node.op == COMBINED:
            _replace(node, graph, alone.graph.get_operation_by_name(node.name))
    return of_graph(alone, graph, specs)


@dataclass(frozen=True)
class _Suppression:
    most_of_class: int
    most: int
    overlap: float
    least: float  # scores at or below it are dropped

    @classmethod
    def of(cls, operation: Any) -> _Suppression:
        if operation.get_attr("clip_boxes") or operation.get_attr("pad_per_class"):
            raise AssertionError(f"{operation.name}: the Model Garden does neither")
        most_of_class, most, overlap, least = map(tf.get_static_value, operation.inputs[2:])
        return cls(int(most_of_class), int(most), float(overlap), float(least))

    def __call__(self, boxes: Any, scores: Any) -> tuple[Any, Any, Any, Any]:
        """For one image: boxes [1,N,Q,4], where Q is 1 or C, and scores [1,N,C]."""
        boxes, scores = boxes[0], scores[0]
        suppressed = [self._of_class(boxes, scores, label) for label in range(scores.shape[1])]
        all_boxes, all_scores, all_classes = (
            tf.concat(each, 0) for each in zip(*suppressed, strict=True)
        )
        few = max(0, self.most - all_scores.shape[0])
        best, indices = tf.math.top_k(
            tf.pad(all_scores, [[0, few]], constant_values=-1.0), self.most
        )
        there = best >= 0.0
        within = tf.cast(there, tf.float32)
        indices = tf.minimum(indices, all_scores.shape[0] - 1)
        return (
            (tf.gather(all_boxes, indices) * within[:, None])[None],
            (best * within)[None],
            (tf.gather(all_classes, indices) * within)[None],
            tf.reduce_sum(tf.cast(there, tf.int32))[None],
        )

    def _of_class(self, boxes: Any, scores: Any, label: int) -> tuple[Any, Any, Any]:
        """Boxes, scores and class in a fixed number of rows; padding has the score -1."""
        boxes = boxes[:, min(label, boxes.shape[1] - 1)]
        scores = scores[:, label]
        most = min(self.most_of_class, self.most, scores.shape[0])
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes,
            scores=scores,
            max_output_size=most,
            iou_threshold=self.overlap,
            score_threshold=self.least,
            pad_to_max_output_size=True,
        )
        found = tf.where(tf.range(most) < count, tf.gather(scores, indices), -1.0)
        return tf.gather(boxes, indices), found, tf.fill([most], float(label))


def _replace(node: Any, graph: Any, operation: Any) -> None:
    """Turns `node` into a call of an equivalent function, which is added to `graph`."""
    suppressed = _Suppression.of(operation)
    specs = [tf.TensorSpec([1, *one.shape[1:]], tf.float32) for one in operation.inputs[:2]]
    function = traced(suppressed, *specs)
    graph.library.MergeFrom(function.graph.as_graph_def().library)
    graph.library.function.append(function.function_def)
    inputs = node.input[:2]
    node.ClearField("input")
    node.ClearField("attr")
    node.op = "PartitionedCall"
    node.input.extend(inputs)
    node.attr["f"].func.name = function.function_def.signature.name
    node.attr["Tin"].list.type.extend(one.dtype.as_datatype_enum for one in operation.inputs[:2])
    node.attr["Tout"].list.type.extend(one.dtype.as_datatype_enum for one in operation.outputs)
