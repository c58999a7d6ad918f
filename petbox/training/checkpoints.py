"""Restores a run's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from petbox.errors import ModelError
from petbox.training import config as training_config
from petbox.training import runs
from petbox.training.runs import Run
from petbox.training.tfvision import tf


def restored(config: Any, run: Run) -> Any:
    """The run's model with the weights of its checkpoint.

    The model is built completely first: its heads are created at the first call, and a checkpoint
    restored before that would leave them untrained without an error.
    """
    model = training_config.task(config).build_model()
    try:
        status = tf.train.Checkpoint(model=model).read(str(run.checkpoint))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"{run.checkpoint}: does not fit {run.folder / runs.PARAMS} "
            f"({str(error).splitlines()[0]}); name a checkpoint of that run, or train again"
        ) from error
    return model


def step(checkpoint: Path) -> int | None:
    """The training step at which it was saved, if it contains it."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    name = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
    return int(reader.get_tensor(name)) if reader.has_tensor(name) else None
