"""Converts the Object Detection API's `pipeline.config` into the Model Garden's configuration.

The result is a set of changes to one of petbox's presets, and two lists: the fields that were
converted, and those without a counterpart, with the reason. Every field of the file is in one of
them. A network that the Model Garden cannot build as Faster R-CNN is rejected. Weights are not
converted: the two networks differ by a feature pyramid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.errors import DataError
from petbox.training import overrides
from petbox.training.pipeline_config import network, schedule
from petbox.training.pipeline_config.ledger import Converted, Ledger, Skipped
from petbox.training.pipeline_config.schedule import PLACEHOLDER

# Why a field has no counterpart: the first pattern that matches its dotted name.
REASONS = (
    (r"initializer$", "the Model Garden initializes its layers itself"),
    (r"hyperparams\.op$", "each layer's kind is fixed"),
    (r"activation$|batch_norm$", "the Model Garden's layers have their own"),
    (r"regularizer", "one L2 weight holds for the whole network (task.losses.l2_weight_decay)"),
    (r"_stride$", "each level of the feature pyramid has its own stride"),
    (
        r"anchor_generator",
        "does not fit the levels of a feature pyramid; the preset's anchors stay",
    ),
    (r"atrous_rate$", "no layer is dilated"),
    (r"crop_size$|maxpool_", "only all three together define a size"),
    (r"dropout", "the Model Garden's box head has no dropout"),
    (r"pad_to_max_dimension$", "images are always padded to the canvas"),
    (r"resize_method$", "images are always scaled bilinearly"),
    (r"image_resizer", "no such canvas; the preset's stays"),
    (r"max_detections_per_class$", "only the total over all classes is limited"),
    (r"score_converter$|classification_loss", "only softmax and sigmoid exist"),
    (
        r"from_detection_|load_all_|checkpoint_(type|version)",
        "--init-parts names the parts to load",
    ),
    (r"moving_average", "the weights are kept, not their averages"),
    (r"burnin|hold_base|min_learning_rate", "the Model Garden's schedule has no such field"),
    (r"data_augmentation_options", "petbox only flips left to right, scales and crops"),
    (r"metrics_set$", "petbox computes COCO's metrics for boxes"),
    (r"num_examples$|max_evals$|sample_1_of", "the whole validation split is evaluated"),
    (r"reader.*shuffle$", "only training images are shuffled, always"),
    (
        r"queue|num_readers|num_parallel|prefetch|_threads|block_length",
        "tf.data tunes it automatically",
    ),
    (r"replicas|startup_delay", "workers are always synchronous"),
    (r"keep_checkpoint", "--checkpoint-every and --evaluate-every choose which are kept"),
    (r"freeze_variables$", "only a whole backbone can be frozen (task.freeze_backbone)"),
)
NO_SUCH = "petbox has no such setting"
TRAIN_FILES, VALIDATION_FILES = "task.train_data.input_path", "task.validation_data.input_path"


@dataclass(frozen=True)
class PipelineConfig:
    """A converted file: `changes`, by dotted names, to the preset."""

    source: str
    text: bytes
    preset: str
    changes: Mapping[str, Any]
    converted: tuple[Converted, ...]
    skipped: tuple[Skipped, ...]
    classes: int
    train_records: tuple[str, ...]  # paths and patterns; none where none is configured
    validation_records: tuple[str, ...]  # of its eval_input_reader
    label_map: str | None


@dataclass(frozen=True)
class Inputs:
    """The records that a file names, where there is no --records."""

    names: Mapping[int, str]
    label_map: Path
    train: tuple[str, ...]
    validation: tuple[str, ...]


def read(path: Path) -> PipelineConfig:
    try:
        return parse(path.read_bytes().decode(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file; name a pipeline.config") from error


def parse(text: str, source: str) -> PipelineConfig:
    """Converts a file's text; `source` is what messages call it."""
    ledger = Ledger(text, source)
    layers = network.backbone(ledger)
    classes = network.classes(ledger)
    network.anchors(ledger)
    network.canvas(ledger)
    network.same_meaning(ledger)
    network.sampled_regions(ledger)
    network.pooled_size(ledger)
    network.scores(ledger)
    network.weight_decay(ledger)
    schedule.steps(ledger)
    schedule.optimizer(ledger)
    schedule.augmentation(ledger)
    schedule.first_weights(ledger)
    train = _records(ledger, "train_input_reader", TRAIN_FILES)
    validation = _records(ledger, "eval_input_reader", VALIDATION_FILES)
    label_map = _label_map(ledger)
    ledger.skip_unread(REASONS, NO_SUCH)
    files = (TRAIN_FILES, VALIDATION_FILES, labels.FILE_NAME)
    return PipelineConfig(
        source=source,
        text=text.encode(),
        preset=f"faster_rcnn_resnet{50 if layers == 50 else 101}_pets",
        changes={k: v for k, v in ledger.changes.items() if k not in files},
        converted=tuple(ledger.converted),
        skipped=tuple(ledger.skipped),
        classes=classes,
        train_records=train,
        validation_records=validation,
        label_map=label_map,
    )


