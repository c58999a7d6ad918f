"""The options of `petbox transform`, and all checks of them before anything is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL, Json, Value, check, flag
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint import names

LONGEST_NAME = names.LONGEST - len("-transform")  # the suffix of its model's name
OF_A_MODEL = ("image", "role", "model_data", "env", "subnet", "security_group", "network_isolation")
OTHER_ACTIONS = ("follow", "stop")
SHARED = ("every", "json")


def _check_name(text: str) -> None:
    aws_names.check_name(text, LONGEST_NAME)


@dataclass(frozen=True)
class TransformOptions:
    source: Annotated[
        str | None,
        "s3://… with images, JSON Lines (.jsonl) or requests (.json)",
        POSITIONAL,
        shared.S3,
    ] = None
    destination: Annotated[
        str | None, "s3://… for the responses, FILE.out each", POSITIONAL, shared.S3
    ] = None
    endpoint: Annotated[
        str | None, "use the model of this endpoint", Value("NAME", names.check)
    ] = None
    image: Annotated[str | None, "or else: serving image in ECR", shared.IMAGE] = None
    role: Annotated[
        str | None, "with --image: role of the container (default: `petbox setup`'s)", shared.ROLE
    ] = None
    model_data: Annotated[
        str | None, "s3://…/model.tar.gz of `petbox endpoint package`", shared.MODEL_DATA
    ] = None
    env: shared.Environment = ()
    subnet: shared.Subnets = ()
    security_group: shared.SecurityGroups = ()
    network_isolation: Annotated[bool, "the container can connect to nothing"] = False
    kms_key: Annotated[str | None, "KMS key that encrypts disks and responses", shared.KMS_KEY] = (
        None
    )
    name: Annotated[
        str | None, "name of the job (default: petbox- and the time)", Value("NAME", _check_name)
    ] = None
    accept: Annotated[str | None, "content type of the responses, as in image/jpeg", "TYPE"] = None
    instance_type: Annotated[
        str | None,
        "instance type (default: the endpoint's, or as `petbox endpoint up` chooses it)",
        shared.INSTANCE_TYPE,
    ] = None
    instance_count: Annotated[int, "number of instances; they divide the files", shared.COUNT] = 1
    concurrency: Annotated[
        int | None, "concurrent calls for each instance (default: the container's)", shared.COUNT
    ] = None
    tag: shared.Tags = ()
    every: shared.Every = 10.0
    json: Json = False
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False
    follow: Annotated[str | None, "follow an existing job", shared.JOB] = None
    stop: Annotated[str | None, "stop a job", shared.JOB] = None

    def __post_init__(self) -> None:
        if shared.check_other_action(self, OTHER_ACTIONS, SHARED):
            pass
        elif self.source is None or self.destination is None:
            raise ValueError("the following arguments are required: SOURCE, DESTINATION")
        elif self.endpoint is None:
            if self.image is None:
                raise ValueError("give --endpoint, or the model by --image")
        else:
            for name in OF_A_MODEL:
                if getattr(self, name) not in (None, (), False):
                    raise ValueError(f"--endpoint and {flag(self, name)} exclude each other")
        check(self)
        shared.check_vpc(self)
        if self.source and self.destination and _under(self.destination, self.source):
            raise ValueError("DESTINATION is inside SOURCE, so a later job would read it as input")


def _under(one: str, other: str) -> bool:
    return f"{one.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")
