"""The options of `petbox endpoint up`, and all checks of them before anything is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL, Json
from petbox.sagemaker.endpoint import expiry
from petbox.sagemaker.endpoint import names as endpoint_names
from petbox.sagemaker.option_checks import (
    EVERY,
    Check,
    between,
    check_all,
    check_environment,
    check_model_data,
    check_tags,
    check_topic,
    check_vpc,
    each,
    flag,
    one_or_more,
)

INSTANCE_TYPE = "ml.m5.xlarge"  # new accounts have quota for it
MEMORIES = (1024, 2048, 3072, 4096, 5120, 6144)
MOST_CONCURRENCY = 200


@dataclass(frozen=True)
class UpOptions:
    name: Annotated[str, "name of the endpoint", POSITIONAL]
    image: Annotated[str, "serving image in ECR, best with its digest (@sha256:…)", "URI"]
    role: Annotated[str, "role that the container runs under", "ARN"]
    model_data: Annotated[
        str | None,
        "s3://…/model.tar.gz of `petbox endpoint package` (default: the model in the image)",
        "S3",
    ] = None
    env: Annotated[tuple[str, ...], "environment variable of the container", "KEY=VALUE"] = ()
    instance_type: Annotated[str | None, f"instance type (default: {INSTANCE_TYPE})", "TYPE"] = None
    instance_count: Annotated[int | None, "number of instances (default: 1)", "N"] = None
    ami: Annotated[str | None, "SageMaker's host image, for a newer GPU driver", "NAME"] = None
    serverless: Annotated[
        str | None,
        "serverless: memory in MB and maximum concurrency, as in 4096,5",
        "MEMORY,CONCURRENCY",
    ] = None
    async_: Annotated[
        str | None, "asynchronous: requests from S3, responses to this s3://…", "S3"
    ] = None
    async_errors: Annotated[str | None, "with --async: s3://… for failures", "S3"] = None
    async_concurrency: Annotated[
        int | None, "with --async: concurrent calls for each instance", "N"
    ] = None
    notify_success: Annotated[str | None, "with --async: SNS topic of successes", "ARN"] = None
    notify_error: Annotated[str | None, "with --async: SNS topic of errors", "ARN"] = None
    autoscale: Annotated[
        str | None, "bounds of the number of instances, as in 1..4 (--async: from 0)", "MIN..MAX"
    ] = None
    target: Annotated[
        float | None,
        "with --autoscale: calls a minute for each instance; with --async: queued calls",
        "N",
    ] = None
    capture: Annotated[str | None, "store requests and responses under this s3://…", "S3"] = None
    capture_percent: Annotated[int | None, "percentage of calls to store (default: 100)", "N"] = (
        None
    )
    health_timeout: Annotated[
        int | None, "seconds until /ping must succeed (default: 480)", "S"
    ] = None
    download_timeout: Annotated[int | None, "seconds for downloading the model", "S"] = None
    subnet: Annotated[tuple[str, ...], "of a VPC that the container may reach", "ID"] = ()
    security_group: Annotated[tuple[str, ...], "of a VPC that the container may reach", "ID"] = ()
    tag: Annotated[tuple[str, ...], "tag of all resources", "KEY=VALUE"] = ()
    ttl: Annotated[
        str | None, "delete the endpoint after this time, as in 2h, 90m or 1d", "TIME"
    ] = None
    ttl_role: Annotated[
        str | None, "role of the schedule that deletes the endpoint (default: --role)", "ARN"
    ] = None
    every: Annotated[float, "seconds between polls", "S"] = 10.0
    json: Json = False
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False

    def __post_init__(self) -> None:
        check_all(self, CHECKS)
        for name, needed in GOES_WITH.items():
            if getattr(self, name) is not None and getattr(self, needed) is None:
                raise ValueError(f"{flag(self, name)} requires {flag(self, needed)}")
        for name, others in EXCLUDES.items():
            for other in others:
                if getattr(self, name) is not None and getattr(self, other) not in (None, ()):
                    raise ValueError(
                        f"{flag(self, name)} and {flag(self, other)} exclude each other"
                    )
        check_vpc(self)
        if self.autoscale is not None:
            self._check_scaling(self.autoscale)

    def _check_scaling(self, text: str) -> None:
        if self.target is None:
            raise ValueError("--autoscale requires --target")
        if bounds(text)[0] == 0 and self.async_ is None:
            raise ValueError("argument --autoscale: only an endpoint with --async may go down to 0")


GOES_WITH = {
    "async_errors": "async_",
    "async_concurrency": "async_",
    "notify_success": "async_",
    "notify_error": "async_",
    "target": "autoscale",
    "capture_percent": "capture",
    "ttl_role": "ttl",
}
# An option that would be ignored is one that was misunderstood.
EXCLUDES = {
    "serverless": (
        "instance_type",
        "instance_count",
        "ami",
        "async_",
        "autoscale",
        "capture",
        "health_timeout",
        "download_timeout",
        "subnet",
    ),
    "autoscale": ("instance_count",),
}


def memory_and_concurrency(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if not match:
        raise ValueError(f"{text!r} is not of the form MEMORY,CONCURRENCY; write it like 4096,5")
    memory, concurrency = int(match[1]), int(match[2])
    if memory not in MEMORIES:
        raise ValueError(f"{memory} is not a size of memory; take one of {MEMORIES}")
    if not 1 <= concurrency <= MOST_CONCURRENCY:
        raise ValueError(f"a concurrency of {concurrency} is not between 1 and {MOST_CONCURRENCY}")
    return memory, concurrency


def bounds(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text)
    if not match or int(match[2]) < max(1, int(match[1])):
        raise ValueError(f"{text!r} is not of the form MIN..MAX; write it like 1..4")
    return int(match[1]), int(match[2])


def _check_ami(text: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text):
        raise ValueError(
            f"{text!r} is not a host image; write it like al2-ami-sagemaker-inference-gpu-3-1"
        )


CHECKS: dict[str, Check] = {
    "name": endpoint_names.check,
    "image": aws_names.check_image,
    "role": aws_names.check_role,
    "model_data": check_model_data,
    "env": check_environment,
    "instance_type": aws_names.check_instance_type,
    "instance_count": one_or_more,
    "ami": _check_ami,
    "serverless": memory_and_concurrency,
    "async_": aws_names.check_s3,
    "async_errors": aws_names.check_s3,
    "async_concurrency": between(1, 1000),
    "notify_success": check_topic,
    "notify_error": check_topic,
    "autoscale": bounds,
    "target": between(0.001, 1e9),
    "capture": aws_names.check_s3,
    "capture_percent": between(1, 100),
    "health_timeout": between(60, 3600),
    "download_timeout": between(60, 3600),
    "subnet": each(aws_names.check_subnet),
    "security_group": each(aws_names.check_security_group),
    "tag": check_tags,
    "ttl": expiry.duration,
    "ttl_role": aws_names.check_role,
    "every": EVERY,
}
