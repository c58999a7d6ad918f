"""Finds the layers of a feature pyramid, and of its heads, in a checkpoint with other levels.

Keras numbers layers by their depth in the graph: the fifth layer of a pyramid with levels 3 to 6 is
another one than that of a pyramid with levels 3 to 7, and most of both have the same shape. Older
checkpoints lack the layers' names, so the pyramid of their levels is built to learn them. Heads
have a list of normalizations, one for each level from the lowest on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petbox.training.initial_weights import Graph

NUMBERED = "layer_with_weights-"
LATERAL = "lateral_"  # a convolution of one pixel, one for each level of the backbone
OF_LEVELS = ("_norms", "_cls_norms", "_box_norms")  # of heads
ABSENT = -1
Places = dict[int, tuple[str, int]]  # by an object's id: its name, and its node or -1


@dataclass(frozen=True)
class Pyramid:
    """That of a checkpoint, beside that of the detector."""

    nodes: Mapping[str, int]  # by the layers' names; empty if it is of another kind
    lower: int  # by how many levels it begins below the detector's

    def places(self, part: str, root: Any, node: int, graph: Graph) -> Places:
        """What of the decoder or of a head is elsewhere than its name in the graph tells."""
        if part == "decoder":
            layers = (layer for layer in root.layers if layer.weights)
            return {id(one): (one.name, self.nodes.get(one.name, ABSENT)) for one in layers}
        found: Places = {}
        for name in OF_LEVELS:
            theirs = graph.children(graph.children(node).get(name, ABSENT))
            for at, level in enumerate(getattr(root, name, ())):
                found[id(level)] = (str(at), theirs.get(str(at + self.lower), ABSENT))
        return found


def found(decoder: Any, graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Pyramid | None:
    """The pyramid in a checkpoint; None if one of the two is of a kind without laterals."""
    laterals = {
        layer.kernel.shape[2]: int(layer.name.removeprefix(LATERAL))
        for layer in decoder.layers
        if layer.name.startswith(LATERAL) and hasattr(layer, "kernel")
    }
    under = graph.children(graph.children(0).get("decoder", ABSENT))
    numbered = [under[name] for n in range(len(under)) if (name := f"{NUMBERED}{n}") in under]
    kernels = [
        shapes[tensor]
        for layer in numbered
        if (at := graph.children(layer).get("kernel")) and (tensor := graph.tensor(at))
    ]
    across = [kernel[2] for kernel in kernels if list(kernel[:2]) == [1, 1]]
    if not laterals or not across:
        return None
    # The first is the highest, which the channels of the backbone identify.
    highest = laterals.get(across[0], max(laterals.values()))
    lowest = highest - len(across) + 1
    levels = sum("gamma" in graph.children(layer) for layer in numbered)
    names = _names(highest, lowest, lowest + levels - 1)
    nodes = dict(zip(names, numbered, strict=True)) if len(names) == len(numbered) else {}
    return Pyramid(nodes, min(laterals.values()) - lowest)


def _names(highest: int, lowest: int, last: int) -> list[str]:
    """The layers of a pyramid up to `last`, on a backbone up to `highest`, as Keras orders them."""
    from petbox.training.tfvision import fpn, tf

    sides = {str(at): 2 ** (highest - at) for at in range(lowest, highest + 1)}
    specs = {level: tf.TensorShape([None, side, side, 1]) for level, side in sides.items()}
    pyramid = fpn.FPN(specs, lowest, last, num_filters=1)
    return [layer.name for layer in pyramid.layers if layer.weights]
