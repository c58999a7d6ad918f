"""Trains a softmax classifier of the UCI zoo data, and writes its weights to S3 as JSON.

    python serverless/zoo/train_zoo.py --data zoo.csv --out s3://bucket/zoo

Writes to --out `weights.json`, which serverless/zoo/zoo_front.py loads, `evaluation.json`, and
`checkpoints/`, from which the same command resumes after an interruption. Checkpoints are kept
apart by data and options, so they never mix.

The models of the cross-validation are trained together with the exported one: that sees all rows,
each of the others all but its fold.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from petbox.aws import s3 as aws_s3
from petbox.aws import session
from petbox.aws.names import S3Address, is_s3
from petbox.cli import program
from petbox.cli.signals import StopRequest
from petbox.errors import DataError, ModelError

YES_NO = (0, 1)
# The columns, as the UCI repository describes them. Legs are categories here, not an amount: six
# mean insect, and neither four nor eight mean half of one.
COLUMNS = (
    "hair feathers eggs milk airborne aquatic predator toothed backbone breathes venomous fins "
    "legs tail domestic catsize"
)
INPUTS = {**dict.fromkeys(COLUMNS.split(), YES_NO), "legs": (0, 2, 4, 5, 6, 8)}
NAMES = ("mammal", "bird", "reptile", "fish", "amphibian", "insect", "invertebrate")
MOMENTUM = 0.9
LEAST = {"steps": 1, "folds": 2, "repeats": 1, "checkpoint_every": 1, "seed": 0}  # of the options

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    data: Annotated[str, "UCI zoo data as CSV: a file, or s3://bucket/key"]
    out: Annotated[str, "s3://bucket/prefix for weights, evaluation and checkpoints"]
    steps: Annotated[int, "training steps, each with all rows"] = 500
    learning_rate: Annotated[float, "of gradient descent with momentum"] = 0.5
    decay: Annotated[float, "L2 regularization"] = 0.01
    folds: Annotated[int, "of the cross-validation"] = 10
    repeats: Annotated[int, "repetitions of the cross-validation, each with different folds"] = 5
    seed: Annotated[int, "of the folds; training itself is deterministic"] = 0
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 100


def main(options: Options) -> None:
    check(options)
    out = aws_s3.folder_at(options.out)
    with tempfile.TemporaryDirectory(prefix="petbox-zoo-") as scratch:
        text = read(options.data, Path(scratch, "data"))
        traits, kinds = table(text, options.data)
        if (count := len(set(animals(traits).tolist()))) < options.folds:
            raise DataError(
                f"{options.data}: {count} animals are too few for {options.folds} folds; "
                "lower --folds"
            )
        rounds = left_out(traits, kinds, options)
        used = np.concatenate([np.ones((1, len(kinds)), bool), ~rounds])
        program.say("loading TensorFlow ...")
        models = Models(columns(traits), kinds, used, options)
        folder = Path(scratch, "checkpoints")
        folder.mkdir()
        train(models, folder, out / "checkpoints" / digest_of(text, options), options)
    answers = models.ratings().numpy().argmax(-1)
    evaluation = evaluated(answers[1:] == kinds, rounds, traits, options)
    put(out, "evaluation.json", evaluation)
    exported = {
        "inputs": [{"name": name, "values": values} for name, values in INPUTS.items()],
        "names": NAMES,
        "weights": models.weights[0].numpy().tolist(),
        "bias": models.bias[0].numpy().tolist(),
    }
    put(out, "weights.json", exported)
    print(f"{out}weights.json")


def check(options: Options) -> None:
    for name, least in LEAST.items():
        if (value := getattr(options, name)) < least:
            raise DataError(f"--{name.replace('_', '-')} {value}: must be {least} or more")
    if not 0 < options.learning_rate < math.inf:
        raise DataError(f"--learning-rate {options.learning_rate}: must be above 0")
    if not 0 <= options.decay < math.inf:
        raise DataError(f"--decay {options.decay}: must be 0 or more")


# Data


def read(source: str, scratch: Path) -> str:
    path = Path(source)
    if is_s3(source):
        if aws_s3.fetch(aws_s3.folder_at(source), scratch) != 1:
            raise DataError(f"{source}: must be one file in S3; give its full key")
        (path,) = (found for found in scratch.rglob("*") if found.is_file())
    if not path.is_file():
        raise DataError(f"{source}: no such file; check the path")
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a text file; give the zoo data as CSV") from error


def table(text: str, source: str) -> tuple[Ints, Ints]:
    """The animals' traits [rows, 16] and kinds [rows]."""
    allowed = {**INPUTS, "type": range(len(NAMES))}
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split(",")
        if len(cells) != len(allowed):
            raise DataError(f"{source}: line {number} has {len(cells)} cells, not {len(allowed)}")
        for cell, (name, values) in zip(cells, allowed.items(), strict=True):
            if cell.strip() not in map(str, values):
                allowed_here = ", ".join(map(str, values))
                raise DataError(
                    f"{source}: line {number}: {name} is {cell!r}, not one of {allowed_here}"
                )
        rows.append([int(cell) for cell in cells])
    if not rows:
        raise DataError(f"{source}: contains no animals; give the zoo data as CSV")
    found = np.array(rows, np.int64)
    return found[:, :-1], found[:, -1]


