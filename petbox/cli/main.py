"""The command line: what the user typed becomes one command with its options.

Imports nothing of a command but the one that was typed; `petbox --help` must be instant.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from petbox import __version__
from petbox.cli import aws_options, options, program

ABOUT = """\
Train an object detector on your photos, and serve it: here, or on SageMaker.

examples:
  petbox demo
  petbox train photos/ --name pets --init imagenet
  petbox serve model/pets
  petbox detect photos/*.jpg
"""

# Each command by its name: a summary, and where its options and its function are, as
# `module:Options:function`. The module's docstring is the command's help.
SECTIONS = {
    "data and training": {
        "train": ("train a detector on a folder of photos", "cli.train_photos:Options:main"),
        "evaluate": ("COCO metrics of a run or a model", "evaluation.command:Options:main"),
        "export": ("make a SavedModel from a run", "export.command:Options:main"),
        "convert": ("make a LiteRT or OpenVINO model from a run", "litert.command:Options:main"),
        "records": ("write photos and boxes as TFRecords", "data.command:Options:main"),
        "fetch": ("download Oxford-IIIT Pet", "data.fetch.command:Options:main"),
        "toy": ("draw a small data set", "data.toy.command:Options:main"),
    },
    "serving": {
        "demo": (
            "serve a small detector that comes with petbox",
            "serving.demo.command:DemoOptions:demo",
        ),
        "serve": ("serve a model on this machine", "serving.command:ServeOptions:serve"),
        "detect": ("detect objects in images", "client.command:DetectOptions:detect"),
        "label": ("write annotations from a model", "client.label:LabelOptions:label"),
        "tune": ("measure the best settings", "serving.tune.command:TuneOptions:tune"),
        "local": (
            "run an image the way SageMaker does",
            "serving.local:LocalOptions:local",
        ),
        "conform": (
            "check a container against the contract",
            "serving.conform.command:ConformOptions:conform",
        ),
    },
    "AWS": {
        "setup": (
            "create roles, a bucket and a repository",
            "sagemaker.setup.command:SetupOptions:setup",
        ),
        "doctor": (
            "check what an endpoint needs",
            "sagemaker.setup.doctor:DoctorOptions:doctor",
        ),
        "deploy": (
            "create or update pets.toml's endpoint",
            "sagemaker.deploy.command:DeployOptions:deploy",
        ),
        "endpoint": ("create, change and delete endpoints", ""),
        "transform": (
            "detect in a whole folder in S3",
            "sagemaker.transform.command:TransformOptions:transform",
        ),
        "train-job": (
            "train on SageMaker",
            "sagemaker.train_job.command:TrainJobOptions:train_job",
        ),
        "upload": ("upload images, wait for their results", "lambdas.upload:UploadOptions:upload"),
        "zoo": ("train the smallest model", ""),
    },
    "shell": {
        "completion": ("print a completion script", "cli.completion:Options:main"),
    },
}
OTHERS_ON_AWS = ("detect", "label")  # with an endpoint, or with images in S3
ENDPOINT_ABOUT = """\
Deploys a model to a SageMaker endpoint, manages it, and deletes it.

Account and region come from --profile and --region, or from AWS's own settings
(AWS_PROFILE, AWS_REGION). package, up and down have --dry-run.

examples:
  petbox endpoint package model/pets s3://bucket/models
  petbox endpoint up pets --image URI --role ARN --ttl 2h
  petbox endpoint status pets
  petbox endpoint down pets
  petbox endpoint list
"""
ENDPOINT = {
    "package": ("upload a model to S3", "sagemaker.endpoint.package:PackageOptions:package"),
    "up": ("deploy or update an endpoint", "sagemaker.endpoint.up:UpOptions:up"),
    "status": ("show an endpoint's state", "sagemaker.endpoint.status:StatusOptions:status"),
    "logs": ("print its containers' log", "sagemaker.endpoint.logs:LogsOptions:logs"),
    "watch": ("show its log and its metrics", "sagemaker.endpoint.watch:WatchOptions:watch"),
    "invoke": ("send it one file", "sagemaker.endpoint.invoke:InvokeOptions:invoke"),
    "down": ("delete an endpoint", "sagemaker.endpoint.down:DownOptions:down"),
    "models": ("list, add or remove its models", "sagemaker.endpoint.models:ModelsOptions:models"),
    "export": ("print it as a template", "sagemaker.deploy.export:ExportOptions:export"),
    "list": ("list all that petbox made", "sagemaker.endpoint.list:ListOptions:list_all"),
}
ZOO_ABOUT = """\
Trains the smallest model, which a Lambda function serves without TensorFlow.

examples:
  petbox zoo train --data zoo.csv --out s3://bucket/zoo
  petbox zoo train --data iris.csv --label species --out s3://bucket/iris
"""
ZOO = {"train": ("train it here, or as a task on ECS", "training.zoo.command:TrainOptions:train")}
GROUPS = {"endpoint": (ENDPOINT_ABOUT, ENDPOINT), "zoo": (ZOO_ABOUT, ZOO)}


def main(argv: Sequence[str] | None = None) -> int:
    words = options.dashed(sys.argv[1:] if argv is None else argv)
    arguments, unknown = parser().parse_known_args(words)
    typed: Parser = arguments.parser
    if unknown:
        typed.reject(unknown)
    if not typed.entry_point:
        return program.guarded(typed.print_help)
    try:
        if typed.on_aws:
            aws_options.use(arguments.profile, arguments.region)
        chosen = options.filled(typed.config, arguments)
    except ValueError as error:  # options that do not go together
        typed.error(str(error))
    return program.guarded(lambda: typed.act(chosen))


class Parser(argparse.ArgumentParser):
    """Adds its options when it is used: only the typed command's module is imported."""

    summary = ""
    entry_point = ""  # of a command's options and function
    on_aws = False
    config: Any = None
    act: Any = None
    commands: Mapping[str, Parser] = MappingProxyType({})  # of a group
    typed: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.load()
        self.typed = args
        return super().parse_known_args(args, namespace)

    def load(self) -> None:
        if self.entry_point and not self.config:
            module, config, act = self.entry_point.split(":")
            found = importlib.import_module(f"petbox.{module}")
            self.description = found.__doc__
            self.config, self.act = getattr(found, config), getattr(found, act)
            options.add_arguments(self, self.config)
            if self.on_aws:
                aws_options.add_arguments(self)

    def reject(self, unknown: Sequence[str]) -> NoReturn:
        """With the flag that was probably meant."""
        flag = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(flag, self._flags(), 1) if flag.startswith("-") else []
        hint = f"; did you mean {near[0]}?" if near else ""
        super().error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """A mistyped command is answered with the likeliest one, not with all of them."""
        if "arguments are required" in message:  # perhaps one of them is there, but misspelled
            known = tuple(self._flags())
            typed = [word for word in self.typed if re.match("--[a-z]", word)]
            unknown = [w for w in typed if not any(f.startswith(w.split("=")[0]) for f in known)]
            if unknown:
                self.reject(unknown)
        if "invalid choice" in message and self.commands:
            word = message.split("'")[1]
            near = difflib.get_close_matches(word, self.commands, 1)
            hint = f"; did you mean `{self.prog} {near[0]}`?" if near else ""
            message = f"no such command: {word}{hint}"
        super().error(message)


def parser() -> Parser:
    """The parser of everything; the commands' own options are added when they are needed."""
    listing = "\n".join(_listing(SECTIONS))
    top = Parser(
        "petbox",
        usage="petbox [-h] [--version] COMMAND ...",
        description=f"{ABOUT}{listing}\n\n`petbox COMMAND --help` says more.",
        formatter_class=options.HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"petbox {__version__}")
    _add(top, {name: entry for section in SECTIONS.values() for name, entry in section.items()})
    for command in (*SECTIONS["AWS"], *OTHERS_ON_AWS):
        top.commands[command].on_aws = True
    for name, (about, commands) in GROUPS.items():
        group = top.commands[name]
        group.usage = f"petbox {name} [-h] COMMAND ..."
        group.description = about + "\n".join(_listing({"commands": commands}))
        _add(group, commands)
        for parser in group.commands.values():
            parser.on_aws = True
    return top


def _listing(sections: dict[str, dict[str, tuple[str, str]]]) -> Iterator[str]:
    for title, commands in sections.items():
        yield f"\n{title}:"
        yield from (f"  {name:<12}{summary}" for name, (summary, _) in commands.items())


def _add(group: Parser, commands: dict[str, tuple[str, str]]) -> None:
    group.set_defaults(parser=group)
    under = group.add_subparsers(prog=group.prog, metavar="COMMAND", help=argparse.SUPPRESS)
    for name, (summary, entry_point) in commands.items():
        command = under.add_parser(name, formatter_class=options.HelpFormatter)
        command.summary, command.entry_point = summary, entry_point
        command.set_defaults(parser=command)
    group.commands = under.choices


if __name__ == "__main__":
    sys.exit(main())
