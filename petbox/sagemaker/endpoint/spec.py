"""The state of an endpoint that a user asks for: by flags of `petbox endpoint up`, or in pets.toml.

None keeps what the endpoint has; False removes it. `merged` fills it from what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from petbox.aws import names as aws_names
from petbox.aws.names import matches
from petbox.cli.options import REMOVABLE, Value, at_least, between, check, flag, no_flag
from petbox.errors import ServiceError
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint import expiry, fit, sizes

AMI = Value(
    "NAME",
    matches("[a-z0-9]+(-[a-z0-9]+)*", "a host image", "al2-ami-sagemaker-inference-gpu-3-1"),
)
BOUNDS = Value("MIN..MAX", sizes.bounds)
COPY = Value("MEMORY,CPUS[,GPUS]", sizes.of_copy)
SERVERLESS = Value("MEMORY,CONCURRENCY", sizes.memory_and_concurrency)
TIME = Value("TIME", expiry.duration)
TIMEOUT = Value("S", between(60, 3600))

MOST_OF_COMPONENT = 16  # environment variables
Text = str | Literal[False] | None
Number = int | Literal[False] | None


@dataclass(frozen=True)
class EndpointSpec:
    name: shared.EndpointName
    image: Annotated[
        str | None, "serving image in ECR, best with its digest (@sha256:…)", shared.IMAGE
    ] = None
    role: Annotated[
        str | None,
        "role that the container runs under (default: that of `petbox setup`)",
        shared.ROLE,
    ] = None
    model_data: Annotated[
        Text,
        "s3://…/model.tar.gz of `petbox endpoint package` (default: the model in the image)",
        shared.MODEL_DATA,
        REMOVABLE,
    ] = None
    multi_model: Annotated[
        Text,
        "multi-model: the models are the archives under this s3://…",
        shared.S3,
        REMOVABLE,
    ] = None
    env: shared.Environment = ()
    no_env: Annotated[tuple[str, ...], "remove this variable", "KEY"] = ()
    instance_type: Annotated[
        str | None,
        f"instance type (default: {fit.CPU}; {fit.GPU} for GPUs, {fit.ARM} for arm64)",
        shared.INSTANCE_TYPE,
    ] = None
    instance_count: Annotated[int | None, "number of instances (default: 1)", shared.COUNT] = None
    ami: Annotated[Text, "SageMaker's host image, for a newer GPU driver", AMI, REMOVABLE] = None
    serverless: Annotated[
        Text,
        "serverless: memory in MB and maximum concurrency, as in 4096,5",
        SERVERLESS,
        REMOVABLE,
    ] = None
    provisioned_concurrency: Annotated[
        Number,
        "with --serverless: concurrent calls that are kept ready, which cost money without a call",
        Value("N", between(1, sizes.MOST_CONCURRENCY)),
        REMOVABLE,
    ] = None
    component: Annotated[
        str | None,
        "real-time down to zero, with --autoscale 0..N of copies: memory in MB, CPU cores and GPUs "
        "of each, as in 2048,2 or 2048,2,1",
        COPY,
    ] = None
    async_: Annotated[
        Text,
        "asynchronous: requests from S3, responses to this s3://…",
        shared.S3,
        REMOVABLE,
    ] = None
    async_errors: Annotated[Text, "with --async: s3://… for failures", shared.S3, REMOVABLE] = None
    async_concurrency: Annotated[
        Number,
        "with --async: concurrent calls for each instance",
        Value("N", between(1, 1000)),
        REMOVABLE,
    ] = None
    notify_success: Annotated[
        Text, "with --async: SNS topic of successes", shared.TOPIC, REMOVABLE
    ] = None
    notify_error: Annotated[Text, "with --async: SNS topic of errors", shared.TOPIC, REMOVABLE] = (
        None
    )
    autoscale: Annotated[
        Text,
        "bounds of the number of instances, as in 1..4 (--async, --component: from 0)",
        BOUNDS,
        REMOVABLE,
    ] = None
    target: Annotated[
        float | None,
        "with --autoscale: calls a minute for each instance; with --async: queued calls",
        Value("N", between(0.001, 1e9)),
    ] = None
    capture: Annotated[
        Text, "store requests and responses under this s3://…", shared.S3, REMOVABLE
    ] = None
    capture_percent: Annotated[
        int | None,
        "percentage of calls to store (default: 100)",
        Value("N", between(1, 100)),
    ] = None
    metrics_every: Annotated[
        Number,
        "seconds between SageMaker's readings of the container's /metrics, 0 for none (default: "
        f"{shared.METRICS_EVERY})",
        Value("S", shared.check_metrics_every),
        REMOVABLE,
    ] = None
    health_timeout: Annotated[
        Number, "seconds until /ping must succeed (default: 480)", TIMEOUT, REMOVABLE
    ] = None
    download_timeout: Annotated[Number, "seconds for downloading the model", TIMEOUT, REMOVABLE] = (
        None
    )
    subnet: shared.Subnets = ()
    security_group: shared.SecurityGroups = ()
    no_vpc: Annotated[bool, "remove --subnet and --security-group"] = False
    network_isolation: Annotated[bool | None, "the container can connect to nothing", REMOVABLE] = (
        None
    )
    kms_key: Annotated[
        Text,
        "KMS key that encrypts disks, captured data and async responses",
        shared.KMS_KEY,
        REMOVABLE,
    ] = None
    alarms: Annotated[
        Number,
        "alarms for 5XX, failed pings, and p99 latency over this many milliseconds",
        Value("MS", at_least(1)),
        REMOVABLE,
    ] = None
    alarm_topic: Annotated[
        Text, "with --alarms: SNS topic that they notify", shared.TOPIC, REMOVABLE
    ] = None
    dashboard: Annotated[
        bool | None, "a CloudWatch dashboard of calls, errors, latency and load", REMOVABLE
    ] = None
    tag: shared.Tags = ()
    no_tag: Annotated[tuple[str, ...], "remove this tag", "KEY"] = ()
    ttl: Annotated[
        Text, "delete the endpoint after this time, as in 2h, 90m or 1d", TIME, REMOVABLE
    ] = None
    ttl_role: Annotated[
        str | None,
        "role that deletes the endpoint (default: that of `petbox setup`, or else --role)",
        shared.ROLE,
    ] = None
    ttl_dead_letters: Annotated[
        Text, "SQS queue for calls that could not delete the endpoint", shared.QUEUE, REMOVABLE
    ] = None

    def __post_init__(self) -> None:
        check(self)
        for name, others in EXCLUDES.items():
            for other in others:
                if _has(self, name) and _has(self, other):
                    raise ValueError(
                        f"{flag(self, name)} and {flag(self, other)} exclude each other"
                    )
        if self.no_vpc and (self.subnet or self.security_group):
            raise ValueError("--no-vpc and --subnet or --security-group exclude each other")
        for name in ("ttl_role", "ttl_dead_letters"):
            if getattr(self, name) is not None and not self.ttl:
                raise ValueError(f"{flag(self, name)} requires --ttl")

    def check_complete(self) -> None:
        """Checks what must go together, once it is known what the endpoint has."""
        for name, needed in GOES_WITH.items():
            if _has(self, name) and not _has(self, needed):
                raise ValueError(f"{flag(self, name)} requires {flag(self, needed)}")
        shared.check_vpc(self)
        if self.serverless and self.provisioned_concurrency:
            most = sizes.memory_and_concurrency(self.serverless)[1]
            if self.provisioned_concurrency > most:
                raise ValueError(
                    f"--provisioned-concurrency: {self.provisioned_concurrency} is more than the "
                    f"{most} concurrent calls of --serverless"
                )
        if self.component:
            if not self.autoscale:
                raise ValueError("--component requires --autoscale")
            if len(self.env) > MOST_OF_COMPONENT:
                raise ValueError(
                    f"--env: {len(self.env)} variables; an inference component takes "
                    f"{MOST_OF_COMPONENT}"
                )
        if self.autoscale:
            if self.target is None:
                raise ValueError("--autoscale requires --target")
            if sizes.bounds(self.autoscale)[0] == 0 and not (self.async_ or self.component):
                raise ValueError(
                    "argument --autoscale: only an endpoint with --async or --component may go "
                    "down to 0"
                )


GOES_WITH = {
    "provisioned_concurrency": "serverless",
    "async_errors": "async_",
    "async_concurrency": "async_",
    "notify_success": "async_",
    "notify_error": "async_",
    "target": "autoscale",
    "capture_percent": "capture",
    "alarm_topic": "alarms",
}
# An option that would be ignored is one that was misunderstood.
EXCLUDES = {
    "serverless": (
        "instance_type",
        "instance_count",
        "ami",
        "component",
        "async_",
        "autoscale",
        "capture",
        "metrics_every",
        "health_timeout",
        "download_timeout",
        "subnet",
        "multi_model",
    ),
    "component": ("async_", "instance_count", "multi_model"),
    "autoscale": ("instance_count",),
    "multi_model": ("model_data",),
}
KEYED = {"env": "no_env", "tag": "no_tag"}


def _has(spec: EndpointSpec, name: str) -> bool:
    return getattr(spec, name) not in (None, ()) and getattr(spec, name) is not False


def merged(
    wanted: EndpointSpec, actual: EndpointSpec | None, *, recreated: bool = False
) -> EndpointSpec:
    """All that the endpoint is to have. `actual` is None if there is no endpoint."""
    there = actual or EndpointSpec(wanted.name)
    if wanted.serverless and there.instance_type:
        if not recreated:
            raise ServiceError(
                f"endpoint {wanted.name}: has instances, and SageMaker cannot make such an "
                "endpoint serverless; choose another name, or first: "
                f"petbox endpoint down {wanted.name}"
            )
        other = {name: getattr(EndpointSpec, name) for name in EXCLUDES["serverless"]}
        there = replace(there, **other, security_group=(), target=None)
    values = {one.name: _value(wanted, there, one.name) for one in fields(EndpointSpec)}
    for name, needed in GOES_WITH.items():
        if getattr(wanted, needed) is False:
            values[name] = getattr(wanted, name) or None
    if wanted.no_vpc:
        values |= {"subnet": (), "security_group": ()}
    if _has(wanted, "autoscale"):
        values["instance_count"] = None
    # Not kept: the schedule stays as it is, and needs no removal to be written.
    values |= {"no_env": (), "no_tag": (), "no_vpc": False}
    values |= {"ttl_role": wanted.ttl_role, "ttl_dead_letters": wanted.ttl_dead_letters}
    try:
        whole = EndpointSpec(**values)
        whole.check_complete()
    except ValueError as error:
        raise ServiceError(_conflict(wanted, there, error)) from error
    for name in ("image", "role"):
        if getattr(whole, name) is None:
            raise ServiceError(
                f"endpoint {wanted.name}: does not exist yet; give --{name} to create it"
            )
    return whole


def _value(wanted: EndpointSpec, there: EndpointSpec, name: str) -> Any:
    value, before = getattr(wanted, name), getattr(there, name)
    if name in KEYED:
        pairs = {**aws_names.pairs(before), **aws_names.pairs(value)}
        gone = getattr(wanted, KEYED[name])
        return tuple(f"{key}={text}" for key, text in pairs.items() if key not in gone)
    if value is False:
        return None
    if name == "multi_model" and value:
        return value.rstrip("/")
    return before if value in (None, ()) else value


def _conflict(wanted: EndpointSpec, there: EndpointSpec, error: ValueError) -> str:
    text = f"endpoint {wanted.name}: {error}"
    for name, others in EXCLUDES.items():
        for one, other in ((name, o) for o in others):
            if _has(there, one) and getattr(wanted, one) is None and _has(wanted, other):
                return f"{text}; the endpoint has {flag(wanted, one)}: pass {no_flag(one)}"
    return text


def with_instance_type(spec: EndpointSpec, default: str) -> EndpointSpec:
    if spec.serverless or spec.instance_type:
        return spec
    return replace(spec, instance_type=default)


def facts(spec: EndpointSpec | None) -> Mapping[str, str]:
    """What it says, by flags' names, each variable and tag by itself: for a comparison."""
    found: dict[str, str] = {}
    for one in fields(EndpointSpec):
        value = getattr(spec, one.name) if spec else None
        key = one.name.rstrip("_")
        if key in KEYED:
            found |= {f"{key}.{name}": text for name, text in aws_names.pairs(value or ()).items()}
        elif key != "name" and value not in (None, ()) and value is not False:
            found[key] = ", ".join(value) if isinstance(value, tuple) else f"{value}"
    return found
