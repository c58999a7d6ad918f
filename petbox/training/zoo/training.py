"""Softmax classifiers trained together, each on its own rows, with checkpoints in S3.

The models of the cross-validation are trained together with the exported one: that sees all rows,
each of the others all but its fold.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from petbox.aws import s3
from petbox.aws.names import S3Address
from petbox.cli import program
from petbox.cli.signals import StopRequest
from petbox.errors import DataError, ModelError
from petbox.training.zoo.folds import Masks
from petbox.training.zoo.options import TrainOptions
from petbox.training.zoo.table import Floats, Table

MOMENTUM = 0.9
MOST_LOGITS = 50_000_000  # of all rows, models and classes: 400 MB, several times


class Models:
    """The loss is convex, so training is deterministic; float64 gives the same results as Lambda's
    arithmetic.
    """

    def __init__(self, table: Table, used: Masks, options: TrainOptions) -> None:
        from petbox.tf import tf

        classes = len(table.names)
        if used.size * classes > MOST_LOGITS:
            raise DataError(
                f"{options.data}: {used.shape[1]} rows of {classes} classes are too many for "
                f"{len(used)} models; lower --folds and --repeats, or give fewer rows"
            )
        self.x = table.x
        self.targets = np.broadcast_to(np.eye(classes)[table.kinds], (*used.shape, classes))
        self.share = used / used.sum(1, keepdims=True)
        self.rate = options.learning_rate or suitable_rate(table.x, options.decay)
        self.decay = options.decay
        shape = (len(used), table.x.shape[1], classes)
        self.weights, self.weights_speed = (tf.Variable(np.zeros(shape)) for _ in range(2))
        self.bias, self.bias_speed = (tf.Variable(np.zeros(shape[::2])) for _ in range(2))
        self.step = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(
            step=self.step,
            weights=self.weights,
            weights_speed=self.weights_speed,
            bias=self.bias,
            bias_speed=self.bias_speed,
        )
        self.update = tf.function(self._update, autograph=False)
        self.tf = tf

    def logits(self) -> Any:
        return self.tf.einsum("rc,mck->mrk", self.x, self.weights) + self.bias[:, None]

    def answers(self) -> Any:
        """The likeliest class [models, rows]."""
        return self.logits().numpy().argmax(-1)

    def _update(self) -> None:
        tf = self.tf
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(self.targets, self.logits())
            squares = tf.reduce_sum(self.weights**2)
            loss = tf.reduce_sum(losses * self.share) + self.decay / 2 * squares
        gradients = tape.gradient(loss, [self.weights, self.bias])
        pairs = ((self.weights, self.weights_speed), (self.bias, self.bias_speed))
        for (variable, speed), gradient in zip(pairs, gradients, strict=True):
            speed.assign(MOMENTUM * speed - self.rate * gradient)
            variable.assign_add(speed)
        self.step.assign_add(1)


def suitable_rate(x: Floats, decay: float) -> float:
    """Half of the largest rate that converges: momentum does up to 3.8 by the loss's curvature,
    which is at most half of the largest eigenvalue of the inputs' second moments.
    """
    inputs = np.column_stack([x, np.ones(len(x))])
    largest = float(np.linalg.eigvalsh(inputs.T @ inputs / len(x))[-1])
    return 1.9 / (largest / 2 + decay)


def train(models: Models, folder: Path, target: S3Address, options: TrainOptions) -> None:
    """Trains the remaining steps, with checkpoints in `folder` and at `target`."""
    tf, step = models.tf, models.step
    s3.fetch(target, folder)
    manager = tf.train.CheckpointManager(models.checkpoint, str(folder), max_to_keep=2)
    if manager.latest_checkpoint:
        try:
            models.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{target}: cannot read its checkpoint; delete it") from error
    mirror = s3.Mirror(folder, target)
    kept = tuple(f"{Path(path).name}." for path in manager.checkpoints)
    for path in folder.glob("ckpt-*"):
        if not path.name.startswith(kept):  # left over by a process that was killed
            path.unlink()

    def save() -> None:
        manager.save(int(step))
        mirror.update()  # not in the background: a step takes less time than an upload

    stop = StopRequest()
    with stop.on_signals():
        if resumed := int(step):
            program.say(f"resuming at step {resumed}")
        while int(step) < options.steps and not stop.code:
            models.update()
            if int(step) % options.checkpoint_every == 0:
                save()
        save()
    if stop.code:
        program.say(f"stopped at step {int(step)}, which is saved; the same command resumes there")
        sys.exit(stop.code)
    if not np.isfinite(models.weights).all():
        raise ModelError(
            f"--learning-rate {models.rate:g}: too high, the weights are not finite; leave it out"
        )
