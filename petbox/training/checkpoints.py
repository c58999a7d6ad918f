"""A run's checkpoints: which one is meant, and which step it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from petbox.errors import ModelError
from petbox.training import config as training_config
from petbox.training import runs
from petbox.training.tfvision import tf


def chosen(run: Path, prefix: Path | None) -> Path:
    """The checkpoint `prefix`, or else the run's best, or else its newest."""
    if prefix:
        return prefix
    for folder in (run / runs.BEST, run):
        if found := tf.train.latest_checkpoint(str(folder)):
            return Path(found)
    raise ModelError(f"{run}/checkpoint: names no checkpoint that is there; train again")


def restored(config: Any, run: Path, checkpoint: Path | None = None) -> Any:
    """The run's model at its best known step, or at another, built whole before it is read.

    The heads are made at the first call: a checkpoint restored before that would match nothing
    of them, and say nothing.
    """
    checkpoint = chosen(run, checkpoint)
    model = training_config.task(config).build_model()
    try:
        status = tf.train.Checkpoint(model=model).read(str(checkpoint))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"{checkpoint}: does not fit {run / runs.PARAMS} "
            f"({str(error).splitlines()[0]}); name a checkpoint of that run, or train again"
        ) from error
    return model


def step(checkpoint: Path) -> int | None:
    """The updates made until then, if it says so."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    name = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
    return int(reader.get_tensor(name)) if reader.has_tensor(name) else None
