"""What is wanted of a training job, and the request that asks SageMaker for it.

Pure: looks at no file, asks no server, imports no boto3. Whatever is wrong with what is wanted is
told before anything is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.training.log_lines import METRICS

MOST_HYPERPARAMETERS = 100
LONGEST_KEY, LONGEST_VALUE = 256, 2500
MOST_HOURS = 28 * 24.0
WAIT_FOR_SPOT = 24.0  # hours beside those of the training itself
CHECKPOINTS = "/opt/ml/checkpoints"  # where the training image keeps them

NEEDED = ("image", "data", "output", "role")
OTHER_VERBS = ("follow", "stop")
SHARED = ("every", "dry_run")  # what goes with those as well


@dataclass(frozen=True)
class TrainJobOptions:
    image: Annotated[str | None, "the training image in ECR", "URI"] = None
    data: Annotated[
        str | None, "records: s3://…, or a folder, which is uploaded to OUTPUT/data/", "RECORDS"
    ] = None
    output: Annotated[str | None, "s3://… where the job's folder with the model goes", "S3"] = None
    role: Annotated[str | None, "the role that the job runs under", "ARN"] = None
    name: Annotated[str | None, "of the job (default: petbox- and the time)"] = None
    hyperparameter: Annotated[
        tuple[str, ...], "train/train.py's options, as steps=2000", "KEY=VALUE"
    ] = ()
    init: Annotated[
        str | None, "weights to begin with: s3://…, or a file or folder to upload", "WEIGHTS"
    ] = None
    instance_type: Annotated[str, "what to train on", "TYPE"] = "ml.g4dn.xlarge"
    instance_count: Annotated[int, "how many of them", "N"] = 1
    volume_gb: Annotated[int, "disk of each, for data and checkpoints", "GB"] = 50
    max_hours: Annotated[float, "stop the training after so long", "H"] = 24.0
    spot: Annotated[bool, "on spare instances: cheaper, and interrupted now and then"] = False
    max_wait_hours: Annotated[
        float | None, "with --spot, for waiting and training (default: a day more)", "H"
    ] = None
    checkpoints: Annotated[
        str | None,
        "s3://… that keeps checkpoints, to go on from (default with --spot: in the job's folder)",
        "S3",
    ] = None
    tag: Annotated[tuple[str, ...], "labels for the bill", "KEY=VALUE"] = ()
    subnet: Annotated[tuple[str, ...], "run inside a VPC", "ID"] = ()
    security_group: Annotated[tuple[str, ...], "run inside a VPC", "ID"] = ()
    every: Annotated[float, "seconds between two looks at the job", "S"] = 5.0
    detach: Annotated[bool, "start the job, print its name, and leave"] = False
    dry_run: Annotated[bool, "print the request as JSON, and call nothing"] = False
    follow: Annotated[str | None, "follow a job that is there already", "NAME"] = None
    stop: Annotated[str | None, "stop a job", "NAME"] = None

    def __post_init__(self) -> None:
        verb = next((verb for verb in OTHER_VERBS if getattr(self, verb) is not None), None)
        if verb:
            self._refuse_beside(verb)
        elif missing := [_flag(name) for name in NEEDED if getattr(self, name) is None]:
            raise ValueError(f"the following arguments are required: {', '.join(missing)}")
        for name, check in CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                try:
                    check(value)
                except ValueError as error:
                    raise ValueError(f"argument {_flag(name)}: {error}") from error
        self._check_together()

    def _refuse_beside(self, verb: str) -> None:
        """An option that would be ignored is one that was misunderstood."""
        for field in fields(self):
            if field.name not in (verb, *SHARED) and getattr(self, field.name) != field.default:
                raise ValueError(f"{_flag(verb)} and {_flag(field.name)} exclude each other")
        if verb == "follow" and self.dry_run:
            raise ValueError("--follow changes nothing, so --dry-run has nothing to show")

    def _check_together(self) -> None:
        if bool(self.subnet) != bool(self.security_group):
            raise ValueError("--subnet and --security-group are given together or not at all")
        if self.max_wait_hours is not None and not self.spot:
            raise ValueError("--max-wait-hours goes with --spot only")
        if self.max_wait_hours is not None and self.max_wait_hours < self.max_hours:
            raise ValueError("--max-wait-hours counts the training too; give --max-hours or more")
        if self.detach and self.dry_run:
            raise ValueError("--detach and --dry-run exclude each other")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def is_s3(place: str) -> bool:
    return "://" in place


# Checks of one option each


def _check_place(text: str) -> None:
    if is_s3(text):
        aws_names.check_s3(text)


def _check_each(check: Callable[[str], None]) -> Callable[[tuple[str, ...]], None]:
    def all_of(texts: tuple[str, ...]) -> None:
        for text in texts:
            check(text)

    return all_of


def _check_count(number: int) -> None:
    if number < 1:
        raise ValueError(f"{number} is less than 1")


def _check_hours(hours: float) -> None:
    if not (math.isfinite(hours) and 1 / 60 <= hours <= MOST_HOURS):
        raise ValueError(f"{hours:g} is not from a minute (0.02) to 28 days ({MOST_HOURS:g})")


def _check_wait(hours: float) -> None:
    if not (math.isfinite(hours) and hours > 0):
        raise ValueError(f"{hours:g} is not a number of hours")


def _check_every(seconds: float) -> None:
    if not 0.1 <= seconds <= 3600:
        raise ValueError(f"{seconds:g} is not from 0.1 to 3600")


def _check_hyperparameters(texts: tuple[str, ...]) -> None:
    given = aws_names.pairs(texts)
    if len(given) > MOST_HYPERPARAMETERS:
        raise ValueError(f"{len(given)} are given, and SageMaker takes {MOST_HYPERPARAMETERS}")
    for key, value in given.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise ValueError(
                f"{key[:LONGEST_KEY]!r}: SageMaker takes names of up to {LONGEST_KEY} characters "
                f"and values of up to {LONGEST_VALUE}"
            )


CHECKS: dict[str, Callable[[Any], None]] = {
    "image": aws_names.check_image,
    "data": _check_place,
    "output": aws_names.check_s3,
    "role": aws_names.check_role,
    "name": aws_names.check_name,
    "hyperparameter": _check_hyperparameters,
    "init": _check_place,
    "instance_type": aws_names.check_instance_type,
    "instance_count": _check_count,
    "volume_gb": _check_count,
    "max_hours": _check_hours,
    "max_wait_hours": _check_wait,
    "checkpoints": aws_names.check_s3,
    "tag": aws_names.check_tags,
    "subnet": _check_each(aws_names.check_subnet),
    "security_group": _check_each(aws_names.check_security_group),
    "every": _check_every,
    "follow": aws_names.check_name,
    "stop": aws_names.check_name,
}


# The request


def plan(wanted: TrainJobOptions, name: str, data: str, init: str | None = None) -> dict[str, Any]:
    """CreateTrainingJob's request; `data` and `init` are where those lie in S3."""
    assert wanted.output is not None  # needed, see above
    output = wanted.output.rstrip("/")
    channels = [_channel("training", data if data.endswith("/") else f"{data}/")]
    if init is not None:
        channels.append(_channel("init", init))  # a file, or what a checkpoint's files begin with
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": wanted.role,
        "AlgorithmSpecification": {
            "TrainingImage": wanted.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": key, "Regex": regex} for key, regex in METRICS.items()],
        },
        "HyperParameters": aws_names.pairs(wanted.hyperparameter),
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {
            "InstanceType": wanted.instance_type,
            "InstanceCount": wanted.instance_count,
            "VolumeSizeInGB": wanted.volume_gb,
        },
        "StoppingCondition": _stopping(wanted),
        "EnableManagedSpotTraining": wanted.spot,
    }
    checkpoints = wanted.checkpoints
    if checkpoints is None and wanted.spot:  # without any, an interruption starts from nothing
        checkpoints = f"{output}/{name}/checkpoints/"
    if checkpoints is not None:
        request["CheckpointConfig"] = {"S3Uri": checkpoints, "LocalPath": CHECKPOINTS}
    if wanted.subnet:
        request["VpcConfig"] = {
            "Subnets": list(wanted.subnet),
            "SecurityGroupIds": list(wanted.security_group),
        }
    if wanted.tag:
        tags = aws_names.pairs(wanted.tag)
        request["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    return request


def _channel(name: str, address: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": address,
        "S3DataDistributionType": "FullyReplicated",  # the hosts share the shards out themselves
    }
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _stopping(wanted: TrainJobOptions) -> dict[str, int]:
    stopping = {"MaxRuntimeInSeconds": round(wanted.max_hours * 3600)}
    if wanted.spot:
        hours = wanted.max_wait_hours or wanted.max_hours + WAIT_FOR_SPOT
        stopping["MaxWaitTimeInSeconds"] = round(hours * 3600)
    return stopping
