"""`petbox zoo train --on ecs`: what it would call, what it calls, and how it follows the task."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION, Aws, in_turn, moto, no_credentials, recorded, rejection
from support.endpoint_aws import SOON, command, failed, petbox

from petbox.aws import request_check

IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/petbox-zoo:1"
ROLE = "arn:aws:iam::123456789012:role/petbox-zoo"
DATA = ("--data=s3://zoo/zoo.csv", "--out=s3://zoo/trained")
ECS = ("--on=ecs", f"--image={IMAGE}", f"--role={ROLE}", "--subnet=subnet-1", "--subnet=subnet-2")
TASK = f"arn:aws:ecs:{REGION}:123456789012:task/default/0123abcd"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        yield server


def planned(tmp_path: Path, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Without credentials, a region, or a server."""
    env = {**no_credentials(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = petbox(env, "zoo", "train", *DATA, *ECS, *words, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    calls = json.loads(done.stdout)
    return calls["RegisterTaskDefinition"], calls["RunTask"]


def test_ecs_takes_what_a_dry_run_prints(aws: Aws, tmp_path: Path) -> None:
    definition, call = planned(tmp_path)
    ecs = aws.client("ecs")
    made = ecs.register_task_definition(**definition)["taskDefinition"]
    assert (made["family"], int(made["memory"])) == (call["taskDefinition"], 2048)
    request_check.check(ecs, "run_task", call, "the task")
    network = call["networkConfiguration"]["awsvpcConfiguration"]
    assert network == {"subnets": ["subnet-1", "subnet-2"], "assignPublicIp": "DISABLED"}
    assert call["launchType"] == "FARGATE"


def test_the_task_runs_the_same_command(tmp_path: Path) -> None:
    more = ("--label=kind", "--drop=id", "--drop=my name", "--decay=0.1", "--every=9")
    _, call = planned(tmp_path, *more)
    (override,) = call["overrides"]["containerOverrides"]
    assert override["command"] == [*DATA, *more[:-1]]


def test_each_flag_changes_the_calls(tmp_path: Path) -> None:
    definition, call = planned(
        tmp_path,
        *("--architecture=arm64", "--cpu=512", "--memory=3072", "--cluster=mine", "--public-ip"),
        *("--security-group=sg-1", f"--execution-role={ROLE}-execution"),
    )
    assert definition["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    assert (definition["cpu"], definition["memory"]) == ("512", "3072")
    assert definition["executionRoleArn"] == f"{ROLE}-execution"
    assert call["cluster"] == "mine"
    network = call["networkConfiguration"]["awsvpcConfiguration"]
    assert (network["assignPublicIp"], network["securityGroups"]) == ("ENABLED", ["sg-1"])
    standard, _ = planned(tmp_path)
    assert standard["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert standard["executionRoleArn"] == ROLE.replace("petbox-zoo", "ecsTaskExecutionRole")
    assert standard["taskRoleArn"] == ROLE


def streams(_: Any) -> dict[str, Any]:
    return {"logStreams": [{"logStreamName": "train/train/0123abcd"}]}


def lines(_: Any) -> dict[str, Any]:
    events = [{"timestamp": 1, "message": "accuracy 0.958"}]
    return {"events": events, "nextForwardToken": "f/1", "nextBackwardToken": "b/1"}


def state(status: str, code: int | None = None, why: str = "") -> dict[str, Any]:
    container = {"name": "train", **({} if code is None else {"exitCode": code})}
    task = {"taskArn": TASK, "lastStatus": status, "containers": [container]}
    return {"tasks": [task | ({"stoppedReason": why} if why else {})], "failures": []}


def calls(*states: dict[str, Any], **others: Any) -> dict[str, Any]:
    registered = {"taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/a:7"}
    return {
        "CreateLogGroup": lambda _: {},
        "RegisterTaskDefinition": lambda _: {"taskDefinition": registered},
        "RunTask": lambda _: state("PROVISIONING"),
        "DescribeTasks": in_turn(*states),
        "DescribeLogStreams": streams,
        "GetLogEvents": lines,
        **others,
    }


def test_a_task_is_followed_until_it_has_ended() -> None:
    exists = rejection("ResourceAlreadyExistsException", "it exists")
    unknown = {"tasks": [], "failures": [{"arn": TASK, "reason": "MISSING"}]}
    states = (unknown, state("PENDING"), state("RUNNING"), state("STOPPED", 0))
    with recorded(**calls(*states, CreateLogGroup=lambda _: exists)) as server:
        done = petbox(server.env, "zoo", "train", *DATA, *ECS, *SOON)
    assert (done.returncode, done.stdout) == (0, "s3://zoo/trained/weights.json\n")
    assert "accuracy 0.958\n" in done.stderr
    (run,) = (request for name, request in server.calls if name == "RunTask")
    assert run["taskDefinition"].endswith("task-definition/a:7")  # not whichever is the newest


def test_ctrl_c_leaves_the_task_running_and_says_how_to_stop_it() -> None:
    with recorded(**calls(state("RUNNING"))) as server:
        running = subprocess.Popen(
            **command(server.env, "zoo", "train", *DATA, *ECS, *SOON),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with running:
            assert running.stderr is not None
            assert running.stderr.readline() == f"running {TASK}\n"
            running.send_signal(signal.SIGINT)
            output, errors = running.communicate(timeout=60)
    assert (running.returncode, output) == (130, "")
    stop = f"aws ecs stop-task --cluster default --task {TASK}"
    assert errors.endswith(f"interrupted here; the task continues; stop it: {stop}\n")
    assert "StopTask" not in server.names()


def test_a_detached_task_is_not_followed() -> None:
    with recorded(**calls()) as server:
        done = petbox(server.env, "zoo", "train", *DATA, *ECS, "--detach")
    assert (done.returncode, done.stdout) == (0, f"{TASK}\n")
    assert "DescribeTasks" not in server.names()


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (state("STOPPED", 1, "Essential container in task exited"), "ended with exit code 1: Ess"),
        (state("STOPPED", None, "CannotPullContainerError: no."), "ended: CannotPull"),
    ],
)
def test_a_task_that_failed_fails_the_command(last: dict[str, Any], why: str) -> None:
    with recorded(**calls(last)) as server:
        done = petbox(server.env, "zoo", "train", *DATA, *ECS, *SOON)
    assert done.returncode == 1 and not done.stdout
    error = done.stderr.splitlines()[-1]
    assert f"task {TASK}: {why}" in error and "aws logs tail /ecs/petbox-zoo" in error


def test_a_task_that_cannot_run_is_reported_with_the_reason() -> None:
    failures = {"tasks": [], "failures": [{"reason": "RESOURCE:ENI"}]}
    with recorded(**calls(RunTask=lambda _: failures)) as server:
        done = petbox(server.env, "zoo", "train", *DATA, *ECS)
    assert "cluster default: the task cannot run: RESOURCE:ENI" in failed(done)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--on=ecs",), "--on ecs requires --image, --role, --subnet"),
        ((*ECS, "--data=zoo.csv"), "--on ecs requires --data in S3"),
        ((*ECS, "--detach", "--dry-run"), "--detach and --dry-run exclude each other"),
        (("--dry-run",), "--dry-run requires --on ecs"),
        (("--subnet=subnet-1",), "--subnet requires --on ecs"),
        (("--drop=id",), "--drop requires --label"),
        ((*ECS, "--subnet=vpc-1"), "argument --subnet: 'vpc-1' is not an id"),
        (("--learning-rate=0",), "argument --learning-rate: 0 is not above 0"),
        (("--decay=-1",), "argument --decay: -1 is less than 0"),
        (("--folds=1",), "argument --folds: 1 is less than 2"),
        (("--out=zoo/",), "argument --out: 'zoo/' is not an S3 address"),
    ],
)
def test_options_that_do_not_go_together_are_rejected(
    tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    done = petbox(no_credentials(tmp_path), "zoo", "train", *DATA, *words)
    assert done.returncode == 2 and why in done.stderr