def columns(traits: Ints) -> Floats:
    """The model's inputs: yes/no as it is, other traits one-hot encoded."""
    parts = []
    for values, column in zip(INPUTS.values(), traits.T, strict=True):
        parts += [column == value for value in (values[1:] if len(values) == 2 else values)]
    return np.stack(parts, axis=1).astype(np.float64)


def animals(traits: Ints) -> Ints:
    """A number for each row, equal for identical rows."""
    return np.unique(traits, axis=0, return_inverse=True)[1].reshape(-1)


def left_out(traits: Ints, kinds: Ints, options: Options) -> NDArray[np.bool_]:
    """The held-out rows of each model of the cross-validation [models, rows].

    The first half splits rows, the second animals: with rows, most held-out rows have a duplicate
    among the training rows.
    """
    generator = np.random.default_rng(options.seed)
    rounds = []
    for of in (np.arange(len(kinds)), animals(traits)):
        for _ in range(options.repeats):
            fold = folds(of, kinds, options.folds, generator)
            rounds += [fold == number for number in range(options.folds)]
    return np.array(rounds)


def folds(of: Ints, kinds: Ints, count: int, generator: np.random.Generator) -> Ints:
    """Each row's fold: the numbers in `of` are split, stratified by kind."""
    # Sorted by kind, at random within it. Identical rows have one kind, so the first has it.
    numbers, first = np.unique(of, return_index=True)
    order = np.lexsort((generator.random(len(numbers)), kinds[first]))
    fold = np.empty(len(numbers), np.int64)
    fold[order] = np.arange(len(numbers)) % count
    return fold[np.searchsorted(numbers, of)]


def digest_of(text: str, options: Options) -> str:
    parts: list[object] = [INPUTS, NAMES, MOMENTUM, options.steps, options.learning_rate]
    parts += [options.decay, options.folds, options.repeats, options.seed]
    return hashlib.sha256(repr((text, parts)).encode()).hexdigest()[:12]


# Training


class Models:
    """Softmax classifiers trained together, each on its own rows.

    The loss is convex, so training is deterministic; float64 gives the same results as Lambda's
    arithmetic.
    """

    def __init__(self, x: Floats, kinds: Ints, used: NDArray[np.bool_], options: Options) -> None:
        from petbox.tf import tf

        self.x = x
        self.targets = np.broadcast_to(np.eye(len(NAMES))[kinds], (*used.shape, len(NAMES)))
        self.share = used / used.sum(1, keepdims=True)
        self.options = options
        shape = (len(used), x.shape[1], len(NAMES))
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

    def ratings(self) -> Any:
        return self.tf.nn.softmax(self.logits())

    def _update(self) -> None:
        tf, options = self.tf, self.options
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(self.targets, self.logits())
            squares = tf.reduce_sum(self.weights**2)
            loss = tf.reduce_sum(losses * self.share) + options.decay / 2 * squares
        gradients = tape.gradient(loss, [self.weights, self.bias])
        pairs = ((self.weights, self.weights_speed), (self.bias, self.bias_speed))
        for (variable, speed), gradient in zip(pairs, gradients, strict=True):
            speed.assign(MOMENTUM * speed - options.learning_rate * gradient)
            variable.assign_add(speed)
        self.step.assign_add(1)


def train(models: Models, folder: Path, target: S3Address, options: Options) -> None:
    """Trains the remaining steps, with checkpoints in `folder` and at `target`."""
    tf, step = models.tf, models.step
    aws_s3.fetch(target, folder)
    manager = tf.train.CheckpointManager(models.checkpoint, str(folder), max_to_keep=2)
    if manager.latest_checkpoint:
        try:
            models.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{target}: cannot read its checkpoint; delete it") from error
    mirror = aws_s3.Mirror(folder, target)
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
            f"--learning-rate {options.learning_rate}: too high, the weights are not finite; "
            "use a smaller one"
        )


# Results


def evaluated(
    right: NDArray[np.bool_], rounds: NDArray[np.bool_], traits: Ints, options: Options
) -> dict[str, Any]:
    """The accuracy on held-out rows, for both ways of splitting."""
    shape = (2, options.repeats, options.folds * len(traits))
    shares = (right & rounds).reshape(shape).sum(2) / len(traits)
    by: dict[str, dict[str, float]] = {}
    for name, found in zip(("rows", "animals"), shares, strict=True):
        by[name] = {"mean": found.mean(), "least": found.min(), "most": found.max()}
        mean, least, most = by[name].values()
        way = f"{options.folds}-fold cross-validation, {options.repeats} times, folds of {name}"
        program.say(f"accuracy {mean:.3f} ({least:.3f} to {most:.3f}): {way}")
    counts = {"rows": len(traits), "animals": len(set(animals(traits).tolist()))}
    return {**counts, "folds": options.folds, "repeats": options.repeats, "accuracy": by}


def put(out: S3Address, name: str, content: dict[str, Any]) -> None:
    s3 = session.Account().client("s3")
    body = json.dumps(content).encode()
    with session.calling(f"{out}{name}"):
        s3.put_object(
            Bucket=out.bucket, Key=out.key + name, Body=body, ContentType="application/json"
        )


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
