"""What the anchors of a training image should say: the Model Garden's targets, by family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from petbox.training import families, proposal_targets
from petbox.training.tfvision import anchor, maskrcnn_input, retinanet_input

Labels = dict[str, Any]
Labeler = Callable[[Any, Any], Labels]  # of an image's boxes [n,4] and classes [n,1]


def labeler(model: Any, parser: Any, anchors: Any) -> Labeler:
    """Labels the `anchors`, boxes by level, for the family of the configured `model`."""
    return LABELERS[families.of(model)](model, parser, anchors)


def _classes(model: Any, parser: Any, anchors: Any) -> Labeler:
    """Which class of object each anchor has, and where; -1 is none."""
    assign = anchor.AnchorLabeler(
        parser.match_threshold,
        parser.unmatched_threshold,
        model.detection_generator.box_coder_weights,
    ).label_anchors

    def labels(boxes: Any, classes: Any) -> Labels:
        names = ("cls_targets", "box_targets", "cls_weights", "box_weights")
        of_classes, offsets, _, *weights = assign(anchors, boxes, classes)
        return dict(zip(names, (of_classes, offsets, *weights), strict=True))

    return labels


LABELERS = {families.FASTER_RCNN: proposal_targets.labeler, families.RETINANET: _classes}


def same_for_all(model: Any, anchors: Any) -> Labels:
    """What every image of a batch says: the anchors, if a network proposes regions by them."""
    return {"anchor_boxes": anchors} if families.of(model) == families.FASTER_RCNN else {}


def evaluation_parser(model: Any, data: Any) -> Any:
    """The Model Garden's parser of evaluation images."""
    made = PARSERS[families.of(model)](
        model.input_size[:2],
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
        max_num_instances=data.parser.max_num_instances,
        dtype=data.dtype,
    )
    return made.parse_fn(is_training=False)


PARSERS = {
    families.FASTER_RCNN: maskrcnn_input.Parser,
    families.RETINANET: retinanet_input.Parser,
}
