"""The options of `petbox endpoint up`, and all checks of them before anything is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from petbox.aws.names import matches
from petbox.cli.options import Json, Value, between, check, flag
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint import expiry, fit

MEMORIES = (1024, 2048, 3072, 4096, 5120, 6144)
MOST_CONCURRENCY = 200


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


AMI = Value(
    "NAME",
    matches("[a-z0-9]+(-[a-z0-9]+)*", "a host image", "al2-ami-sagemaker-inference-gpu-3-1"),
)
BOUNDS = Value("MIN..MAX", bounds)
SERVERLESS = Value("MEMORY,CONCURRENCY", memory_and_concurrency)
TIME = Value("TIME", expiry.duration)
TIMEOUT = Value("S", between(60, 3600))


@dataclass(frozen=True)
class UpOptions:
    name: shared.EndpointName
    image: Annotated[str, "serving image in ECR, best with its digest (@sha256:…)", shared.IMAGE]
    role: Annotated[str, "role that the container runs under", shared.ROLE]
    model_data: Annotated[
        str | None,
        "s3://…/model.tar.gz of `petbox endpoint package` (default: the model in the image)",
        shared.MODEL_DATA,
    ] = None
    env: shared.Environment = ()
    instance_type: Annotated[
        str | None, f"instance type (default: {fit.CPU}, {fit.GPU})", shared.INSTANCE_TYPE
    ] = None
    instance_count: Annotated[int | None, "number of instances (default: 1)", shared.COUNT] = None
    ami: Annotated[str | None, "SageMaker's host image, for a newer GPU driver", AMI] = None
    serverless: Annotated[
        str | None, "serverless: memory in MB and maximum concurrency, as in 4096,5", SERVERLESS
    ] = None
    async_: Annotated[
        str | None, "asynchronous: requests from S3, responses to this s3://…", shared.S3
    ] = None
    async_errors: Annotated[str | None, "with --async: s3://… for failures", shared.S3] = None
    async_concurrency: Annotated[
        int | None,
        "with --async: concurrent calls for each instance",
        Value("N", between(1, 1000)),
    ] = None
    notify_success: Annotated[str | None, "with --async: SNS topic of successes", shared.TOPIC] = (
        None
    )
    notify_error: Annotated[str | None, "with --async: SNS topic of errors", shared.TOPIC] = None
    autoscale: Annotated[
        str | None, "bounds of the number of instances, as in 1..4 (--async: from 0)", BOUNDS
    ] = None
    target: Annotated[
        float | None,
        "with --autoscale: calls a minute for each instance; with --async: queued calls",
        Value("N", between(0.001, 1e9)),
    ] = None
    capture: Annotated[str | None, "store requests and responses under this s3://…", shared.S3] = (
        None
    )
    capture_percent: Annotated[
        int | None,
        "percentage of calls to store (default: 100)",
        Value("N", between(1, 100)),
    ] = None
    health_timeout: Annotated[
        int | None, "seconds until /ping must succeed (default: 480)", TIMEOUT
    ] = None
    download_timeout: Annotated[int | None, "seconds for downloading the model", TIMEOUT] = None
    subnet: shared.Subnets = ()
    security_group: shared.SecurityGroups = ()
    tag: shared.Tags = ()
    ttl: Annotated[str | None, "delete the endpoint after this time, as in 2h, 90m or 1d", TIME] = (
        None
    )
    ttl_role: Annotated[
        str | None, "role of the schedule that deletes the endpoint (default: --role)", shared.ROLE
    ] = None
    every: shared.Every = 10.0
    json: Json = False
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False

    def __post_init__(self) -> None:
        check(self)
        for name, needed in GOES_WITH.items():
            if getattr(self, name) is not None and getattr(self, needed) is None:
                raise ValueError(f"{flag(self, name)} requires {flag(self, needed)}")
        for name, others in EXCLUDES.items():
            for other in others:
                if getattr(self, name) is not None and getattr(self, other) not in (None, ()):
                    raise ValueError(
                        f"{flag(self, name)} and {flag(self, other)} exclude each other"
                    )
        shared.check_vpc(self)
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
