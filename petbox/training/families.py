"""The two kinds of detectors that petbox trains, and what differs between them.

Both are the Model Garden's and have a backbone, a feature pyramid (the decoder) and anchors. Faster
R-CNN proposes boxes with one head and classifies them with another; RetinaNet's only head
classifies every anchor at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    name: str
    experiment: str  # the Model Garden's configuration, to which presets are changes
    dense: str  # the head that scores every anchor, in the configuration and in the model
    heads: tuple[str, ...]  # of the model, with the dense one
    matching: tuple[str, ...]  # fields of the input's parser that say which anchors have an object

    @property
    def classifies_anchors(self) -> bool:
        """Whether the head that scores every anchor scores it for every class."""
        return self.dense == self.heads[-1]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a model that have weights."""
        return ("backbone", "decoder", *self.heads)


FASTER_RCNN = Family(
    "Faster R-CNN",
    "fasterrcnn_resnetfpn_coco",
    "rpn_head",
    ("rpn_head", "detection_head"),
    ("rpn_batch_size_per_im", "rpn_fg_fraction", "rpn_match_threshold", "rpn_unmatched_threshold"),
)
RETINANET = Family(
    "RetinaNet",
    "retinanet_resnetfpn_coco",
    "head",
    ("head",),
    ("match_threshold", "unmatched_threshold"),
)
ALL = (FASTER_RCNN, RETINANET)


def of(model: Any) -> Family:
    """The family of a model, or of its configuration."""
    return next(family for family in ALL if hasattr(model, family.dense))