def apply(config: Any, mapped: PipelineConfig) -> None:
    for name, value in mapped.changes.items():
        try:
            overrides.put(config, name, value)
        except ValueError as error:
            raise DataError(f"{mapped.source}: {name}: {error}") from error


def check_classes(mapped: PipelineConfig, names: Mapping[int, str]) -> None:
    """Rejects records with more classes than the file."""
    if (highest := max(names)) > mapped.classes:
        raise DataError(
            f"{mapped.source}: num_classes is {mapped.classes}, but the records have the class "
            f"{highest} ({names[highest]}); write num_classes: {highest}"
        )


def inputs(mapped: PipelineConfig) -> Inputs:
    """The records that the file names; rejects a file that does not name existing ones."""
    if not (mapped.train_records and mapped.validation_records and mapped.label_map):
        raise DataError(
            f"{mapped.source}: does not name records to train and evaluate on and their label map; "
            "configure input_path and label_map_path, or pass --records DIR"
        )
    for pattern in (*mapped.train_records, *mapped.validation_records):
        path = Path(pattern)
        in_object_store = "://" in pattern  # checked later
        if not in_object_store and not any(path.parent.glob(path.name)):
            raise DataError(f"{mapped.source}: no such file: {pattern}; pass --records DIR")
    label_map = Path(mapped.label_map)
    return Inputs(
        labels.read(label_map), label_map, mapped.train_records, mapped.validation_records
    )


def table(mapped: PipelineConfig) -> str:
    """The converted fields with their results, and the others below their reasons."""
    lines = [f"{mapped.source}: changes to the preset {mapped.preset}"]
    widest = max(len(row.theirs) for row in mapped.converted if len(row.theirs) <= 50)
    for row in mapped.converted:
        ours = [f"{name} = {value}" for name, value in row.ours.items()]
        ours += [f"({row.remark})"] if row.remark else []
        theirs = row.theirs
        if len(theirs) > widest:
            lines.append(f"  {theirs}")
            theirs = ""
        lines.append(f"  {theirs:<{widest}}  -> {ours.pop(0)}")
        lines += [f"  {'':<{widest}}     {each}" for each in ours]
    lines.append(f"{mapped.source}: no counterpart")
    for why in dict.fromkeys(row.why for row in mapped.skipped):
        lines.append(f"  {why}:")
        lines += [f"      {row.theirs}" for row in mapped.skipped if row.why == why]
    return "\n".join(lines)


def _records(ledger: Ledger, reader: str, ours: str) -> tuple[str, ...]:
    paths = tuple(ledger.many(reader + ".tf_record_input_reader.input_path", str))
    theirs = f"{reader}.input_path: {', '.join(paths) or 'none'}"
    if paths and not any(PLACEHOLDER in path for path in paths):
        ledger.convert(theirs, {ours: list(paths)}, "unless --records is given")
        return paths
    ledger.skip(theirs, "not configured; pass --records")
    return ()


def _label_map(ledger: Ledger) -> str | None:
    readers = ("train_input_reader", "eval_input_reader")
    paths = [path for name in readers for path in ledger.many(name + ".label_map_path", str)]
    for path in dict.fromkeys(paths):
        if PLACEHOLDER in path:
            ledger.skip(f"label_map_path: {path}", "not configured; --records brings its own")
    configured = list(dict.fromkeys(path for path in paths if PLACEHOLDER not in path))
    if len(configured) > 1:
        raise DataError(f"{ledger.source}: two label maps ({' and '.join(configured)}); name one")
    for path in configured:
        ledger.convert(
            f"label_map_path: {path}", {labels.FILE_NAME: path}, "unless --records has one"
        )
    return configured[0] if configured else None
