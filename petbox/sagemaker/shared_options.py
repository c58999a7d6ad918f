"""Checks of options that several commands have.

Each check returns nothing, or raises a ValueError that says what is wrong and what is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL, Value, at_least, between, each, flag
from petbox.sagemaker.endpoint import names as endpoint_names

INTERVALS = (0, 10, 30, 60, 120, 180, 240, 300)  # seconds, of MetricsConfig
# By EC2's convention a `d` says so; AWS's documents name g5 besides.
LOCAL_DISKS = re.compile(r"ml\.(\w+\d\w*d\w*|g5)\.")
METRICS_EVERY = 60  # unless the configuration of an endpoint says another
MOST_VARIABLES, LONGEST_VARIABLE, LARGEST_ENVIRONMENT = 100, 1024, 32 * 1024


def check_vpc(options: Any) -> None:
    if bool(options.subnet) != bool(options.security_group):
        raise ValueError("--subnet and --security-group require each other")


def vpc_config(options: Any) -> dict[str, Any]:
    return endpoint_names.present(
        Subnets=list(options.subnet), SecurityGroupIds=list(options.security_group)
    )


def volume_key(key: str | None, instance_type: str) -> str | None:
    """The key of a job's disks: SageMaker rejects one where their own hardware encrypts them."""
    return None if LOCAL_DISKS.match(instance_type) else key


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


def check_model_data(text: str) -> None:
    aws_names.check_s3(text)
    if not text.endswith(".tar.gz"):
        raise ValueError(
            f"{text!r} is not a model.tar.gz; make one: petbox endpoint package MODEL s3://…"
        )


def check_metrics_every(seconds: int) -> None:
    if seconds not in INTERVALS:
        raise ValueError(f"{seconds} is not one of {', '.join(map(str, INTERVALS))}")


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


# What the value of an option may be, and options of several commands

COUNT = Value("N", at_least(1))
EVERY = Value("S", between(0.1, 3600))
IMAGE = Value("URI", aws_names.check_image)
INSTANCE_TYPE = Value("TYPE", aws_names.check_instance_type)
JOB = Value("NAME", aws_names.check_name)
KMS_KEY = Value("ARN", aws_names.check_kms_key)
MODEL_DATA = Value("S3", check_model_data)
QUEUE = Value("ARN", aws_names.check_queue)
ROLE = Value("ARN", aws_names.check_role)
S3 = Value("S3", aws_names.check_s3)
TOPIC = Value("ARN", aws_names.check_topic)
TOPICS = Value("ARN", each(aws_names.check_topic))
_ENVIRONMENT = Value("KEY=VALUE", check_environment)
_GROUPS = Value("ID", each(aws_names.check_security_group))
_NAME = Value("NAME", endpoint_names.check)
_SUBNETS = Value("ID", each(aws_names.check_subnet))

EndpointName = Annotated[str, "name of the endpoint", POSITIONAL, _NAME]
Environment = Annotated[tuple[str, ...], "environment variable of the container", _ENVIRONMENT]
Every = Annotated[float, "seconds between polls", EVERY]
SecurityGroups = Annotated[tuple[str, ...], "of a VPC that the container may reach", _GROUPS]
Subnets = Annotated[tuple[str, ...], "of a VPC that the container may reach", _SUBNETS]
Tags = Annotated[tuple[str, ...], "tag of all resources", Value("KEY=VALUE", check_tags)]
