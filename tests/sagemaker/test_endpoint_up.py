"""`petbox endpoint up` and `down` as commands: the whole life of an endpoint."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION, no_credentials, rejection
from support.endpoint_aws import (
    IMAGE,
    REPOSITORY,
    ROLE,
    SOON,
    UP,
    AwsProxy,
    by_digest,
    command,
    done,
    failed,
    petbox,
    shown,
)

from petbox.aws.image import DOCKER
from petbox.cli.main import main
from petbox.sagemaker.endpoint import names

pytestmark = pytest.mark.usefixtures("forgotten")
NOW = int(time.time() * 1000)
ARN = f"arn:aws:sagemaker:{REGION}:123456789012:endpoint/"


def up(aws: AwsProxy, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return petbox(aws.env, "endpoint", "up", name, *UP, *words)


def down(aws: AwsProxy, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return petbox(aws.env, "endpoint", "down", name, *SOON, *words)


def variant(request: dict[str, Any]) -> dict[str, Any]:
    (one,) = request["ProductionVariants"]
    return dict(one)


# Its life


def test_an_endpoint_is_created_left_unchanged_and_deleted(aws: AwsProxy) -> None:
    scaled = ("--autoscale", "2..4", "--target", "70.5", "--tag", "team=pets")
    first = done(up(aws, "life", *scaled))
    assert first.stdout == "life\n"
    assert aws.changes() == [
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "RegisterScalableTarget",
        "PutScalingPolicy",
    ]
    (model,) = aws.requests("CreateModel")
    (config,) = aws.requests("CreateEndpointConfig")
    (endpoint,) = aws.requests("CreateEndpoint")
    assert re.fullmatch("life-[0-9a-f]{10}", model["ModelName"])
    assert re.fullmatch("life-[0-9a-f]{10}", config["EndpointConfigName"])
    assert variant(config)["ModelName"] == model["ModelName"]
    assert variant(config)["InitialInstanceCount"] == 2
    assert endpoint["EndpointConfigName"] == config["EndpointConfigName"]
    tags = [{"Key": "team", "Value": "pets"}, {"Key": "petbox:made-for", "Value": "life"}]
    assert model["Tags"] == config["Tags"] == endpoint["Tags"] == tags
    (target,) = aws.requests("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)
    assert target["ResourceId"] == "endpoint/life/variant/AllTraffic"

    aws.calls.clear()
    again = done(up(aws, "life", *scaled))
    assert (again.stdout, aws.changes()) == ("life\n", [])
    assert "life is unchanged" in again.stderr

    without_yes = command(aws.env, "endpoint", "down", "life")
    declined = subprocess.run(
        **without_yes, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert "stdin is not a terminal; pass --yes to confirm" in failed(declined)
    assert aws.changes() == []
    gone = done(down(aws, "life", "--yes"))
    assert aws.changes() == [
        "DeleteScalingPolicy",
        "DeregisterScalableTarget",
        "DeleteEndpoint",
        "DeleteEndpointConfig",
        "DeleteModel",
    ]
    assert f"kept: the image {IMAGE}" in gone.stderr

    aws.calls.clear()
    twice = done(down(aws, "life", "--yes"))
    assert (twice.stderr, aws.changes()) == ("life: nothing to delete\n", [])


def test_what_no_flag_removes_is_confirmed(aws: AwsProxy) -> None:
    words = ("--autoscale", "1..4", "--target", "70", "--ttl", "2h", "--env", "LIMIT=2")
    done(up(aws, "asked", *words, "--dashboard"))
    aws.calls.clear()
    gone = ("--no-autoscale", "--no-ttl", "--no-env", "LIMIT", "--no-dashboard")
    refused = petbox(aws.env, "endpoint", "up", "asked", *SOON, *gone)
    removed = "dashboard, autoscale, target, env.LIMIT, expires, ttl_role"
    line = failed(refused)
    assert line.startswith("error: endpoint asked: removes ") and line.endswith(
        "; pass --yes to confirm"
    )
    assert set(removed.split(", ")) == set(line.split("removes ")[1].split(";")[0].split(", "))
    assert "  - autoscale: 1..4\n" in refused.stderr and aws.changes() == []
    dry = petbox(aws.env, "endpoint", "up", "asked", *SOON, "--no-ttl", "--dry-run")
    assert [call for call, _ in shown(dry)] == [
        "scheduler.delete_schedule",
        "sagemaker.delete_tags",
    ]
    done(petbox(aws.env, "endpoint", "up", "asked", *SOON, *gone[:2], "--yes"))
    assert {"DeleteScalingPolicy", "DeleteSchedule"} <= set(aws.changes())

    done(up(aws, "counted", "--instance-count", "2"))
    scaled = ("--autoscale", "1..4", "--target", "70")
    done(petbox(aws.env, "endpoint", "up", "counted", *SOON, *scaled))  # removes nothing by name


def test_with_json_up_and_down_print_one_object(aws: AwsProxy) -> None:
    assert json.loads(done(up(aws, "facts", "--json")).stdout) == {
        "endpoint": "facts",
        "changed": True,
        "expires": None,
    }
    again = petbox(aws.env, "endpoint", "up", "facts", *SOON, "--json")  # no image, no role
    assert json.loads(done(again).stdout)["changed"] is False
    expires = json.loads(done(up(aws, "facts", "--ttl", "2h", "--json")).stdout)["expires"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", expires)
    gone = json.loads(done(down(aws, "facts", "--json", "-y")).stdout)
    assert gone["endpoint"] == "facts"
    assert {"endpoint facts", "schedule petbox-facts"} <= set(gone["deleted"])
    nothing = json.loads(done(down(aws, "facts", "--json", "-y")).stdout)
    assert nothing == {"endpoint": "facts", "deleted": []}


def test_a_dry_run_shows_every_call_and_makes_none(aws: AwsProxy) -> None:
    words = ("--ttl", "2h", "--autoscale", "1..4", "--target", "70")
    calls = shown(up(aws, "dry", *words, "--dry-run"))
    assert [name for name, _ in calls] == [
        "scheduler.create_schedule",
        "sagemaker.create_model",
        "sagemaker.create_endpoint_config",
        "sagemaker.create_endpoint",
        "until the endpoint is in service",
        "application-autoscaling.register_scalable_target",
        "application-autoscaling.put_scaling_policy",
    ]
    assert aws.changes() == []
    done(up(aws, "dry"))
    calls = shown(down(aws, "dry", "--dry-run"))
    assert [name for name, _ in calls] == [
        "sagemaker.delete_endpoint",
        "until the endpoint is gone",
        "sagemaker.delete_endpoint_config",
        "sagemaker.delete_model",
    ]
    assert "DeleteEndpoint" not in aws.names()


def test_down_removes_what_interrupted_commands_left(aws: AwsProxy) -> None:
    aws.instead["CreateEndpoint"] = lambda _: rejection("ResourceLimitExceeded", "limit is 0.")
    result = up(aws, "parts", "--ttl", "1h")
    line = failed(result)
    assert "ResourceLimitExceeded: limit is 0" in line and "Service Quotas" in line
    assert re.search(
        "created so far: schedule petbox-parts, model parts-.{10}, endpoint configuration parts-",
        result.stderr,
    )
    aws.calls.clear()
    done(down(aws, "parts", "--yes"))
    assert aws.changes() == ["DeleteEndpointConfig", "DeleteModel", "DeleteSchedule"]


def test_a_terminal_is_asked_to_confirm(aws: AwsProxy) -> None:
    done(up(aws, "pets-tty"))

    def confirmed_with(word: bytes) -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()
        os.write(ours, word + b"\n")
        try:
            typed = command(aws.env, "endpoint", "down", "pets-tty", *SOON)
            return subprocess.run(**typed, stdin=theirs, capture_output=True, timeout=60)
        finally:
            os.close(ours)
            os.close(theirs)

    declined = confirmed_with(b"n")
    assert "nothing was changed" in failed(declined)
    assert (
        "  endpoint pets-tty\n" in declined.stderr
        and "delete all of these? [y/N]" in declined.stderr
    )
    assert "DeleteEndpoint" not in aws.names()
    done(confirmed_with(b"y"))
    assert "DeleteEndpoint" in aws.names()


# Changes: moto answers UpdateEndpoint with 500, so the proxy responds


def changing(aws: AwsProxy, name: str, *, polls: int = 2, fails: str = "") -> None:
    """From UpdateEndpoint on, an endpoint that needs `polls` polls to be as requested."""
    state: dict[str, Any] = {}

    def update(request: dict[str, Any]) -> dict[str, Any]:
        state.update(config=request["EndpointConfigName"], polls=polls, began=time.time())
        if fails:
            write_log(aws, name, "AllTraffic/new", "no SavedModel; found: nothing")
        return {"EndpointArn": ARN + name}

    def describe(response: dict[str, Any]) -> dict[str, Any]:
        if not state or response["EndpointName"] != name:
            return response
        if state["polls"]:
            state["polls"] -= 1
            pending = {"EndpointConfigName": state["config"], "StartTime": state["began"]}
            return {**response, "EndpointStatus": "Updating", "PendingDeploymentSummary": pending}
        if fails:
            return {**response, "FailureReason": fails}
        return {**response, "EndpointConfigName": state["config"]}

    aws.instead["UpdateEndpoint"] = update
    aws.amended["DescribeEndpoint"] = describe


def test_another_image_replaces_the_model_and_the_configuration(aws: AwsProxy) -> None:
    done(up(aws, "change"))
    (old_model,) = (one["ModelName"] for one in aws.requests("CreateModel"))
    (old,) = (one["EndpointConfigName"] for one in aws.requests("CreateEndpointConfig"))
    aws.calls.clear()
    changing(aws, "change")
    result = done(up(aws, "change", "--image", f"{REPOSITORY}:2", "--env", "A=b=c"))
    assert aws.changes() == [
        "CreateModel",
        "CreateEndpointConfig",
        "UpdateEndpoint",
        "DeleteEndpointConfig",
        "DeleteModel",
    ]
    (model,) = aws.requests("CreateModel")
    assert model["PrimaryContainer"] == {"Image": by_digest("2"), "Environment": {"A": "b=c"}}
    assert aws.requests("DeleteModel") == [{"ModelName": old_model}]
    assert aws.requests("DeleteEndpointConfig") == [{"EndpointConfigName": old}]
    assert "[Updating] change" in result.stderr and "[InService] change" in result.stderr


def test_a_tag_that_moves_changes_nothing_until_it_is_named_again(aws: AwsProxy) -> None:
    """SageMaker would pull it for an instance that starts later."""
    done(up(aws, "moved", "--image", f"{REPOSITORY}:2"))
    changing(aws, "moved")
    moved = by_digest("3").partition("@")[2]
    manifest = json.dumps({"mediaType": DOCKER, "config": {"digest": moved}})
    image = {"imageId": {"imageDigest": moved}, "imageManifest": manifest}
    aws.instead["BatchGetImage"] = lambda _: {"images": [image]}
    done(petbox(aws.env, "endpoint", "up", "moved", "--env", "A=b", *SOON))
    again = ("--image", f"{REPOSITORY}:2", "--dry-run")
    plan = done(petbox(aws.env, "endpoint", "up", "moved", *again)).stderr
    assert f"~ image: {by_digest('2')} -> {by_digest('3')}\n" in plan
    made = [one["PrimaryContainer"]["Image"] for one in aws.requests("CreateModel")]
    assert made == [by_digest("2")] * 2

    aws.instead["BatchGetImage"] = lambda _: rejection("AccessDeniedException", "not allowed")
    result = done(up(aws, "hidden", "--image", f"{REPOSITORY}:2"))
    assert f"{REPOSITORY}:2: no digest, so an instance that starts later" in result.stderr
    (*_, model) = aws.requests("CreateModel")
    assert model["PrimaryContainer"]["Image"] == f"{REPOSITORY}:2"


def test_an_update_keeps_as_many_instances_as_the_load_has_called_for(aws: AwsProxy) -> None:
    scaled = ("--autoscale", "1..4", "--target", "70")
    done(up(aws, "keep", *scaled))
    aws.calls.clear()
    changing(aws, "keep")
    done(up(aws, "keep", *scaled, "--capture", "s3://pets-bucket/seen"))
    assert aws.changes() == ["CreateEndpointConfig", "UpdateEndpoint", "DeleteEndpointConfig"]
    (update,) = aws.requests("UpdateEndpoint")
    assert update["RetainAllVariantProperties"] is True
    excluded = [one["VariantPropertyType"] for one in update["ExcludeRetainedVariantProperties"]]
    assert excluded == ["DesiredWeight", "DataCaptureConfig"]


def test_scaling_makes_way_for_another_instance_type_and_comes_back(aws: AwsProxy) -> None:
    done(up(aws, "type", "--autoscale", "1..4", "--target", "70"))
    morning = {"ScheduledActionName": "mornings", "Schedule": "cron(0 7 * * ? *)"}
    aws.client("application-autoscaling").put_scheduled_action(**names.scaled("type"), **morning)
    aws.calls.clear()
    changing(aws, "type")
    done(up(aws, "type", "--instance-type", "ml.g4dn.xlarge"))
    assert aws.changes() == [
        "CreateEndpointConfig",
        "AddTags",
        "DeleteScalingPolicy",
        "DeregisterScalableTarget",
        "UpdateEndpoint",
        "RegisterScalableTarget",
        "PutScalingPolicy",
        "PutScheduledAction",
        "DeleteTags",
        "DeleteEndpointConfig",
    ]
    (noted,) = aws.requests("AddTags")
    assert noted["Tags"] == [{"Key": "petbox:scaling", "Value": "1..4 70"}]
    (target,) = aws.requests("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)


def test_a_rollback_finds_its_scaling_as_it_was(aws: AwsProxy) -> None:
    done(up(aws, "back", "--autoscale", "1..4", "--target", "70"))
    aws.calls.clear()
    changing(aws, "back", fails="The container did not pass the ping health check.")
    words = ("--instance-type", "ml.g4dn.xlarge", "--autoscale", "2..6")
    result = up(aws, "back", *words)
    assert "the update failed" in failed(result)
    assert "removed so far" not in result.stderr
    (target,) = aws.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=["endpoint/back/variant/AllTraffic"]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    tags = aws.client("sagemaker").list_tags(ResourceArn=f"{ARN}back")["Tags"]
    assert [one["Key"] for one in tags] == ["petbox:made-for"]


def test_an_alarm_calls_the_policy_that_starts_the_first_instance(aws: AwsProxy) -> None:
    words = ("--async", "s3://pets-bucket/out", "--autoscale", "0..4", "--target", "2")
    done(up(aws, "later", *words))
    cloudwatch, scaling = aws.client("cloudwatch"), aws.client("application-autoscaling")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["petbox-later-wake"])["MetricAlarms"]
    policies = scaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId="endpoint/later/variant/AllTraffic"
    )["ScalingPolicies"]
    (wake,) = (one for one in policies if one["PolicyName"] == "petbox-wake")
    assert alarm["AlarmActions"] == [wake["PolicyARN"]]
    aws.calls.clear()
    done(up(aws, "later"))
    assert aws.changes() == []
    done(down(aws, "later", "--yes"))
    assert not cloudwatch.describe_alarms(AlarmNames=["petbox-later-wake"])["MetricAlarms"]


def test_alarms_watch_a_canary_and_go_with_the_endpoint(aws: AwsProxy) -> None:
    aws.client("logs").create_log_group(logGroupName="/aws/sagemaker/Endpoints/watch")
    done(up(aws, "watch"))
    aws.calls.clear()
    changing(aws, "watch")
    words = ("--alarms", "1500", "--canary", "10%", "--baking", "10m", "--alarm", "theirs")
    done(up(aws, "watch", "--env", "A=b", *words))
    (update,) = aws.requests("UpdateEndpoint")
    names = ("theirs", "petbox-watch-5xx", "petbox-watch-latency")
    assert update["DeploymentConfig"]["AutoRollbackConfiguration"] == {
        "Alarms": [{"AlarmName": name} for name in names]
    }
    assert aws.changes().index("PutMetricAlarm") < aws.changes().index("UpdateEndpoint")
    cloudwatch = aws.client("cloudwatch")
    assert len(cloudwatch.describe_alarms(AlarmNamePrefix="petbox-watch")["MetricAlarms"]) == 3
    aws.calls.clear()
    done(up(aws, "watch"))
    assert aws.changes() == []
    done(down(aws, "watch", "--yes"))
    assert cloudwatch.describe_alarms(AlarmNamePrefix="petbox-watch")["MetricAlarms"] == []
    assert aws.client("logs").describe_metric_filters()["metricFilters"] == []


def test_another_number_of_instances_needs_no_new_configuration(aws: AwsProxy) -> None:
    done(up(aws, "count"))
    aws.calls.clear()
    done(petbox(aws.env, "endpoint", "up", "count", "--instance-count", "3", *SOON))
    assert aws.changes() == ["UpdateEndpointWeightsAndCapacities"]
    assert "3 of ml.m5.xlarge" in done(petbox(aws.env, "endpoint", "status", "count")).stdout


def test_other_bounds_and_tags_need_no_new_configuration(aws: AwsProxy) -> None:
    done(up(aws, "bounds", "--autoscale", "1..4", "--target", "70"))
    aws.calls.clear()
    done(up(aws, "bounds", "--autoscale", "2..6", "--target", "70", "--tag", "team=pets"))
    assert aws.changes() == ["RegisterScalableTarget", "AddTags"]
    aws.calls.clear()
    done(up(aws, "bounds", "--autoscale", "2..6", "--target", "80", "--tag", "team=pets"))
    assert aws.changes() == ["PutScalingPolicy"]


def test_a_failed_update_is_reported_and_the_endpoint_still_serves(aws: AwsProxy) -> None:
    done(up(aws, "undone"))
    write_log(aws, "undone", "AllTraffic/old", "of the container that serves on")
    changing(aws, "undone", fails="The primary container did not pass the ping health check.")
    result = up(aws, "undone", "--image", f"{REPOSITORY}:2")
    line = failed(result)
    lines = [line[2:] for line in result.stderr.splitlines() if line.startswith("  ")]
    assert lines == ["no SavedModel; found: nothing"]
    assert line == (
        "error: endpoint undone: the update failed: The primary container did not pass the ping "
        "health check; it still serves as before; fix that, and run the same command again"
    )
    assert "DeleteModel" not in aws.names()


def test_what_sagemaker_already_does_is_awaited_not_repeated(aws: AwsProxy) -> None:
    done(up(aws, "busy"))
    aws.calls.clear()
    left = ["Creating", "Creating"]
    aws.amended["DescribeEndpoint"] = lambda response: (
        {**response, "EndpointStatus": left.pop()} if left else response
    )
    result = done(up(aws, "busy"))
    assert aws.changes() == [] and not left
    assert "[Creating] busy" in result.stderr


def test_a_failed_endpoint_is_recreated(aws: AwsProxy) -> None:
    done(up(aws, "anew"))
    aws.calls.clear()
    aws.amended["DescribeEndpoint"] = lambda response: (
        response
        if "DeleteEndpoint" in aws.names()
        else {**response, "EndpointStatus": "Failed", "FailureReason": "no"}
    )
    done(up(aws, "anew"))
    assert aws.changes() == ["DeleteEndpoint", "CreateEndpoint"]


def test_down_waits_until_sagemaker_allows_it(aws: AwsProxy) -> None:
    done(up(aws, "held"))
    tries: list[int] = []

    def delete(_: dict[str, Any]) -> Any:
        tries.append(1)
        text = f'Cannot update in-progress endpoint "{ARN}held".'
        return rejection("ValidationException", text) if len(tries) == 1 else None

    aws.instead["DeleteEndpoint"] = delete
    result = done(down(aws, "held", "--yes"))
    assert len(tries) == 2
    assert "waiting until SageMaker allows it" in result.stderr


def test_instances_are_not_made_serverless(aws: AwsProxy) -> None:
    done(up(aws, "solid"))
    aws.calls.clear()
    line = failed(up(aws, "solid", "--serverless", "4096,5"))
    assert "has instances, and SageMaker cannot make such an endpoint serverless" in line
    assert "petbox endpoint down solid" in line
    assert aws.changes() == []


def test_third_party_resources_are_left_unchanged(aws: AwsProxy) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_model(
        ModelName="theirs", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE
    )
    one = {
        "VariantName": "AllTraffic",
        "ModelName": "theirs",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[one])
    sagemaker.create_endpoint(EndpointName="theirs", EndpointConfigName="theirs")
    aws.calls.clear()
    assert "was not created by petbox" in failed(up(aws, "theirs"))
    assert "was not created by petbox" in failed(down(aws, "theirs", "--yes"))
    assert aws.changes() == []
    assert "theirs" not in done(petbox(aws.env, "endpoint", "list")).stdout


# Failures


def write_log(aws: AwsProxy, name: str, stream: str, *texts: str) -> None:
    logs = aws.client("logs")
    group = f"/aws/sagemaker/Endpoints/{name}"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": NOW + n, "message": text} for n, text in enumerate(texts)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_the_containers_last_lines_are_printed_if_it_fails_to_start(aws: AwsProxy) -> None:
    reason = (
        "The primary container for production variant AllTraffic did not pass the ping\n check."
    )
    aws.amended["DescribeEndpoint"] = lambda response: {
        **response,
        "EndpointStatus": "Failed",
        "FailureReason": reason,
    }
    texts = [*(f"line {n}" for n in range(30)), "no SavedModel; found: nothing"]
    write_log(aws, "sick", "AllTraffic/earlier", "of an earlier endpoint")

    def created(response: dict[str, Any]) -> dict[str, Any]:
        write_log(aws, "sick", "AllTraffic/i-1", *texts)
        return response

    aws.amended["CreateEndpoint"] = created
    result = up(aws, "sick")
    line = failed(result)
    assert line.startswith(
        "error: endpoint sick: failed: The primary container for production variant AllTraffic did "
        "not pass the ping check; fix that and run the same command again"
    )
    lines = [line[2:] for line in result.stderr.splitlines() if line.startswith("  ")]
    assert lines == texts[-20:]
    assert re.search("created so far: .*endpoint sick", result.stderr)


def test_without_permission_for_the_log_only_the_reason_is_reported(aws: AwsProxy) -> None:
    aws.amended["DescribeEndpoint"] = lambda response: {
        **response,
        "EndpointStatus": "Failed",
        "FailureReason": "Out of instances",
    }
    aws.instead["DescribeLogStreams"] = lambda _: rejection("AccessDeniedException", "not allowed")
    result = up(aws, "mute")
    assert "failed: Out of instances" in failed(result)
    assert "its container's last lines are not shown" in result.stderr


def test_ctrl_c_leaves_it_to_sagemaker_and_reports_how_to_continue(aws: AwsProxy) -> None:
    aws.amended["DescribeEndpoint"] = lambda response: {**response, "EndpointStatus": "Creating"}
    words = ("endpoint", "up", "patience", *UP)
    with subprocess.Popen(
        **command(aws.env, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("[Creating]"):
                break
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, output) == (130, "")
    assert re.match(
        "interrupted here; SageMaker continues; created so far: model patience-.*, endpoint "
        "patience; an endpoint costs money while it exists; continue: the same command, "
        "see: petbox endpoint status patience, delete: petbox endpoint down patience\n$",
        errors,
    )
    aws.amended.clear()
    aws.calls.clear()
    assert done(petbox(aws.env, *words)).stdout == "patience\n"
    assert aws.changes() == []


def interrupted(aws: AwsProxy, at: str, *words: str) -> str:
    """The last line of a command that gets Ctrl-C during a call."""

    def interrupt(_: object) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    aws.instead[at] = interrupt
    result = petbox(aws.env, *words)
    aws.instead.clear()
    assert result.returncode == 130 and "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def test_ctrl_c_in_down_reports_what_is_gone_and_how_to_continue(aws: AwsProxy) -> None:
    done(up(aws, "stopped"))
    words = ("endpoint", "down", "stopped", "--yes", *SOON)
    assert re.fullmatch(
        "interrupted here; SageMaker continues; removed so far: endpoint stopped, (perhaps )?"
        "endpoint configuration stopped-[0-9a-f]{10}; what is left may cost money; continue: the "
        "same command, see: petbox endpoint status stopped",
        interrupted(aws, "DeleteEndpointConfig", *words),
    )
    done(petbox(aws.env, *words))
    assert aws.names("Delete")[-1] == "DeleteModel"


def test_ctrl_c_in_setup_reports_what_there_is_and_how_to_continue(aws: AwsProxy) -> None:
    words = ("setup", "--name", "stopped")
    roles = [f"role stopped-{kind}-{REGION}" for kind in ("endpoint", "training")]
    assert re.fullmatch(
        f"interrupted here; created or changed so far: {roles[0]}, {roles[1]}, role stopped-.*, "
        f"(perhaps )?bucket stopped-123456789012-{REGION}; continue: the same command with --yes",
        interrupted(aws, "CreateBucket", *words),
    )
    done(petbox(aws.env, *words, "--yes"))
    assert "nothing to create or change" in done(petbox(aws.env, *words)).stderr


def test_permission_for_schedules_and_scaling_is_not_required(aws: AwsProxy) -> None:
    denied = rejection("AccessDeniedException", "User: pets is not authorized", status=403)
    aws.instead["GetSchedule"] = lambda _: denied
    aws.instead["DescribeScalableTargets"] = lambda _: denied
    result = done(up(aws, "blind"))
    assert result.stderr.count("User: pets is not authorized") == 2
    result = done(down(aws, "blind", "--yes"))
    assert result.stderr.count("so there may be some left") == 2


def test_an_image_in_another_region_is_rejected_before_any_call(aws: AwsProxy) -> None:
    result = petbox({**aws.env, "AWS_REGION": "eu-west-1"}, "endpoint", "up", "far", *UP)
    assert f"{IMAGE}: the image is in us-east-1, but the region is eu-west-1" in failed(result)
    assert not aws.calls


def test_no_credentials_is_one_line(tmp_path: Path) -> None:
    env = {
        **no_credentials(tmp_path),
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    result = petbox(env, "endpoint", "up", "pets", *UP)
    assert "endpoint pets: no AWS credentials; log in" in failed(result)
    assert result.stderr.count("\n") == 1


# Its end, set when it is made


def test_an_expiry_is_set_before_costs_begin_moved_and_removed(aws: AwsProxy) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    result = done(up(aws, "end", "--ttl", "2h"))
    assert aws.changes()[0] == "CreateSchedule"
    scheduler = aws.client("scheduler")
    made = scheduler.get_schedule(Name="petbox-end")
    assert made["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint"
    assert json.loads(made["Target"]["Input"]) == {"EndpointName": "end"}
    assert made["Target"]["RoleArn"] == ROLE
    assert made["ActionAfterCompletion"] == "DELETE"
    end = datetime.strptime(made["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)")
    wait = end.replace(tzinfo=timezone.utc) - before
    assert timedelta(hours=2) <= wait <= timedelta(hours=2, minutes=2)
    assert f"end expires at {end:%Y-%m-%d %H:%M} UTC" in result.stderr

    aws.calls.clear()
    other = "arn:aws:iam::123456789012:role/Ender"
    done(up(aws, "end", "--ttl", "1d", "--ttl-role", other))
    assert aws.changes() == ["UpdateSchedule", "AddTags"]
    assert scheduler.get_schedule(Name="petbox-end")["Target"]["RoleArn"] == other

    aws.calls.clear()
    kept = done(up(aws, "end"))
    assert aws.changes() == [] and "end expires at" in kept.stderr
    done(up(aws, "end", "--no-ttl", "--yes"))
    assert aws.changes() == ["DeleteSchedule", "DeleteTags"]


def test_a_role_that_the_scheduler_cannot_assume_is_rejected_first(aws: AwsProxy) -> None:
    text = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    aws.instead["CreateSchedule"] = lambda _: rejection("ValidationException", text)
    line = failed(up(aws, "role", "--ttl", "2h"))
    assert "must trust scheduler.amazonaws.com and allow sagemaker:DeleteEndpoint" in line
    assert aws.changes() == ["CreateSchedule"]


# Invalid options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("my_pets",), "argument NAME: 'my_pets' is not a valid SageMaker name"),
        (("a" * 53,), "argument NAME: 'aaa"),
        (("pets", "--image", "petbox:1"), "argument --image: 'petbox:1' is not an image in ECR"),
        (("pets", "--role", "SageMaker"), "argument --role: 'SageMaker' is not the ARN of a role"),
        (("pets", "--model-data", "s3://b12/m.zip"), "argument --model-data: 's3://b12/m.zip'"),
        (("pets", "--env", "1A=b"), "argument --env: '1A' is not the name of a variable"),
        (("pets", "--env", f"A={'b' * 1025}"), "argument --env: A: has more than 1024"),
        (("pets", "--instance-type", "m5.large"), "write it like ml.m5.large"),
        (("pets", "--instance-count", "0"), "argument --instance-count: 0 is less than 1"),
        (("pets", "--ami", "x y"), "argument --ami: 'x y' is not a host image"),
        (("pets", "--serverless", "4096"), "argument --serverless: '4096' is not of the form"),
        (("pets", "--serverless", "4000,5"), "argument --serverless: 4000 is not a size of"),
        (("pets", "--serverless", "4096,201"), "a concurrency of 201 is not between 1 and 200"),
        (("pets", "--serverless", "4096,5", "--instance-count", "2"), "exclude each other"),
        (
            ("pets", "--serverless", "4096,5", "--autoscale", "1..2", "--target", "1"),
            "--serverless and --autoscale exclude each other",
        ),
        (("pets", "--serverless", "4096,5", "--capture", "s3://b12/x"), "exclude each other"),
        (("pets", "--metrics-every", "15"), "argument --metrics-every: 15 is not one of 0, 10, 30"),
        (("pets", "--async", "out/"), "argument --async: 'out/' is not an S3 address"),
        (("pets", "--notify-error", "x"), "argument --notify-error: 'x' is not the ARN of a topic"),
        (("pets", "--autoscale", "1-4", "--target", "1"), "argument --autoscale: '1-4' is not"),
        (("pets", "--autoscale", "4..1", "--target", "1"), "argument --autoscale: '4..1' is not"),
        (("pets", "--capture", "s3://b12/x", "--capture-percent", "101"), "not between 1 and 100"),
        (
            ("pets", "--canary", "60%"),
            "argument --canary: '60%' is not a percentage from 1% to 50%",
        ),
        (("pets", "--linear", "5%"), "argument --linear: '5%' is not a percentage from 10%"),
        (("pets", "--rolling", "20"), "argument --rolling: '20' is not a percentage from 5%"),
        (("pets", "--canary", "5%", "--rolling", "20%"), "--canary and --rolling exclude each"),
        (("pets", "--baking", "5m"), "--baking requires --canary, --linear, --rolling or --alarm"),
        (("pets", "--canary", "5%", "--baking", "2h"), "argument --baking: '2h' is longer than 1h"),
        (("pets", "--alarms", "0"), "argument --alarms: 0 is less than 1"),
        (("pets", "--health-timeout", "10"), "argument --health-timeout: 10 is not between 60"),
        (("pets", "--subnet", "subnet-1", "--no-vpc"), "exclude each other"),
        (("pets", "--tag", "petbox:x=1"), "which is reserved for petbox"),
        (("pets", "--ttl", "2"), "argument --ttl: '2' is not a duration; write it like 2h"),
        (("pets", "--ttl", ""), "argument --ttl: '' is not a duration"),
        (("pets", "--ttl", "9m"), "argument --ttl: '9m' is not between 10m and 365d"),
        (("pets", "--ttl-role", ROLE), "--ttl-role requires --ttl"),
        (("pets", "--every", "0"), "argument --every: 0 is not between 0.1"),
    ],
)
def test_invalid_options_are_rejected_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    given = [word for flag in ("--image", "--role") if flag not in words for word in PAIRS[flag]]
    with pytest.raises(SystemExit) as ended:
        main(["endpoint", "up", *given, *words])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


PAIRS = {"--image": ("--image", IMAGE), "--role": ("--role", ROLE)}
