"""Trains a softmax classifier of a CSV, and writes its weights to S3 as JSON.

Without --label the CSV is the UCI zoo data: sixteen traits of an animal, and
its kind. With --label it is any CSV with a header. Writes weights.json, which
serverless/zoo/zoo_front.py loads, evaluation.json, and checkpoints/, from which
the same command resumes after an interruption. Checkpoints are kept apart by
data and options, so they never mix.

With --on ecs the same command runs as a task on ECS (Fargate), in the image of
serverless/zoo/Dockerfile, with --image, --role and --subnet. The task's log is
printed until it has ended. Ctrl-C leaves it running.

examples:
  petbox zoo train --data zoo.csv --out s3://bucket/zoo
  petbox zoo train --data iris.csv --label species --out s3://bucket/iris
  petbox zoo train --data s3://bucket/zoo.csv --out s3://bucket/zoo --on ecs \\
      --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/petbox-zoo:1 \\
      --role arn:aws:iam::123456789012:role/petbox-zoo --subnet subnet-0123abcd
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from petbox.aws import s3, session
from petbox.aws.names import S3Address, is_s3
from petbox.cli import program
from petbox.errors import DataError, needs
from petbox.training.zoo.options import TrainOptions

# The options that change what is trained, and so what a checkpoint holds.
SHAPING = ("label", "drop", "steps", "learning_rate", "decay", "folds", "repeats", "seed")
__all__ = ["TrainOptions", "train"]


def train(options: TrainOptions) -> None:
    if options.on == "ecs":
        from petbox.training.zoo import ecs

        ecs.train(options)
    else:
        _train_here(options)
    if not (options.dry_run or options.detach):
        print(f"{s3.folder_at(options.out)}weights.json")


def _train_here(options: TrainOptions) -> None:
    np = needs("numpy", "tf")
    from petbox.training.zoo import folds, training

    out = s3.folder_at(options.out)
    with tempfile.TemporaryDirectory(prefix="petbox-zoo-") as scratch:
        text = _read(options.data, Path(scratch, "data"))
        table = _table(text, options)
        held_out = folds.held_out(table, options)
        used = np.concatenate([np.ones((1, len(table.kinds)), bool), ~held_out])
        program.say_loading()
        models = training.Models(table, used, options)
        folder = Path(scratch, "checkpoints")
        folder.mkdir()
        training.train(models, folder, out / "checkpoints" / _digest(text, options), options)
    right = models.answers()[1:] == table.kinds
    _put(out, "evaluation.json", folds.evaluated(right, held_out, table, options))
    exported = {
        "inputs": [one.exported() for one in table.inputs],
        "names": table.names,
        "weights": models.weights[0].numpy().tolist(),
        "bias": models.bias[0].numpy().tolist(),
    }
    _put(out, "weights.json", exported)


def _read(source: str, scratch: Path) -> str:
    path = Path(source)
    if is_s3(source):
        if s3.fetch(s3.folder_at(source), scratch) != 1:
            raise DataError(f"{source}: must be one file in S3; give its full key")
        (path,) = (found for found in scratch.rglob("*") if found.is_file())
    if path.is_dir():
        raise DataError(f"{source}: is a folder; give the CSV in it")
    if not path.is_file():
        raise DataError(f"{source}: no such file; check the path")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a text file in UTF-8; save it as CSV") from error


def _table(text: str, options: TrainOptions) -> Any:
    from petbox.training.zoo import table

    if options.label is None:
        return table.zoo(text, options.data)
    return table.labeled(text, options.data, options.label, options.drop)


def _digest(text: str, options: TrainOptions) -> str:
    parts = [text, *(getattr(options, name) for name in SHAPING)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _put(out: S3Address, name: str, content: dict[str, Any]) -> None:
    client = session.Account().client("s3")
    body = json.dumps(content).encode()
    with session.calling(f"{out}{name}"):
        client.put_object(
            Bucket=out.bucket, Key=out.key + name, Body=body, ContentType="application/json"
        )
