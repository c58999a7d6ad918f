"""Counts the floating point operations of a network's products, from its graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


def products(graph: Any) -> Iterator[dict[str, Any]]:
    """Each convolution and matrix product of a graph, with the shapes of its operands."""
    for op in graph.get_operations():
        if op.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            taken, kernel = (one.shape.as_list() for one in op.inputs[:2])
            if op.type == "MatMul" and op.get_attr("transpose_b"):
                kernel.reverse()
            depthwise = op.type == "DepthwiseConv2dNative"
            made = op.outputs[0].shape.num_elements()
            yield {
                "type": op.type,
                "taken": taken,
                "kernel": kernel,
                "strides": op.get_attr("strides")[1] if op.type != "MatMul" else 1,
                "padding": op.get_attr("padding").decode() if op.type != "MatMul" else "",
                "flops": 2 * made * math.prod(kernel[: 2 if depthwise else -1]),
            }


def of_products(all_: Any, share: float = 1.0) -> float:
    """Those of an image on a `share` of the canvas; the heads do the same on any."""
    return sum(
        one["flops"] * (share if one["padding"] and one["taken"][0] == 1 else 1.0) for one in all_
    )
