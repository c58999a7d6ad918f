"""The detector: a Faster R-CNN of `tf-models-official`, configured, built and restored.

Nothing of Faster R-CNN is written here. A run's folder holds `params.yaml` (the whole
configuration), `label_map.pbtxt` and checkpoints; that is all that later stages read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from petbox import labels, runs
from petbox.errors import ModelError
from petbox.garden import MaskRCNNTask, exp_factory, hyperparams, tf
from petbox.presets import PRESETS, cosine_learning_rate
from petbox.records import RecordsInfo


def experiment(
    preset: str, info: RecordsInfo, records: Path, steps: int | None, peak_rate: float | None
) -> Any:
    """The experiment that trains `preset` on `records`; None keeps what the preset says."""
    config = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco")
    _without_clouds(config)
    _on_records(config, info, records)
    PRESETS[preset](config)
    if steps is not None:
        config.trainer.train_steps = steps
    rate = config.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate
    cosine_learning_rate(config, rate if peak_rate is None else peak_rate)
    pictures = info.pictures["train"]
    if pictures < config.task.train_data.global_batch_size:  # or not one batch would be full
        config.task.train_data.global_batch_size = pictures
    return config


def _without_clouds(config: Any) -> None:
    """The Model Garden's defaults name Google's buckets and a TPU's number format."""
    config.task.init_checkpoint = None
    config.task.annotation_file = None  # the ground truth comes with the records
    config.runtime.mixed_precision_dtype = "float32"
    config.runtime.distribution_strategy = "one_device"
    for data in (config.task.train_data, config.task.validation_data):
        data.dtype = "float32"


def _on_records(config: Any, info: RecordsInfo, records: Path) -> None:
    # The background counts as a class. A number too small trains without any error and never
    # predicts the last class, so the ids decide, not their count.
    config.task.model.num_classes = max(info.labels) + 1
    config.task.train_data.input_path = str(records / "train.record-*")
    config.task.validation_data.input_path = str(records / "test.record-*")


def task(config: Any, logs: Path | None = None) -> Any:
    """The Model Garden's task: data pipeline, model, losses, metrics."""
    return MaskRCNNTask(config.task, logging_dir=str(logs) if logs else None)


def save_config(config: Any, run: Path) -> None:
    hyperparams.save_params_dict_to_yaml(config, str(run / runs.PARAMS))


def load_config(run: Path) -> Any:
    """The configuration inside a run's folder."""
    runs.check(run)
    config = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco")
    return hyperparams.override_params_dict(config, str(run / runs.PARAMS), is_strict=True)


def restored(config: Any, run: Path) -> Any:
    """The trained model of a run, built whole before its weights are read.

    The heads are made at the first call: a checkpoint restored before that would match nothing
    of them, and say nothing.
    """
    checkpoint = tf.train.latest_checkpoint(str(run))
    model = task(config).build_model()
    try:
        status = tf.train.Checkpoint(model=model).read(checkpoint)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"{checkpoint}: does not fit {run / runs.PARAMS} "
            f"({str(error).splitlines()[0]}); train again"
        ) from error
    return model


def class_names(run: Path) -> dict[int, str]:
    """The label map that a run was trained with."""
    return labels.read(run / runs.LABEL_MAP)
