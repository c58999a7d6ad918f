"""The command line: what the user typed becomes one command with its options.

Imports nothing that a command alone needs; `petbox --help` must come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from petbox import __version__, options, program
from petbox.detect import DetectOptions, detect
from petbox.serve import ServeOptions, serve
from petbox.train_job import train_job
from petbox.train_job_request import TrainJobOptions


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    about: str
    config: type[Any]
    act: Callable[[Any], object]


ABOUT = """\
Finds pets in pictures: serves a detector and asks it.

examples:
  petbox serve model/toy
  petbox detect photos/*.jpg
  petbox COMMAND --help
"""

DETECT = """\
Finds the pets in pictures, by asking a detector that is served.

A terminal gets a table. A pipe gets one line a detection: picture, label,
score, and the box as ymin, xmin, ymax, xmax in fractions of the upright
picture, with tabs between. A folder stands for the pictures directly in it.
A picture that fails is told of on stderr, the others go on, and the exit code
is 1.

examples:
  petbox detect cat.jpg
  petbox detect photos/ --draw found/
  petbox detect 'photos/**/*.jpg' --json > found.jsonl
  petbox detect - --endpoint pets < cat.jpg
"""

SERVE = """\
Serves a SavedModel on this machine as its container does on SageMaker.

Prints the address when the detector is ready to answer; Ctrl-C ends it.

examples:
  petbox serve model/toy
  petbox serve model/toy --port 9000
"""

TRAIN_JOB = """\
Starts a training job on SageMaker, follows it to its end, or stops it.

Prints where the model lies in S3 when the job is done; what SageMaker does,
the job's own log and its metrics are told on stderr meanwhile. Ctrl-C leaves
the job running. Account and region are AWS's own settings (AWS_PROFILE,
AWS_REGION). To start a job, --image, --data, --output and --role are needed.

examples:
  petbox train-job --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/pets:1 \\
      --role arn:aws:iam::123456789012:role/SageMaker --data data/records \\
      --output s3://bucket/jobs --hyperparameter steps=2000 --spot
  petbox train-job --follow petbox-20261121-104500
  petbox train-job --stop petbox-20261121-104500
"""

COMMANDS = (
    Command("detect", "find the pets in pictures", DETECT, DetectOptions, detect),
    Command("serve", "serve a model on this machine", SERVE, ServeOptions, serve),
    Command("train-job", "train on SageMaker", TRAIN_JOB, TrainJobOptions, train_job),
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        chosen = options.filled(command.config, arguments)
    except ValueError as error:  # options that do not go together
        arguments.parser.error(str(error))
    return program.guarded(lambda: command.act(chosen))


def _parser() -> argparse.ArgumentParser:
    form = options.HelpFormatter
    parser = argparse.ArgumentParser("petbox", description=ABOUT, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"petbox {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name, help=command.summary, description=command.about, formatter_class=form
        )
        options.add_arguments(sub, command.config)
        sub.set_defaults(command=command, parser=sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
