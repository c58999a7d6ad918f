"""The options of `petbox transform`, and all checks of them before anything is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL, Json
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.options import INSTANCE_TYPE
from petbox.sagemaker.option_checks import (
    EVERY,
    Check,
    check_all,
    check_environment,
    check_model_data,
    check_other_action,
    check_tags,
    check_vpc,
    each,
    flag,
    one_or_more,
)

LONGEST_NAME = names.LONGEST - len("-transform")  # the suffix of its model's name
NEEDED = ("image", "role")
OF_A_MODEL = ("image", "role", "model_data", "env", "subnet", "security_group")
OTHER_ACTIONS = ("follow", "stop")
SHARED = ("every", "json")


@dataclass(frozen=True)
class TransformOptions:
    source: Annotated[
        str | None, "s3://… with images, JSON Lines (.jsonl) or requests (.json)", POSITIONAL
    ] = None
    destination: Annotated[str | None, "s3://… for the responses, FILE.out each", POSITIONAL] = None
    endpoint: Annotated[str | None, "use the model of this endpoint", "NAME"] = None
    image: Annotated[str | None, "or else: serving image in ECR", "URI"] = None
    role: Annotated[str | None, "role that the container runs under", "ARN"] = None
    model_data: Annotated[str | None, "s3://…/model.tar.gz of `petbox endpoint package`", "S3"] = (
        None
    )
    env: Annotated[tuple[str, ...], "environment variable of the container", "KEY=VALUE"] = ()
    subnet: Annotated[tuple[str, ...], "of a VPC that the container may reach", "ID"] = ()
    security_group: Annotated[tuple[str, ...], "of a VPC that the container may reach", "ID"] = ()
    name: Annotated[str | None, "name of the job (default: petbox- and the time)"] = None
    accept: Annotated[str | None, "content type of the responses, as in image/jpeg", "TYPE"] = None
    instance_type: Annotated[str, "instance type", "TYPE"] = INSTANCE_TYPE
    instance_count: Annotated[int, "number of instances; they divide the files", "N"] = 1
    concurrency: Annotated[
        int | None, "concurrent calls for each instance (default: the container's)", "N"
    ] = None
    tag: Annotated[tuple[str, ...], "tag of all resources", "KEY=VALUE"] = ()
    every: Annotated[float, "seconds between polls", "S"] = 10.0
    json: Json = False
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False
    follow: Annotated[str | None, "follow an existing job", "NAME"] = None
    stop: Annotated[str | None, "stop a job", "NAME"] = None

    def __post_init__(self) -> None:
        if check_other_action(self, OTHER_ACTIONS, SHARED):
            pass
        elif self.source is None or self.destination is None:
            raise ValueError("the following arguments are required: SOURCE, DESTINATION")
        elif self.endpoint is None:
            missing = [flag(self, name) for name in NEEDED if getattr(self, name) is None]
            if missing:
                raise ValueError(f"give --endpoint, or the model: {', '.join(missing)}")
        else:
            for name in OF_A_MODEL:
                if getattr(self, name) not in (None, ()):
                    raise ValueError(f"--endpoint and {flag(self, name)} exclude each other")
        check_all(self, CHECKS)
        check_vpc(self)
        if self.source and self.destination and _under(self.destination, self.source):
            raise ValueError("DESTINATION is inside SOURCE, so a later job would read it as input")


def _under(one: str, other: str) -> bool:
    return f"{one.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _check_job(text: str) -> None:
    aws_names.check_name(text)
    if len(text) > LONGEST_NAME:
        raise ValueError(f"{text!r} has {len(text)} characters; the maximum is {LONGEST_NAME}")


CHECKS: dict[str, Check] = {
    "source": aws_names.check_s3,
    "destination": aws_names.check_s3,
    "endpoint": names.check,
    "image": aws_names.check_image,
    "role": aws_names.check_role,
    "model_data": check_model_data,
    "env": check_environment,
    "subnet": each(aws_names.check_subnet),
    "security_group": each(aws_names.check_security_group),
    "name": _check_job,
    "instance_type": aws_names.check_instance_type,
    "instance_count": one_or_more,
    "concurrency": one_or_more,
    "tag": check_tags,
    "every": EVERY,
    "follow": aws_names.check_name,
    "stop": aws_names.check_name,
}
