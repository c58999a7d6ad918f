"""The Object Detection API's `pipeline.config`, carried over to the Model Garden's configuration.

`mapping` is pure: what a file asks for, as changes to one of petbox's presets, and two lists, of
what was taken and of what has no counterpart and why. Every field of the file is in one of them.
A network that the Model Garden cannot build as Faster R-CNN is refused by name. Weights are not
converted: the two networks differ by a feature pyramid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.data.text_proto import Field
from petbox.errors import DataError
from petbox.training import overrides
from petbox.training.pipeline_config import schedule
from petbox.training.pipeline_config.ledger import NETWORK, Ledger, Left, Taken
from petbox.training.pipeline_config.schedule import PARSER, PLACEHOLDER, TRAIN

BASE_ANCHOR = 256  # pixels of scale 1.0
CANVAS_ASPECT = 4 / 3  # photos are mostly of this shape
LEVEL_ANCHOR = 8  # the Model Garden's usual anchor, in strides of its level

POST = NETWORK + "second_stage_post_processing."
NMS = POST + "batch_non_max_suppression."
ROIS, DETECTIONS = "task.model.roi_generator.", "task.model.detection_generator."
LOSSES = "task.losses."

# Fields that mean the same on both sides.
SAME: Mapping[str, tuple[Any, ...]] = {
    NETWORK + "first_stage_minibatch_size": (int, PARSER + "rpn_batch_size_per_im"),
    NETWORK + "first_stage_positive_balance_fraction": (float, PARSER + "rpn_fg_fraction"),
    NETWORK + "first_stage_box_predictor_depth": (int, "task.model.rpn_head.num_filters"),
    NETWORK + "first_stage_nms_score_threshold": (
        float,
        ROIS + "pre_nms_score_threshold",
        ROIS + "test_pre_nms_score_threshold",
    ),
    NETWORK + "first_stage_nms_iou_threshold": (
        float,
        ROIS + "nms_iou_threshold",
        ROIS + "test_nms_iou_threshold",
    ),
    NETWORK + "first_stage_max_proposals": (
        int,
        ROIS + "num_proposals",
        ROIS + "test_num_proposals",
    ),
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

# Why a field has no counterpart: the first whose pattern its dotted name has.
REASONS = (
    (r"initializer$", "the Model Garden initialises its layers itself"),
    (r"hyperparams\.op$", "a layer's kind is never in doubt"),
    (r"activation$|batch_norm$", "the Model Garden's layers have their own"),
    (r"regularizer", "one L2 weight holds for the whole network (task.losses.l2_weight_decay)"),
    (r"_stride$", "each level of the feature pyramid has its own stride"),
    (
        r"anchor_generator",
        "does not fit the levels of a feature pyramid; the preset's anchors stay",
    ),
    (r"atrous_rate$", "nothing is dilated"),
    (r"crop_size$|maxpool_", "only all three together say a size"),
    (r"dropout", "the Model Garden's box head has no dropout"),
    (r"pad_to_max_dimension$", "pictures are always padded to the canvas"),
    (r"resize_method$", "pictures are always scaled bilinearly"),
    (r"image_resizer", "no such canvas; the preset's stays"),
    (r"max_detections_per_class$", "only the sum over all classes is bounded"),
    (r"score_converter$|classification_loss", "there are only softmax and sigmoid"),
    (r"from_detection_|load_all_|checkpoint_(type|version)", "--init names the parts it takes"),
    (r"moving_average", "the weights themselves are kept, not their averages"),
    (r"burnin|hold_base|min_learning_rate", "the Model Garden's schedule has none"),
    (r"data_augmentation_options", "petbox mirrors left and right, scales and crops, no more"),
    (r"metrics_set$", "petbox computes COCO's metrics for boxes"),
    (r"num_examples$|max_evals$|sample_1_of", "the whole test split is evaluated"),
    (r"reader.*shuffle$", "pictures for training are always shuffled, others never"),
    (
        r"queue|num_readers|num_parallel|prefetch|_threads|block_length",
        "tf.data finds it by itself",
    ),
    (r"replicas|startup_delay", "workers always make each step together"),
    (r"keep_checkpoint", "--checkpoint-every and --evaluate-every say which are kept"),
    (r"freeze_variables$", "only a whole backbone is frozen (task.freeze_backbone)"),
)
NO_SUCH = "petbox has no such setting"
TRAIN_FILES, TEST_FILES = "task.train_data.input_path", "task.validation_data.input_path"


@dataclass(frozen=True)
class Mapped:
    """What a pipeline.config comes to: `changes`, by dotted names, to the preset."""

    source: str
    text: bytes
    preset: str
    changes: Mapping[str, Any]
    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    classes: int
    train_records: tuple[str, ...]  # paths and patterns; none where none is configured
    test_records: tuple[str, ...]
    label_map: str | None


@dataclass(frozen=True)
class Inputs:
    """The records that a file names, where there is no --records."""

    names: Mapping[int, str]
    label_map: Path
    train: tuple[str, ...]
    test: tuple[str, ...]


def read(path: Path) -> Mapped:
    """What the file `path` comes to."""
    try:
        return mapping(path.read_bytes().decode(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file, so no pipeline.config") from error


def mapping(text: str, source: str) -> Mapped:
    """What a pipeline.config comes to; `source` is what messages call it."""
    ledger = Ledger(text, source)
    layers = _backbone(ledger)
    classes = _classes(ledger)
    _anchors(ledger)
    _canvas(ledger)
    _same(ledger)
    _sampled_regions(ledger)
    _pooled_size(ledger)
    _scores(ledger)
    _weight_decay(ledger)
    schedule.steps(ledger)
    schedule.optimizer(ledger)
    schedule.augmentation(ledger)
    schedule.first_weights(ledger)
    train = _records(ledger, "train_input_reader", TRAIN_FILES)
    test = _records(ledger, "eval_input_reader", TEST_FILES)
    label_map = _label_map(ledger)
    ledger.leave_the_rest(REASONS, NO_SUCH)
    preset = f"faster_rcnn_resnet{50 if layers == 50 else 101}_pets"
    taken, left = tuple(ledger.taken), tuple(ledger.left)
    files = (TRAIN_FILES, TEST_FILES, labels.FILE_NAME)
    changes = {k: v for k, v in ledger.changes.items() if k not in files}
    return Mapped(
        source, text.encode(), preset, changes, taken, left, classes, train, test, label_map
    )


def apply(config: Any, mapped: Mapped) -> None:
    """Makes the changes in an experiment of `mapped.preset`."""
    for name, value in mapped.changes.items():
        try:
            overrides.put(config, name, value)
        except ValueError as error:
            raise DataError(f"{mapped.source}: {name}: {error}") from error


def check_classes(mapped: Mapped, names: Mapping[int, str]) -> None:
    """Refuses records with a class that the file has no place for."""
    if (highest := max(names)) > mapped.classes:
        raise DataError(
            f"{mapped.source}: num_classes is {mapped.classes}, but the records have the class "
            f"{highest} ({names[highest]}); write num_classes: {highest}"
        )


def inputs(mapped: Mapped) -> Inputs:
    """The records that the file names, if it names all and they are there."""
    if not (mapped.train_records and mapped.test_records and mapped.label_map):
        raise DataError(
            f"{mapped.source}: names no records to train on and to test on with their label map; "
            "configure input_path and label_map_path, or give --records DIR"
        )
    for pattern in (*mapped.train_records, *mapped.test_records):
        path = Path(pattern)
        if "://" not in pattern and not any(path.parent.glob(path.name)):  # stores: found later
            raise DataError(f"{mapped.source}: there is no file {pattern}; give --records DIR")
    label_map = Path(mapped.label_map)
    return Inputs(labels.read(label_map), label_map, mapped.train_records, mapped.test_records)


def table(mapped: Mapped) -> str:
    """What was taken, beside what it became, and what was not, below the reason."""
    lines = [f"{mapped.source}: changes to the preset {mapped.preset}"]
    widest = max(len(row.theirs) for row in mapped.taken if len(row.theirs) <= 50)
    for row in mapped.taken:
        ours = [f"{name} = {value}" for name, value in row.ours.items()]
        ours += [f"({row.remark})"] if row.remark else []
        if len(row.theirs) > widest:
            lines.append(f"  {row.theirs}")
            lines.append(f"  {'':<{widest}}  -> {ours.pop(0)}")
        else:
            lines.append(f"  {row.theirs:<{widest}}  -> {ours.pop(0)}")
        lines += [f"  {'':<{widest}}     {each}" for each in ours]
    lines.append(f"{mapped.source}: no counterpart")
    for why in dict.fromkeys(row.why for row in mapped.left):
        lines.append(f"  {why}:")
        lines += [f"      {row.theirs}" for row in mapped.left if row.why == why]
    return "\n".join(lines)


def _backbone(ledger: Ledger) -> int:
    """How many layers the ResNet has; refuses what is none, and what is no Faster R-CNN."""
    models = ledger.all("model")
    if len(models) != 1 or not models[0].message:
        raise DataError(f"{ledger.source}: has no model {{ … }}, so it is no pipeline.config")
    network = models[0].message[0]
    named = ledger.all("feature_extractor.type", network)
    extractor = named[0].text if named else "no feature_extractor"
    _refuse_other_networks(ledger, network, extractor)
    match = re.fullmatch(r"faster_rcnn_resnet(50|101|152)(_fpn)?(_keras)?", extractor)
    if match is None:
        why = f"{extractor}: the Model Garden has no such backbone"
        raise _refused(ledger, named[0] if named else network, why)
    ledger.mark(*named)
    layers = int(match[1])
    ours = {"task.model.backbone.resnet.model_id": layers}
    ledger.take(f"feature_extractor.type: {extractor}", ours)
    return layers


def _refuse_other_networks(ledger: Ledger, network: Field, extractor: str) -> None:
    predictor = "second_stage_box_predictor."
    if network.name == "ssd":
        raise _refused(ledger, network, f"SSD ({extractor}) makes no proposals")
    if network.name != "faster_rcnn":
        raise _refused(ledger, network, f"{network.name} is another kind of network")
    if found := ledger.all(predictor + "rfcn_box_predictor", network):
        raise _refused(ledger, found[0], "R-FCN (rfcn_box_predictor) is not in the Model Garden")
    masks = predictor + "mask_rcnn_box_predictor.predict_instance_masks"
    stages = ledger.either("number_of_stages", 2, network)
    if stages == 3 or ledger.one(masks, bool, network):
        raise _refused(ledger, network, "Mask R-CNN needs masks, and records have only boxes")
    if stages != 2:
        raise _refused(ledger, network, f"number_of_stages: {stages} is no whole Faster R-CNN")


def _refused(ledger: Ledger, where: Field, why: str) -> DataError:
    return ledger.wrong(
        where,
        f"{why}; petbox trains Faster R-CNN on ResNet-50, -101 and -152 from such a file, "
        "so take a faster_rcnn_resnet*.config, or a --preset",
    )


def _classes(ledger: Ledger) -> int:
    classes = ledger.one(NETWORK + "num_classes", int)
    if not classes:
        raise DataError(f"{ledger.source}: model.faster_rcnn has no num_classes; add it")
    ours = {"task.model.num_classes": classes + 1}
    ledger.take(f"num_classes: {classes}", ours, "the background counts")
    return classes


def _same(ledger: Ledger) -> None:
    for path, (kind, *ours) in SAME.items():
        if (value := ledger.one(path, kind)) is None:
            continue
        if kind is int and value < 1:
            raise ledger.wrong(ledger.all(path)[0], f"{path} must be 1 or more")
        said = path.removeprefix(POST)
        ledger.take(f"{said}: {value}", dict.fromkeys(ours, value))


def _anchors(ledger: Ledger) -> None:
    """Sizes become levels of the pyramid, each with anchors of its own size."""
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
        said = f"scales: {scales} of {height} pixels"
        ledger.take(said, ours, "a level for each doubling; the size is in strides of the level")
    elif fields:
        why = "does not fit the levels of a feature pyramid; the preset's anchors stay"
        ledger.leave(f"scales: {scales} of {height}x{width} pixels", why)
    if ratios := ledger.many(grid + "aspect_ratios", float):
        ledger.take(f"aspect_ratios: {ratios}", {"task.model.anchor.aspect_ratios": ratios})


def pyramid(sizes: Sequence[float]) -> tuple[int, int, int, float] | None:
    """(lowest level, highest, sizes a level, anchor size) that give just these anchors."""
    if len(sizes) < 2 or sizes[0] <= 0 or sizes[1] <= sizes[0]:
        return None
    a_level = round(1 / math.log2(sizes[1] / sizes[0]))
    if not a_level or len(sizes) % a_level:
        return None
    wanted = [sizes[0] * 2 ** (at / a_level) for at in range(len(sizes))]
    if any(abs(size - want) > 0.01 * want for size, want in zip(sizes, wanted, strict=True)):
        return None
    lowest = min(max(round(math.log2(sizes[0] / LEVEL_ANCHOR)), 2), 5)
    highest = lowest + len(sizes) // a_level - 1
    return (lowest, highest, a_level, sizes[0] / 2**lowest) if highest <= 7 else None


def _pyramid_anchors(ledger: Ledger, generator: str) -> None:
    """Their newer generator, for networks with a pyramid, says what ours says."""
    if not ledger.all(generator[:-1]):
        return
    ours = {
        "task.model.min_level": ledger.either(generator + "min_level", 3),
        "task.model.max_level": ledger.either(generator + "max_level", 7),
        "task.model.anchor.anchor_size": ledger.either(generator + "anchor_scale", 4.0),
        "task.model.anchor.num_scales": ledger.either(generator + "scales_per_octave", 2),
    }
    ledger.take("multiscale_anchor_generator", ours)
    if ratios := ledger.many(generator + "aspect_ratios", float):
        ledger.take(f"aspect_ratios: {ratios}", {"task.model.anchor.aspect_ratios": ratios})


def _canvas(ledger: Ledger) -> None:
    """The Model Garden has one canvas for all pictures, in multiples of its coarsest stride."""
    resizer, multiple = (
        NETWORK + "image_resizer.",
        2 ** ledger.changes.get("task.model.max_level", 6),
    )
    for keep in ledger.groups(resizer, ["keep_aspect_ratio_resizer"]):
        short = ledger.either("min_dimension", 600, keep)
        long = ledger.either("max_dimension", 1024, keep)
        theirs = round(min(short * CANVAS_ASPECT, long))
        side = _up(theirs, multiple)
        ledger.take(
            f"min_dimension: {short}, max_dimension: {long}",
            {"task.model.input_size": [side, side, 3]},
            f"one canvas for all pictures: one of 4:3 is {side} long on it, with theirs {theirs}",
        )
    for fixed in ledger.groups(resizer, ["fixed_shape_resizer"]):
        height, width = (ledger.either(name, 300, fixed) for name in ("height", "width"))
        ledger.take(
            f"fixed_shape_resizer {{ height: {height}, width: {width} }}",
            {"task.model.input_size": [_up(height, multiple), _up(width, multiple), 3]},
            f"in multiples of {multiple}; pictures are padded, not distorted",
        )


def _up(size: int, multiple: int) -> int:
    return math.ceil(size / multiple) * multiple


def _sampled_regions(ledger: Ledger) -> None:
    said = ledger.one(NETWORK + "second_stage_batch_size", int)
    regions = said or 64
    proposals = ledger.changes.get(ROIS + "num_proposals", regions)
    ledger.take(
        f"second_stage_batch_size: {regions}{'' if said else ' (their default)'}",
        {"task.model.roi_sampler.num_sampled_rois": min(regions, proposals)},
        "no more than there are proposals" if regions > proposals else "",
    )


def _pooled_size(ledger: Ledger) -> None:
    names = [
        NETWORK + name for name in ("initial_crop_size", "maxpool_kernel_size", "maxpool_stride")
    ]
    if all(map(ledger.all, names)):
        crop, kernel, stride = (ledger.either(name, 1) for name in names)
        said = f"initial_crop_size: {crop}, maxpool {kernel} by {stride}"
        size = max((crop - kernel) // max(stride, 1) + 1, 1)
        ledger.take(said, {"task.model.roi_aligner.crop_size": size}, "what their pooling leaves")


def _scores(ledger: Ledger) -> None:
    for each in ledger.all(POST + "score_converter"):
        if each.text in ("SOFTMAX", "SIGMOID"):
            ledger.mark(each)
            sigmoid = {DETECTIONS + "use_sigmoid_probability": each.text == "SIGMOID"}
            ledger.take(str(each), sigmoid)
    loss = NETWORK + "second_stage_classification_loss."
    for each in ledger.groups(loss, ["weighted_softmax", "weighted_sigmoid"]):
        binary = {LOSSES + "frcnn_class_use_binary_cross_entropy": "sigmoid" in each.name}
        ledger.take(each.name, binary)


def _weight_decay(ledger: Ledger) -> None:
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
        said = f"l2_regularizer {{ weight: {found[0].text} }}"
        ledger.take(said, {LOSSES + "l2_weight_decay": weights.pop()})


def _records(ledger: Ledger, reader: str, ours: str) -> tuple[str, ...]:
    paths = tuple(ledger.many(reader + ".tf_record_input_reader.input_path", str))
    said = f"{reader}.input_path: {', '.join(paths) or 'none'}"
    if paths and not any(PLACEHOLDER in path for path in paths):
        ledger.take(said, {ours: list(paths)}, "unless --records says otherwise")
        return paths
    ledger.leave(said, "not configured; --records names the folder")
    return ()


def _label_map(ledger: Ledger) -> str | None:
    readers = ("train_input_reader", "eval_input_reader")
    paths = [path for name in readers for path in ledger.many(name + ".label_map_path", str)]
    for path in dict.fromkeys(paths):
        if PLACEHOLDER in path:
            ledger.leave(f"label_map_path: {path}", "not configured; --records brings its own")
    configured = list(dict.fromkeys(path for path in paths if PLACEHOLDER not in path))
    if len(configured) > 1:
        raise DataError(f"{ledger.source}: two label maps ({' and '.join(configured)}); name one")
    for path in configured:
        ledger.take(f"label_map_path: {path}", {labels.FILE_NAME: path}, "unless --records has one")
    return configured[0] if configured else None
