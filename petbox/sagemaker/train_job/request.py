"""The options of `petbox train-job`, and the request that they make.

Checks all options before anything is called. Reads no file and calls no server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.cli.options import Json, Value, at_least, check, flag
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint.names import present, tag_list
from petbox.training.log_lines import METRICS

MOST_HYPERPARAMETERS = 100
LONGEST_KEY, LONGEST_VALUE = 256, 2500
MOST_HOURS = 28 * 24.0
WAIT_FOR_SPOT = 24.0  # hours in addition to those of training
CHECKPOINTS = "/opt/ml/checkpoints"  # where the training image keeps them

NEEDED = ("image", "data", "output", "role")
OTHER_ACTIONS = ("follow", "stop")
SHARED = ("every", "dry_run", "json")  # options of those actions too


def _check_place(text: str) -> None:
    if "://" in text:
        aws_names.check_s3(text)


def _check_hours(hours: float) -> None:
    if not (math.isfinite(hours) and 1 / 60 <= hours <= MOST_HOURS):
        raise ValueError(f"{hours:g} is not between a minute (0.02) and 28 days ({MOST_HOURS:g})")


def _check_wait(hours: float) -> None:
    if not (math.isfinite(hours) and hours > 0):
        raise ValueError(f"{hours:g} is not a number of hours")


def _check_hyperparameters(texts: tuple[str, ...]) -> None:
    given = aws_names.pairs(texts)
    if len(given) > MOST_HYPERPARAMETERS:
        raise ValueError(f"{len(given)} are given; the maximum is {MOST_HYPERPARAMETERS}")
    for key, value in given.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise ValueError(
                f"{key[:LONGEST_KEY]!r}: SageMaker allows names of {LONGEST_KEY} characters "
                f"and values of {LONGEST_VALUE}"
            )


HYPERPARAMETERS = Value("KEY=VALUE", _check_hyperparameters)


@dataclass(frozen=True)
class TrainJobOptions:
    image: Annotated[str | None, "training image in ECR", shared.IMAGE] = None
    data: Annotated[
        str | None,
        "records: s3://…, or a folder to upload to OUTPUT/data/",
        Value("RECORDS", _check_place),
    ] = None
    output: Annotated[str | None, "s3://… for the job's folder with the model", shared.S3] = None
    role: Annotated[str | None, "role that the job runs under", shared.ROLE] = None
    name: Annotated[str | None, "name of the job (default: petbox- and the time)", shared.JOB] = (
        None
    )
    hyperparameter: Annotated[
        tuple[str, ...], "an option of petbox train, as in steps=2000", HYPERPARAMETERS
    ] = ()
    init: Annotated[
        str | None,
        "initial weights: s3://…, or a file or folder to upload",
        Value("WEIGHTS", _check_place),
    ] = None
    instance_type: Annotated[str, "instance type", shared.INSTANCE_TYPE] = "ml.g4dn.xlarge"
    instance_count: Annotated[int, "number of instances", shared.COUNT] = 1
    volume_gb: Annotated[
        int, "disk of each instance, for data and checkpoints", Value("GB", at_least(1))
    ] = 50
    max_hours: Annotated[float, "stop training after this time", Value("H", _check_hours)] = 24.0
    spot: Annotated[bool, "use spot instances: cheaper, with interruptions"] = False
    max_wait_hours: Annotated[
        float | None,
        "with --spot: limit of waiting and training (default: a day more)",
        Value("H", _check_wait),
    ] = None
    checkpoints: Annotated[
        str | None,
        "s3://… for checkpoints to resume from (default with --spot: in the job's folder)",
        shared.S3,
    ] = None
    tag: Annotated[tuple[str, ...], "tag of the job", Value("KEY=VALUE", aws_names.check_tags)] = ()
    subnet: shared.Subnets = ()
    security_group: shared.SecurityGroups = ()
    network_isolation: Annotated[bool, "the container can connect to nothing"] = False
    kms_key: Annotated[str | None, "KMS key that encrypts disks and output", shared.KMS_KEY] = None
    every: shared.Every = 5.0
    detach: Annotated[bool, "start the job, print its name, and exit"] = False
    json: Json = False
    dry_run: Annotated[bool, "print the request as JSON and call nothing"] = False
    follow: Annotated[str | None, "follow an existing job", shared.JOB] = None
    stop: Annotated[str | None, "stop a job", shared.JOB] = None

    def __post_init__(self) -> None:
        missing = [flag(self, name) for name in NEEDED if getattr(self, name) is None]
        if not shared.check_other_action(self, OTHER_ACTIONS, SHARED) and missing:
            raise ValueError(f"the following arguments are required: {', '.join(missing)}")
        check(self)
        self._check_together()

    def _check_together(self) -> None:
        shared.check_vpc(self)
        if self.follow is not None and self.dry_run:
            raise ValueError("--follow changes nothing, so --dry-run has nothing to show")
        if self.max_wait_hours is not None and not self.spot:
            raise ValueError("--max-wait-hours requires --spot")
        if self.max_wait_hours is not None and self.max_wait_hours < self.max_hours:
            raise ValueError("--max-wait-hours includes the training; pass at least --max-hours")
        if self.detach and self.dry_run:
            raise ValueError("--detach and --dry-run exclude each other")


# The request


def plan(options: TrainJobOptions, name: str, data: str, init: str | None = None) -> dict[str, Any]:
    """CreateTrainingJob's request; `data` and `init` are S3 addresses."""
    assert options.output is not None  # checked by the options
    output = options.output.rstrip("/")
    channels = [_channel("training", data if data.endswith("/") else f"{data}/")]
    if init is not None:
        channels.append(_channel("init", init))  # a file, or the prefix of a checkpoint's files
    checkpoints = options.checkpoints
    if checkpoints is None and options.spot:  # or an interruption would lose everything
        checkpoints = f"{output}/{name}/checkpoints/"
    return present(
        TrainingJobName=name,
        RoleArn=options.role,
        AlgorithmSpecification={
            "TrainingImage": options.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": key, "Regex": regex} for key, regex in METRICS.items()],
        },
        HyperParameters=aws_names.pairs(options.hyperparameter),
        InputDataConfig=channels,
        OutputDataConfig=present(S3OutputPath=output, KmsKeyId=options.kms_key),
        ResourceConfig=present(
            InstanceType=options.instance_type,
            InstanceCount=options.instance_count,
            VolumeSizeInGB=options.volume_gb,
            VolumeKmsKeyId=shared.volume_key(options.kms_key, options.instance_type),
        ),
        StoppingCondition=_stopping(options),
        EnableManagedSpotTraining=options.spot,
        CheckpointConfig=checkpoints and {"S3Uri": checkpoints, "LocalPath": CHECKPOINTS},
        VpcConfig=shared.vpc_config(options),
        EnableNetworkIsolation=options.network_isolation or None,
        Tags=tag_list(aws_names.pairs(options.tag)),
    )


def _channel(name: str, address: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": address,
        "S3DataDistributionType": "FullyReplicated",  # the hosts divide the shards
    }
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _stopping(options: TrainJobOptions) -> dict[str, int]:
    stopping = {"MaxRuntimeInSeconds": round(options.max_hours * 3600)}
    if options.spot:
        hours = options.max_wait_hours or options.max_hours + WAIT_FOR_SPOT
        stopping["MaxWaitTimeInSeconds"] = round(hours * 3600)
    return stopping
