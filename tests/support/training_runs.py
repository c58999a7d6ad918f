"""Runs of `petbox train` on a few drawn images, and what they wrote."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

# One level of features instead of three, which is a quarter less to trace.
SMALL = "--set=task.model.min_level=5"


def drawn_records(folder: Path, run: Any) -> Path:
    """Records of 16 images to train on and 4 held out."""
    pets = run("train/make_toy_pets.py", "--out", folder / "pets", "--train", "16", "--test", "4")
    assert pets.returncode == 0, pets.stderr
    done = run("train/make_records.py", "--pets", folder / "pets", "--out", folder / "records")
    assert done.returncode == 0, done.stderr
    return folder / "records"


def scalars(run: Path, tag: str) -> dict[int, float]:
    """The scalars in TensorBoard's logs, by step."""
    return scalars_of(sorted(run.glob("train/events.*")), tag)


def scalars_of(logs: list[Path], tag: str) -> dict[int, float]:
    from petbox.tf import tf

    found = {}
    for file in logs:
        with suppress(tf.errors.DataLossError):  # an event that is being written
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    if value.tag == tag:
                        found[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def unfinished(out: Path) -> Path:
    """Where the run is until it ends."""
    return out.with_name(f"{out.name}.unfinished")


def saved(run: Path) -> set[int]:
    """The steps of its checkpoints."""
    return {int(path.stem.removeprefix("ckpt-")) for path in run.glob("ckpt-*.index")}


def schedule(steps: int, step: int) -> float:
    """The learning rate of a step."""
    from petbox.training import config as training_config
    from petbox.training import presets
    from petbox.training.tfvision import train_utils

    config = training_config.experiment("toy")
    presets.train_for(config, steps)
    rate = train_utils.create_optimizer(training_config.task(config), config).learning_rate
    return float(rate(step))
