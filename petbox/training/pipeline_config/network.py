"""The `model` of a `pipeline.config`: backbone, anchors, canvas, proposals, losses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from petbox.data.text_proto import Field
from petbox.errors import DataError
from petbox.training.pipeline_config.ledger import NETWORK, Ledger
from petbox.training.pipeline_config.schedule import PARSER, TRAIN

BASE_ANCHOR = 256  # pixels of scale 1.0
CANVAS_ASPECT = 4 / 3  # photos are mostly of this shape
RETINANET = "retinanet_resnet50_pets"
LEVEL_ANCHOR = 8  # the Model Garden's usual anchor, in strides of its level

POST = NETWORK + "second_stage_post_processing."
NMS = POST + "batch_non_max_suppression."
ROIS, DETECTIONS = "task.model.roi_generator.", "task.model.detection_generator."
LOSSES = "task.losses."


def _roi(name: str) -> tuple[str, str]:
    """A setting of the proposals, for training and for evaluation."""
    return f"{ROIS}{name}", f"{ROIS}test_{name}"


# Fields that mean the same on both sides.
SAME: Mapping[str, tuple[Any, ...]] = {
    NETWORK + "first_stage_minibatch_size": (int, PARSER + "rpn_batch_size_per_im"),
    NETWORK + "first_stage_positive_balance_fraction": (float, PARSER + "rpn_fg_fraction"),
    NETWORK + "first_stage_box_predictor_depth": (int, "task.model.rpn_head.num_filters"),
    NETWORK + "first_stage_nms_score_threshold": (float, *_roi("pre_nms_score_threshold")),
    NETWORK + "first_stage_nms_iou_threshold": (float, *_roi("nms_iou_threshold")),
    NETWORK + "first_stage_max_proposals": (int, *_roi("num_proposals")),
    NETWORK + "first_stage_localization_loss_weight": (float, LOSSES + "rpn_box_weight"),
    NETWORK + "first_stage_objectness_loss_weight": (float, LOSSES + "rpn_score_weight"),
    NETWORK + "second_stage_localization_loss_weight": (float, LOSSES + "frcnn_box_weight"),
    NETWORK + "second_stage_classification_loss_weight": (float, LOSSES + "frcnn_class_weight"),
    NETWORK + "second_stage_balance_fraction": (
        float,
        "task.model.roi_sampler.foreground_fraction",
    ),
    NMS + "score_threshold": (float, DETECTIONS + "pre_nms_score_threshold"),
    NMS + "iou_threshold": (float, DETECTIONS + "nms_iou_threshold"),
    NMS + "max_total_detections": (int, DETECTIONS + "max_num_detections"),
    TRAIN + "batch_size": (int, "task.train_data.global_batch_size"),
    TRAIN + "max_number_of_boxes": (int, PARSER + "max_num_instances"),
    "train_input_reader.shuffle_buffer_size": (int, "task.train_data.shuffle_buffer_size"),
    "eval_config.batch_size": (int, "task.validation_data.global_batch_size"),
}


def backbone(ledger: Ledger) -> int:
    """The number of layers of the ResNet; rejects other backbones and other detectors."""
    models = ledger.all("model")
    if len(models) != 1 or not models[0].message:
        raise DataError(f"{ledger.source}: has no model {{ … }}; name a pipeline.config")
    network = models[0].message[0]
    named = ledger.all("feature_extractor.type", network)
    extractor = named[0].text if named else "no feature_extractor"
    _check_network(ledger, network, extractor)
    match = re.fullmatch(r"faster_rcnn_resnet(50|101|152)(_fpn)?(_keras)?", extractor)
    if match is None:
        why = f"{extractor}: the Model Garden has no such backbone"
        raise _unsupported(ledger, named[0] if named else network, why)
    ledger.mark(*named)
    layers = int(match[1])
    ours = {"task.model.backbone.resnet.model_id": layers}
    ledger.convert(f"feature_extractor.type: {extractor}", ours)
    return layers


def _check_network(ledger: Ledger, network: Field, extractor: str) -> None:
    predictor = "second_stage_box_predictor."
    if network.name == "ssd" and "_fpn" in extractor:
        why = f"SSD ({extractor}) is a RetinaNet, for which there is --preset {RETINANET}"
        raise _unsupported(ledger, network, why)
    if network.name == "ssd":
        raise _unsupported(ledger, network, f"SSD ({extractor}) has no proposals")
    if network.name != "faster_rcnn":
        raise _unsupported(ledger, network, f"{network.name} is another kind of network")
    if found := ledger.all(predictor + "rfcn_box_predictor", network):
        raise _unsupported(
            ledger, found[0], "R-FCN (rfcn_box_predictor) is not in the Model Garden"
        )
    masks = predictor + "mask_rcnn_box_predictor.predict_instance_masks"
    stages = ledger.either("number_of_stages", 2, network)
    if stages == 3 or ledger.one(masks, bool, network):
        raise _unsupported(ledger, network, "Mask R-CNN needs masks, and records have only boxes")
    if stages != 2:
        raise _unsupported(
            ledger, network, f"number_of_stages: {stages} is not a complete Faster R-CNN"
        )


def _unsupported(ledger: Ledger, where: Field, why: str) -> DataError:
    return ledger.wrong(
        where,
        f"{why}; petbox trains Faster R-CNN on ResNet-50, -101 and -152 from such a file, "
        "so take a faster_rcnn_resnet*.config, or a --preset",
    )


def classes(ledger: Ledger) -> int:
    classes = ledger.one(NETWORK + "num_classes", int)
    if not classes:
        raise DataError(f"{ledger.source}: model.faster_rcnn has no num_classes; add it")
    ours = {"task.model.num_classes": classes + 1}
    ledger.convert(f"num_classes: {classes}", ours, "including the background")
    return classes


def same_meaning(ledger: Ledger) -> None:
    for path, (kind, *ours) in SAME.items():
        if (value := ledger.one(path, kind)) is None:
            continue
        if kind is int and value < 1:
            raise ledger.wrong(ledger.all(path)[0], f"{path} must be 1 or more")
        theirs = path.removeprefix(POST)
        ledger.convert(f"{theirs}: {value}", dict.fromkeys(ours, value))


def anchors(ledger: Ledger) -> None:
    """Converts sizes to pyramid levels, each with its own anchor size."""
    generator = NETWORK + "first_stage_anchor_generator."
    _pyramid_anchors(ledger, generator + "multiscale_anchor_generator.")
    grid = generator + "grid_anchor_generator."
    fields = ledger.all(grid + "scales")
    height = ledger.either(grid + "height", BASE_ANCHOR)
    width = ledger.either(grid + "width", BASE_ANCHOR)
    scales = sorted(ledger.value(each, float) for each in fields)
    levels = pyramid([scale * height for scale in scales]) if height == width else None
    if levels is not None:
        names = ("min_level", "max_level", "anchor.num_scales", "anchor.anchor_size")
        ours = {f"task.model.{name}": value for name, value in zip(names, levels, strict=True)}
        theirs = f"scales: {scales} of {height} pixels"
        ledger.convert(theirs, ours, "one level per doubling; the size is in strides of the level")
    elif fields:
        why = "does not fit the levels of a feature pyramid; the preset's anchors stay"
        ledger.skip(f"scales: {scales} of {height}x{width} pixels", why)
    if ratios := ledger.many(grid + "aspect_ratios", float):
        ledger.convert(f"aspect_ratios: {ratios}", {"task.model.anchor.aspect_ratios": ratios})


def pyramid(sizes: Sequence[float]) -> tuple[int, int, int, float] | None:
    """(lowest level, highest, sizes per level, anchor size) that give exactly these anchors."""
    if len(sizes) < 2 or sizes[0] <= 0 or sizes[1] <= sizes[0]:
        return None
    a_level = round(1 / math.log2(sizes[1] / sizes[0]))
    if not a_level or len(sizes) % a_level:
        return None
    exact = [sizes[0] * 2 ** (at / a_level) for at in range(len(sizes))]
    if any(abs(size - right) > 0.01 * right for size, right in zip(sizes, exact, strict=True)):
        return None
    lowest = min(max(round(math.log2(sizes[0] / LEVEL_ANCHOR)), 2), 5)
    highest = lowest + len(sizes) // a_level - 1
    return (lowest, highest, a_level, sizes[0] / 2**lowest) if highest <= 7 else None


def _pyramid_anchors(ledger: Ledger, generator: str) -> None:
    """Their newer generator, for networks with a pyramid, has the same fields as ours."""
    if not ledger.all(generator[:-1]):
        return
    ours = {
        "task.model.min_level": ledger.either(generator + "min_level", 3),
        "task.model.max_level": ledger.either(generator + "max_level", 7),
        "task.model.anchor.anchor_size": ledger.either(generator + "anchor_scale", 4.0),
        "task.model.anchor.num_scales": ledger.either(generator + "scales_per_octave", 2),
    }
    ledger.convert("multiscale_anchor_generator", ours)
    if ratios := ledger.many(generator + "aspect_ratios", float):
        ledger.convert(f"aspect_ratios: {ratios}", {"task.model.anchor.aspect_ratios": ratios})


def canvas(ledger: Ledger) -> None:
    """The Model Garden has one canvas for all images, in multiples of its coarsest stride."""
    resizer = NETWORK + "image_resizer."
    multiple = 2 ** ledger.changes.get("task.model.max_level", 6)
    for keep in ledger.groups(resizer, ["keep_aspect_ratio_resizer"]):
        short = ledger.either("min_dimension", 600, keep)
        long = ledger.either("max_dimension", 1024, keep)
        theirs = round(min(short * CANVAS_ASPECT, long))
        side = _up(theirs, multiple)
        ledger.convert(
            f"min_dimension: {short}, max_dimension: {long}",
            {"task.model.input_size": [side, side, 3]},
            f"one canvas for all images: a 4:3 image is {side} long on it, {theirs} with theirs",
        )
    for fixed in ledger.groups(resizer, ["fixed_shape_resizer"]):
        height, width = (ledger.either(name, 300, fixed) for name in ("height", "width"))
        ledger.convert(
            f"fixed_shape_resizer {{ height: {height}, width: {width} }}",
            {"task.model.input_size": [_up(height, multiple), _up(width, multiple), 3]},
            f"in multiples of {multiple}; images are padded, not distorted",
        )


def _up(size: int, multiple: int) -> int:
    return math.ceil(size / multiple) * multiple


def sampled_regions(ledger: Ledger) -> None:
    theirs = ledger.one(NETWORK + "second_stage_batch_size", int)
    regions = theirs or 64
    proposals = ledger.changes.get(ROIS + "num_proposals", regions)
    ledger.convert(
        f"second_stage_batch_size: {regions}{'' if theirs else ' (their default)'}",
        {"task.model.roi_sampler.num_sampled_rois": min(regions, proposals)},
        "limited to the number of proposals" if regions > proposals else "",
    )


def pooled_size(ledger: Ledger) -> None:
    fields = ("initial_crop_size", "maxpool_kernel_size", "maxpool_stride")
    names = [NETWORK + name for name in fields]
    if all(map(ledger.all, names)):
        crop, kernel, stride = (ledger.either(name, 1) for name in names)
        theirs = f"initial_crop_size: {crop}, maxpool {kernel} by {stride}"
        ours = {"task.model.roi_aligner.crop_size": max((crop - kernel) // max(stride, 1) + 1, 1)}
        ledger.convert(theirs, ours, "the size after their pooling")


def scores(ledger: Ledger) -> None:
    for each in ledger.all(POST + "score_converter"):
        if each.text in ("SOFTMAX", "SIGMOID"):
            ledger.mark(each)
            sigmoid = {DETECTIONS + "use_sigmoid_probability": each.text == "SIGMOID"}
            ledger.convert(str(each), sigmoid)
    loss = NETWORK + "second_stage_classification_loss."
    for each in ledger.groups(loss, ["weighted_softmax", "weighted_sigmoid"]):
        binary = {LOSSES + "frcnn_class_use_binary_cross_entropy": "sigmoid" in each.name}
        ledger.convert(each.name, binary)


def weight_decay(ledger: Ledger) -> None:
    head = "second_stage_box_predictor.mask_rcnn_box_predictor."
    layers = (
        "first_stage_box_predictor_conv_hyperparams",
        head + "fc_hyperparams",
        head + "conv_hyperparams",
    )
    paths = [f"{NETWORK}{layer}.regularizer.l2_regularizer.weight" for layer in layers]
    found = [each for path in paths for each in ledger.all(path)]
    if len({each.text for each in found}) == 1:
        weights = {ledger.value(each, float) for each in found}
        theirs = f"l2_regularizer {{ weight: {found[0].text} }}"
        ledger.convert(theirs, {LOSSES + "l2_weight_decay": weights.pop()})
