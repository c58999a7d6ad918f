"""The command line: what the user typed becomes one command with its options.

Imports nothing of a command but that which was typed; `petbox --help` must come at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from petbox import __version__
from petbox.cli import endpoint_commands as endpoint_commands
from petbox.cli import options, program


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    about: str  # empty: the docstring of the module that acts
    config: str  # where its options are, as module:name
    act: str  # and what takes them


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
Several pictures are asked about at once, and told in their order. A server
that has too much to do is asked again, more and more seldom. A picture that
fails is told of on stderr, the others go on, and the exit code is 1.

examples:
  petbox detect cat.jpg
  petbox detect photos/ --draw found/
  petbox detect 'photos/**/*.jpg' --csv > found.csv
  petbox detect photos/ --endpoint pets --fit --json > found.jsonl
  petbox detect - --endpoint pets < cat.jpg
"""

SERVE = """\
Serves a SavedModel on this machine, behind the same gateway as in the container.

Prints the address once the model is ready: a page for trying it out, and the
API. Ctrl-C stops it.

examples:
  petbox serve model/toy
  petbox serve model/toy --port 9000
"""

LOCAL = """\
Runs an image on this machine the way SageMaker does.

Starts the container with `serve`, mounts the model and checks /ping. The
container's log goes to stderr. Once /ping returns 200, the line for boto3 is
printed to stdout; if it never does, the cause is reported. Ctrl-C stops the
container as SageMaker does and removes it. Needs Docker.

examples:
  petbox local petbox
  petbox local my-image --model model.tar.gz --env SAGEMAKER_TFS_ENABLE_BATCHING=true
"""

CONFORM = """\
Checks any container against SageMaker's contract, line by line.

The first part lists what SageMaker requires of every container, the second what
petbox guarantees beyond that. Lines that cannot be tested are reported as not
tried. An image is run several times the way SageMaker runs it (needs Docker);
with an address, only what is visible from outside is tested. Exit code 1 if
any of SageMaker's requirements fails, else 0.

examples:
  petbox conform petbox
  petbox conform my-image --model model/toy --sagemaker-only
  petbox conform my-image --request rows.csv --content-type text/csv
  petbox conform http://localhost:8080 --json
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

UPLOAD = """\
Puts pictures into the bucket that the S3 front watches, and waits for results.

Prints one line a detection, as `petbox detect` does, as results come. A picture
that fails is told of on stderr, and the exit code is 1.

examples:
  petbox upload photos/ s3://bucket/in/
  petbox upload 'photos/**/*.jpg' s3://bucket/in/ --json
"""

COMMANDS = (
    Command(
        "fetch",
        "download Oxford-IIIT Pet",
        "",
        "petbox.data.fetch.command:Options",
        "petbox.data.fetch.command:main",
    ),
    Command(
        "toy",
        "draw a small data set",
        "",
        "petbox.data.toy.command:Options",
        "petbox.data.toy.command:main",
    ),
    Command(
        "records",
        "write images and boxes as TFRecords",
        "",
        "petbox.data.command:Options",
        "petbox.data.command:main",
    ),
    Command(
        "train",
        "train a detector",
        "",
        "petbox.training.command:Options",
        "petbox.training.command:main",
    ),
    Command(
        "evaluate",
        "measure a run or a model",
        "",
        "petbox.evaluation.command:Options",
        "petbox.evaluation.command:main",
    ),
    Command(
        "export",
        "make a SavedModel of a run",
        "",
        "petbox.export.command:Options",
        "petbox.export.command:main",
    ),
    Command(
        "convert",
        "make a LiteRT model of a run",
        "",
        "petbox.litert.command:Options",
        "petbox.litert.command:main",
    ),
    Command(
        "detect",
        "find the pets in pictures",
        DETECT,
        "petbox.client.command:DetectOptions",
        "petbox.client.command:detect",
    ),
    Command(
        "serve",
        "serve a model on this machine",
        SERVE,
        "petbox.serving.command:ServeOptions",
        "petbox.serving.command:serve",
    ),
    Command(
        "local",
        "run an image the way SageMaker does",
        LOCAL,
        "petbox.serving.local.options:LocalOptions",
        "petbox.serving.local.command:local",
    ),
    Command(
        "conform",
        "check a container against the contract",
        CONFORM,
        "petbox.serving.conform.options:ConformOptions",
        "petbox.serving.conform.command:conform",
    ),
    Command(
        "upload",
        "feed the S3 front",
        UPLOAD,
        "petbox.lambdas.upload:UploadOptions",
        "petbox.lambdas.upload:upload",
    ),
    Command(
        "train-job",
        "train on SageMaker",
        TRAIN_JOB,
        "petbox.sagemaker.train_job.request:TrainJobOptions",
        "petbox.sagemaker.train_job.command:train_job",
    ),
    *(Command(*entry) for entry in endpoint_commands.COMMANDS),
)

# Commands of two words are of a group, of which this is said.
GROUPS = {
    endpoint_commands.GROUP: (endpoint_commands.GROUP_SUMMARY, endpoint_commands.GROUP_ABOUT),
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(options.dashed(sys.argv[1:] if argv is None else argv))
    command: Command = arguments.command
    try:
        chosen = options.filled(_named(command.config), arguments)
    except ValueError as error:  # options that do not go together
        arguments.parser.error(str(error))
    return program.guarded(lambda: _named(command.act)(chosen))


class _Parser(argparse.ArgumentParser):
    """Learns its options when something is to be parsed: only the typed command's are needed."""

    learn: Callable[[], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        learn, self.learn = self.learn, None
        if learn:
            learn()
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    form = options.HelpFormatter
    parser = _Parser("petbox", description=ABOUT, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"petbox {__version__}")
    groups = {"": parser.add_subparsers(title="commands", metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            summary, about = GROUPS[group]
            under = groups[""].add_parser(
                group, help=summary, description=about, formatter_class=form
            )
            groups[group] = under.add_subparsers(title="commands", metavar="COMMAND", required=True)
        sub = groups[group].add_parser(
            name, help=command.summary, description=command.about, formatter_class=form
        )
        sub.set_defaults(command=command, parser=sub)
        sub.learn = partial(_learn, sub, command)
    return parser


def _learn(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.description = command.about or sys.modules[_named(command.act).__module__].__doc__
    options.add_arguments(parser, _named(command.config))


def _named(place: str) -> Any:
    """What is at `module:name`."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    sys.exit(main())
