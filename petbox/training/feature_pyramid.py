"""Finds the layers of a feature pyramid in a checkpoint of a pyramid with other levels.

Keras numbers layers by their depth in the graph: the fifth layer of a pyramid with levels 3 to 6 is
another one than that of a pyramid with levels 3 to 7, and most of both have the same shape. Older
checkpoints lack the layers' names, so the pyramid of their levels is built to learn them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petbox.training.initial_weights import Graph

NUMBERED = "layer_with_weights-"
LATERAL = "lateral_"  # a convolution of one pixel, one for each level of the backbone
ABSENT = -1


def places(
    decoder: Any, node: int, graph: Graph, shapes: Mapping[str, Sequence[int]]
) -> dict[int, tuple[str, int]]:
    """By the id of each layer of ours: its name, and its node in the checkpoint or -1."""
    ours = {layer.name: layer for layer in decoder.layers if layer.weights}
    laterals = {
        layer.kernel.shape[2]: int(name.removeprefix(LATERAL))
        for name, layer in ours.items()
        if name.startswith(LATERAL) and hasattr(layer, "kernel")
    }
    if node == ABSENT or not laterals:
        return {}  # of another kind, which is compared as it is
    under = graph.children(node)
    numbered = [under[name] for n in range(len(under)) if (name := f"{NUMBERED}{n}") in under]
    kernels = [
        shapes[tensor]
        for layer in numbered
        if (at := graph.children(layer).get("kernel")) and (tensor := graph.tensor(at))
    ]
    across = [kernel[2] for kernel in kernels if list(kernel[:2]) == [1, 1]]
    levels = sum("gamma" in graph.children(layer) for layer in numbered)
    names: list[str] = []
    if across:  # the first is the highest, which the channels of the backbone identify
        highest = laterals.get(across[0], max(laterals.values()))
        lowest = highest - len(across) + 1
        names = _names(highest, lowest, lowest + levels - 1)
    theirs = dict(zip(names, numbered, strict=True)) if len(names) == len(numbered) else {}
    return {id(layer): (name, theirs.get(name, ABSENT)) for name, layer in ours.items()}


def _names(highest: int, lowest: int, last: int) -> list[str]:
    """The layers of a pyramid up to `last`, on a backbone up to `highest`, as Keras orders them."""
    from petbox.training.tfvision import fpn, tf

    sides = {str(at): 2 ** (highest - at) for at in range(lowest, highest + 1)}
    specs = {level: tf.TensorShape([None, side, side, 1]) for level, side in sides.items()}
    pyramid = fpn.FPN(specs, lowest, last, num_filters=1)
    return [layer.name for layer in pyramid.layers if layer.weights]
