"""`petbox transform`'s options: a folder in S3, where its answers go, and the model to ask.

Whatever is wrong with a wish is told here, before anything is called. Imports no boto3.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from petbox.aws import names as aws_names
from petbox.cli.options import POSITIONAL
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.checks import (
    EVERY,
    Check,
    check_all,
    check_environment,
    check_model_data,
    check_tags,
    each,
    flag,
    one_or_more,
)
from petbox.sagemaker.endpoint.options import INSTANCE_TYPE

LONGEST_NAME = names.LONGEST - len("-transform")  # which its model's name has besides
NEEDED = ("image", "role")
OF_A_MODEL = ("image", "role", "model_data", "env", "subnet", "security_group")
OTHER_VERBS = ("follow", "stop")
SHARED = ("every",)


@dataclass(frozen=True)
class TransformOptions:
    source: Annotated[
        str | None, "s3://… with pictures, JSON Lines (.jsonl) or requests (.json)", POSITIONAL
    ] = None
    destination: Annotated[str | None, "s3://… for the answers, FILE.out each", POSITIONAL] = None
    endpoint: Annotated[str | None, "ask the model of this endpoint", "NAME"] = None
    image: Annotated[str | None, "or else: the serving image in ECR", "URI"] = None
    role: Annotated[str | None, "the role that the container runs under", "ARN"] = None
    model_data: Annotated[str | None, "s3://…/model.tar.gz of `petbox endpoint package`", "S3"] = (
        None
    )
    env: Annotated[tuple[str, ...], "for the container", "KEY=VALUE"] = ()
    subnet: Annotated[tuple[str, ...], "reach into a VPC", "ID"] = ()
    security_group: Annotated[tuple[str, ...], "reach into a VPC", "ID"] = ()
    name: Annotated[str | None, "of the job (default: petbox- and the time)"] = None
    accept: Annotated[str | None, "what to answer with, as image/jpeg", "TYPE"] = None
    instance_type: Annotated[str, "what to run on", "TYPE"] = INSTANCE_TYPE
    instance_count: Annotated[int, "how many of them; they share the files out", "N"] = 1
    concurrency: Annotated[
        int | None, "calls at once on each (default: as the container says)", "N"
    ] = None
    tag: Annotated[tuple[str, ...], "labels for the bill", "KEY=VALUE"] = ()
    every: Annotated[float, "seconds between two looks at the job", "S"] = 10.0
    dry_run: Annotated[bool, "print the calls as JSON; look, but change nothing"] = False
    follow: Annotated[str | None, "follow a job that is there already", "NAME"] = None
    stop: Annotated[str | None, "stop a job", "NAME"] = None

    def __post_init__(self) -> None:
        verb = next((verb for verb in OTHER_VERBS if getattr(self, verb) is not None), None)
        if verb:
            self._refuse_beside(verb)
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
        if bool(self.subnet) != bool(self.security_group):
            raise ValueError("--subnet and --security-group are given together or not at all")
        if self.source and self.destination and _under(self.destination, self.source):
            raise ValueError("DESTINATION lies under SOURCE, and a later job would ask it again")

    def _refuse_beside(self, verb: str) -> None:
        """An option that would be ignored is one that was misunderstood."""
        for field in fields(self):
            if field.name not in (verb, *SHARED) and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"{flag(self, verb)} and {flag(self, field.name)} exclude each other"
                )


def _under(one: str, other: str) -> bool:
    return f"{one.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _check_job(text: str) -> None:
    aws_names.check_name(text)
    if len(text) > LONGEST_NAME:
        raise ValueError(f"{text!r} has {len(text)} characters, and {LONGEST_NAME} are the most")


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
