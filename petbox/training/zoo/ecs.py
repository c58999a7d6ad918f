"""Trains the smallest model as a task on ECS (Fargate), and follows its log to its end."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from typing import Any

from petbox.aws import names, request_check, session
from petbox.aws.logs import LogTail, PrintedLog
from petbox.aws.session import Account
from petbox.aws.wait import until
from petbox.cli import options as typed
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.training.zoo.options import ON_ECS, TrainOptions

NAME = "petbox-zoo"
CONTAINER = "train"
LOG_GROUP = f"/ecs/{NAME}"
STREAMS = "train"
SECONDS_TO_SAVE = 120  # the longest that Fargate grants a container after SIGTERM
PROCESSORS = {"x86_64": "X86_64", "arm64": "ARM64"}


def task_definition(options: TrainOptions) -> dict[str, Any]:
    """RegisterTaskDefinition's request."""
    assert options.image and options.role  # checked by the options
    region = names.image_parts(options.image)["region"]
    execution = re.sub(":role/.*", ":role/ecsTaskExecutionRole", options.role)
    container = {
        "name": CONTAINER,
        "image": options.image,
        "essential": True,
        "environment": [{"name": "AWS_DEFAULT_REGION", "value": region}],
        "stopTimeout": SECONDS_TO_SAVE,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": LOG_GROUP,
                "awslogs-region": region,
                "awslogs-stream-prefix": STREAMS,
            },
        },
    }
    return {
        "family": NAME,
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(options.cpu),
        "memory": str(options.memory),
        "runtimePlatform": {
            "operatingSystemFamily": "LINUX",
            "cpuArchitecture": PROCESSORS[options.architecture],
        },
        "executionRoleArn": options.execution_role or execution,
        "taskRoleArn": options.role,
        "containerDefinitions": [container],
    }


def run_task(options: TrainOptions, definition: str = NAME) -> dict[str, Any]:
    """RunTask's request."""
    here = {field.name for field in dataclasses.fields(options)} - {*ON_ECS, "on"}
    network = {
        "subnets": list(options.subnet),
        "assignPublicIp": "ENABLED" if options.public_ip else "DISABLED",
    }
    if options.security_group:
        network["securityGroups"] = list(options.security_group)
    return {
        "cluster": options.cluster,
        "launchType": "FARGATE",
        "taskDefinition": definition,
        "networkConfiguration": {"awsvpcConfiguration": network},
        "overrides": {
            "containerOverrides": [{"name": CONTAINER, "command": typed.words(options, here)}]
        },
    }


def train(options: TrainOptions) -> None:
    definition = task_definition(options)
    if options.dry_run:
        calls = {"RegisterTaskDefinition": definition, "RunTask": run_task(options)}
        print(json.dumps(calls, indent=2))
        return
    account = Account()
    account.check_image_region(str(options.image))
    ecs, logs = account.client("ecs"), account.client("logs")
    request_check.check(ecs, "register_task_definition", definition, NAME)
    with session.calling(f"log group {LOG_GROUP}", "ResourceAlreadyExistsException"):
        logs.create_log_group(logGroupName=LOG_GROUP)
    with session.calling(f"task definition {NAME}"):
        registered = ecs.register_task_definition(**definition)["taskDefinition"]
    with session.calling(f"cluster {options.cluster}"):
        answer = ecs.run_task(**run_task(options, registered["taskDefinitionArn"]))
    if answer["failures"]:
        why = answer["failures"][0].get("reason", "no reason given")
        raise ServiceError(f"cluster {options.cluster}: the task cannot run: {why}")
    (task,) = answer["tasks"]
    arn = task["taskArn"]
    if options.detach:
        say(f"started; its log: aws logs tail {LOG_GROUP} --follow")
        print(arn)
        return
    tail = LogTail(logs, LOG_GROUP, f"{STREAMS}/{CONTAINER}/{arn.rpartition('/')[2]}")
    try:
        say(f"running {arn}")
        _follow(ecs, PrintedLog(tail, lambda line: line.stream), arn, options)
    except KeyboardInterrupt:
        stop = f"aws ecs stop-task --cluster {options.cluster} --task {arn}"
        say(f"interrupted here; the task continues; stop it: {stop}")
        sys.exit(130)


def _follow(ecs: Any, log: PrintedLog, arn: str, options: TrainOptions) -> None:
    def poll() -> dict[str, Any]:
        with session.calling(f"task {arn}"):
            tasks = ecs.describe_tasks(cluster=options.cluster, tasks=[arn])["tasks"]
        if not tasks:  # for a moment after its start
            raise session.Unavailable(f"task {arn}: not found in cluster {options.cluster}")
        log.print_new()
        return dict(tasks[0])

    task = until(
        lambda task: bool(task["lastStatus"] == "STOPPED"), poll, lambda: time.sleep(options.every)
    )
    time.sleep(options.every)  # the last lines arrive late
    log.print_new()
    codes = [one.get("exitCode") for one in task["containers"] if one["name"] == CONTAINER]
    if codes != [0]:
        why = task.get("stoppedReason", "no reason given").rstrip(".")
        code = "" if codes in ([], [None]) else f" with exit code {codes[0]}"
        raise ServiceError(f"task {arn}: ended{code}: {why}; its log: aws logs tail {LOG_GROUP}")
