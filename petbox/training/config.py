"""The configuration of a detector of `tf-models-official`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from petbox.errors import DataError, ModelError
from petbox.training import families, runs
from petbox.training.pipeline_config import mapping
from petbox.training.pipeline_config.mapping import PipelineConfig
from petbox.training.presets import PRESETS
from petbox.training.runs import Run
from petbox.training.task import TASKS
from petbox.training.tfvision import exp_factory, hyperparams, tf


def experiment(preset: str, mapped: PipelineConfig | None = None) -> Any:
    """The experiment of a preset, or of a pipeline.config, without records."""
    chosen = PRESETS[mapped.preset if mapped else preset]
    config = exp_factory.get_exp_config(chosen.family.experiment)
    _use_local_defaults(config)
    chosen.configure(config)
    if mapped:
        mapping.apply(config, mapped)
    return config


def _use_local_defaults(config: Any) -> None:
    """Replaces defaults that refer to Google's buckets and the number format of TPUs."""
    config.task.init_checkpoint = None
    config.task.annotation_file = None  # the ground truth comes with the records
    config.runtime.mixed_precision_dtype = "float32"
    config.runtime.distribution_strategy = "one_device"
    for data in (config.task.train_data, config.task.validation_data):
        data.dtype = "float32"


def on_records(
    config: Any, train: Sequence[str], validation: Sequence[str], labels: Iterable[int]
) -> None:
    """Sets the experiment's record files, which may be patterns, and its number of classes."""
    # The background counts as a class. With too small a number training never fails and never
    # predicts the last class, so the highest id counts, not the number of ids.
    config.task.model.num_classes = max(labels) + 1
    config.task.train_data.input_path = list(train)
    config.task.validation_data.input_path = list(validation)


def check(config: Any) -> None:
    """Rejects a Faster R-CNN that samples more proposals than it has, before TensorFlow does."""
    model = config.task.model
    if families.of(model).classifies_anchors:
        return
    proposals, sampled = model.roi_generator.num_proposals, model.roi_sampler.num_sampled_rois
    objects = config.task.train_data.parser.max_num_instances
    if sampled > proposals + objects:
        raise DataError(
            f"task.model.roi_sampler.num_sampled_rois={sampled}: more than an image's {proposals} "
            f"proposals (task.model.roi_generator.num_proposals) and {objects} objects; --set a "
            "smaller number"
        )


def set_seed(seed: int) -> None:
    """As `tf.keras.utils.set_random_seed`, without the second that importing Keras 3 takes."""
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)


def task(config: Any, logs: Path | None = None) -> Any:
    made = TASKS[families.of(config.task.model)]
    return made(config.task, logging_dir=str(logs) if logs else None)


def save_config(config: Any, run: Path) -> None:
    hyperparams.save_params_dict_to_yaml(config, str(run / runs.PARAMS))


def load_config(run: Run) -> Any:
    try:
        text = run.params.decode() + "\n"  # an empty one would be accepted
        stated = hyperparams.override_params_dict(hyperparams.ParamsDict(), text, is_strict=False)
        config = exp_factory.get_exp_config(families.of(stated.task.model).experiment)
        return hyperparams.override_params_dict(config, text, is_strict=True)
    except Exception as error:  # whatever YAML and the Model Garden raise
        raise ModelError(
            f"{run.folder / runs.PARAMS}: cannot be read ({type(error).__name__}); train again"
        ) from error
