"""The options of `petbox zoo train`, all checked before anything is read or called."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from petbox.aws import names
from petbox.cli.options import Value, at_least, between, check, each, flag

ON_ECS = (
    "image",
    "role",
    "execution_role",
    "cluster",
    "subnet",
    "security_group",
    "public_ip",
    "architecture",
    "cpu",
    "memory",
    "every",
    "detach",
    "dry_run",
)
NEEDED_ON_ECS = ("image", "role", "subnet")
ROLE = Value("ARN", names.check_role)


def _check_rate(rate: float) -> None:
    if not 0 < rate < float("inf"):
        raise ValueError(f"{rate:g} is not above 0")


def _check_decay(decay: float) -> None:
    if not 0 <= decay < float("inf"):
        raise ValueError(f"{decay:g} is less than 0")


@dataclass(frozen=True)
class TrainOptions:
    data: Annotated[str, "CSV: a file, or s3://bucket/key", "CSV"]
    out: Annotated[
        str,
        "s3://bucket/prefix for weights, evaluation and checkpoints",
        Value("S3", names.check_s3),
    ]
    label: Annotated[
        str | None,
        "column to predict; the CSV then has a header (default: the UCI zoo data, without one)",
        "COLUMN",
    ] = None
    drop: Annotated[tuple[str, ...], "with --label: column to leave out", "COLUMN"] = ()
    steps: Annotated[int, "training steps, each with all rows", Value("N", at_least(1))] = 500
    learning_rate: Annotated[
        float | None,
        "of gradient descent with momentum (default: what suits the data)",
        Value("RATE", _check_rate),
    ] = None
    decay: Annotated[float, "L2 regularization", Value("DECAY", _check_decay)] = 0.01
    folds: Annotated[int, "of the cross-validation", Value("N", at_least(2))] = 10
    repeats: Annotated[
        int,
        "repetitions of the cross-validation, each with different folds",
        Value("N", at_least(1)),
    ] = 5
    seed: Annotated[
        int, "of the folds; training itself is deterministic", Value("N", at_least(0))
    ] = 0
    checkpoint_every: Annotated[int, "steps between checkpoints", Value("N", at_least(1))] = 100
    on: Annotated[Literal["here", "ecs"], "where to train: here, or as a task on ECS (Fargate)"] = (
        "here"
    )
    image: Annotated[
        str | None, "image of serverless/zoo/Dockerfile in ECR", Value("URI", names.check_image)
    ] = None
    role: Annotated[str | None, "role of the task, which reads and writes in S3", ROLE] = None
    execution_role: Annotated[
        str | None,
        "role that pulls the image and writes the log (default: ecsTaskExecutionRole)",
        ROLE,
    ] = None
    cluster: Annotated[str, "cluster of the task", "NAME"] = "default"
    subnet: Annotated[
        tuple[str, ...], "subnet of the task", Value("ID", each(names.check_subnet))
    ] = ()
    security_group: Annotated[
        tuple[str, ...],
        "security group of the task (default: the VPC's own)",
        Value("ID", each(names.check_security_group)),
    ] = ()
    public_ip: Annotated[
        bool, "give the task an address, which a subnet without NAT or VPC endpoints needs"
    ] = False
    architecture: Annotated[
        Literal["x86_64", "arm64"], "processor that the image was built for"
    ] = "x86_64"
    cpu: Annotated[int, "its processor time; 1024 is one", Value("N", at_least(256))] = 1024
    memory: Annotated[int, "its memory", Value("MIB", at_least(2048))] = 2048
    every: Annotated[float, "seconds between polls of the task", Value("S", between(0.1, 3600))] = (
        5.0
    )
    detach: Annotated[bool, "start the task, print its ARN, and exit"] = False
    dry_run: Annotated[bool, "print the task definition and the call that runs it"] = False

    def __post_init__(self) -> None:
        check(self)
        if self.drop and self.label is None:
            raise ValueError("--drop requires --label")
        if self.on == "ecs":
            self._check_on_ecs()
        elif given := [
            flag(self, one.name)
            for one in fields(self)
            if one.name in ON_ECS and getattr(self, one.name) != one.default
        ]:
            raise ValueError(f"{given[0]} requires --on ecs")

    def _check_on_ecs(self) -> None:
        missing = [flag(self, name) for name in NEEDED_ON_ECS if not getattr(self, name)]
        if missing:
            raise ValueError(f"--on ecs requires {', '.join(missing)}")
        if not names.is_s3(self.data):
            raise ValueError("--on ecs requires --data in S3; upload it: aws s3 cp CSV s3://…")
        if self.detach and self.dry_run:
            raise ValueError("--detach and --dry-run exclude each other")
