"""Checks of options that several commands have.

Each check returns nothing, or raises a ValueError that says what is wrong and what is right.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL
from petbox.sagemaker.endpoint import names as endpoint_names

Check = Callable[[Any], object]

MOST_VARIABLES, LONGEST_VARIABLE, LARGEST_ENVIRONMENT = 100, 1024, 32 * 1024
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[\w.-]+", re.ASCII)


def flag(options: Any, name: str) -> str:
    """The option as it is typed, or as `--help` calls it."""
    hints = typing.get_type_hints(type(options), include_extras=True)
    if POSITIONAL in typing.get_args(hints[name]):
        return name.upper()
    return "--" + name.rstrip("_").replace("_", "-")


def check_all(options: Any, checks: Mapping[str, Check]) -> None:
    """Checks each option that was given."""
    for name, check in checks.items():
        if (value := getattr(options, name)) is not None:
            try:
                check(value)
            except ValueError as error:
                raise ValueError(f"argument {flag(options, name)}: {error}") from error


def check_vpc(options: Any) -> None:
    if bool(options.subnet) != bool(options.security_group):
        raise ValueError("--subnet and --security-group require each other")


def check_other_action(options: Any, actions: Sequence[str], shared: Sequence[str]) -> bool:
    """Whether an action such as --follow was chosen; rejects options that it would ignore."""
    chosen = next((name for name in actions if getattr(options, name) is not None), None)
    if chosen is None:
        return False
    for field in fields(options):
        if field.name not in (chosen, *shared) and getattr(options, field.name) != field.default:
            raise ValueError(
                f"{flag(options, chosen)} and {flag(options, field.name)} exclude each other"
            )
    return True


def each(check: Callable[[str], None]) -> Check:
    def all_of(texts: tuple[str, ...]) -> None:
        for text in texts:
            check(text)

    return all_of


def between(least: float, most: float) -> Check:
    def check(number: float) -> None:
        if not (math.isfinite(number) and least <= number <= most):
            raise ValueError(f"{number:g} is not between {least:g} and {most:g}")

    return check


def one_or_more(number: int) -> None:
    if number < 1:
        raise ValueError(f"{number} is less than 1")


def check_topic(text: str) -> None:
    if not TOPIC.fullmatch(text):
        raise ValueError(
            f"{text!r} is not the ARN of a topic; "
            "write it like arn:aws:sns:us-east-1:123456789012:pets"
        )


def check_model_data(text: str) -> None:
    aws_names.check_s3(text)
    if not text.endswith(".tar.gz"):
        raise ValueError(
            f"{text!r} is not a model.tar.gz; make one: petbox endpoint package MODEL s3://…"
        )


def check_environment(texts: tuple[str, ...]) -> None:
    given = aws_names.pairs(texts)
    for key, value in given.items():
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key):
            raise ValueError(f"{key!r} is not the name of a variable")
        if max(len(key), len(value)) > LONGEST_VARIABLE:
            raise ValueError(f"{key[:40]}: has more than {LONGEST_VARIABLE} characters")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
    if len(given) > MOST_VARIABLES or size > LARGEST_ENVIRONMENT:
        raise ValueError(
            f"{len(given)} variables, {size} bytes; SageMaker allows {MOST_VARIABLES} variables "
            f"and {LARGEST_ENVIRONMENT} bytes"
        )


def check_tags(texts: tuple[str, ...]) -> None:
    aws_names.check_tags(texts)
    tags = aws_names.pairs(texts)
    if len(tags) >= aws_names.MOST_TAGS:
        raise ValueError(f"{len(tags)} are given; the maximum is {aws_names.MOST_TAGS - 1}")
    for key in tags:
        if key.lower().startswith(endpoint_names.RESERVED):
            raise ValueError(f"{key!r} begins with petbox:, which is reserved for petbox")


EVERY = between(0.1, 3600)  # seconds between polls
