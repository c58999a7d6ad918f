"""What `petbox endpoint up` plans, without AWS; and calls that moto does not support, by Stubber.

Every request is checked by botocore's own model of its service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

import pytest
from botocore.stub import Stubber
from support.aws import REGION
from support.endpoint_aws import IMAGE, REPOSITORY, ROLE

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.desired import Desired, desired
from petbox.sagemaker.endpoint.expiry import duration
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import GONE, IN_SERVICE, Call, Step, Wait, plan, removal

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
ARN = f"arn:aws:sagemaker:{REGION}:123456789012:endpoint/pets"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:pets"


def desired_with(**flags: Any) -> Desired:
    return desired(UpOptions("pets", IMAGE, ROLE, **flags), NOW)


def variant(state: Desired) -> dict[str, Any]:
    (one,) = state.config["ProductionVariants"]
    return dict(one)


def found(state: Desired, status: str = "InService", **more: Any) -> Actual:
    """All of `state`, as AWS describes it."""
    endpoint = {
        "EndpointName": "pets",
        "EndpointArn": ARN,
        "EndpointStatus": status,
        "EndpointConfigName": state.config_name,
    }
    state = Actual(
        endpoint=endpoint,
        tags=state.tags,
        config=state.config,
        configs=(state.config_name,),
        models=(state.model_name,),
        scaling=state.scaling,
        policies=(state.policy,) if state.policy else (),
        schedule=state.schedule,
    )
    return replace(state, **more)


def operations(steps: list[Step]) -> list[str]:
    return [step.operation if isinstance(step, Call) else step.until for step in steps]


def validate(steps: list[Step]) -> None:
    from botocore.validate import ParamValidator

    for step in steps:
        if isinstance(step, Call):
            client = _client(step.service)
            operation = client.meta.method_to_api_mapping[step.operation]
            shape = client.meta.service_model.operation_model(operation).input_shape
            report = ParamValidator().validate(step.request, shape)
            assert not report.has_errors(), f"{operation}: {report.generate_report()}"


@cache
def _client(service: str) -> Any:
    import boto3

    fake = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, region_name=REGION, **fake)


# The desired state

VARIATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "all that instances can have": {
        "model_data": "s3://pets-bucket/models/model.tar.gz",
        "env": ("A=b", "C=d=e"),
        "instance_type": "ml.g6.xlarge",  # newer than moto knows
        "instance_count": 3,
        "ami": "al2-ami-sagemaker-inference-gpu-3-1",
        "capture": "s3://pets-bucket/seen",
        "capture_percent": 5,
        "health_timeout": 900,
        "download_timeout": 600,
        "subnet": ("subnet-1", "subnet-2"),
        "security_group": ("sg-1",),
        "tag": ("team=pets",),
        "ttl": "1d12h",
    },
    "serverless": {"serverless": "4096,5"},
    "scaled": {"autoscale": "1..4", "target": 70.0},
    "asynchronous": {
        "async_": "s3://pets-bucket/answers",
        "async_errors": "s3://pets-bucket/failures",
        "async_concurrency": 4,
        "notify_success": TOPIC,
        "notify_error": TOPIC,
        "autoscale": "0..4",
        "target": 2.0,
    },
}


@pytest.mark.parametrize("flags", VARIATIONS.values(), ids=VARIATIONS)
def test_every_request_is_as_aws_wants_it(flags: dict[str, Any]) -> None:
    this = desired_with(**flags)
    validate(plan(this, Actual()))
    if "serverless" not in flags:  # which no instances become
        validate(plan(this, found(desired_with(env=("OLD=1",), autoscale="2..3", target=1.0))))
    validate(removal("pets", found(this)))


def test_every_option_is_in_the_requests() -> None:
    this = desired_with(**VARIATIONS["all that instances can have"])
    assert this.model["PrimaryContainer"] == {
        "Image": IMAGE,
        "ModelDataUrl": "s3://pets-bucket/models/model.tar.gz",
        "Environment": {"A": "b", "C": "d=e"},
    }
    assert this.model["VpcConfig"] == {
        "Subnets": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert variant(this) == {
        "VariantName": "AllTraffic",
        "ModelName": this.model_name,
        "InitialVariantWeight": 1.0,
        "InstanceType": "ml.g6.xlarge",
        "InitialInstanceCount": 3,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
        "ContainerStartupHealthCheckTimeoutInSeconds": 900,
        "ModelDataDownloadTimeoutInSeconds": 600,
    }
    capture = this.config["DataCaptureConfig"]
    assert capture["InitialSamplingPercentage"] == 5
    assert [one["CaptureMode"] for one in capture["CaptureOptions"]] == ["Input", "Output"]
    assert this.schedule is not None
    assert this.schedule["ScheduleExpression"] == "at(2026-11-23T00:00:00)"


def test_a_first_endpoint_is_one_small_instance() -> None:
    this = desired_with()
    assert variant(this)["InstanceType"] == "ml.m5.xlarge"
    assert variant(this)["InitialInstanceCount"] == 1
    assert (this.scaling, this.policy, this.schedule) == (None, None, None)


def test_serverless_has_no_instances() -> None:
    assert variant(desired_with(serverless="4096,5")) == {
        "VariantName": "AllTraffic",
        "ModelName": desired_with().model_name,
        "InitialVariantWeight": 1.0,
        "ServerlessConfig": {"MemorySizeInMB": 4096, "MaxConcurrency": 5},
    }


def test_async_scales_by_backlog_and_starts_with_one_instance() -> None:
    this = desired_with(**VARIATIONS["asynchronous"])
    assert this.config["AsyncInferenceConfig"] == {
        "OutputConfig": {
            "S3OutputPath": "s3://pets-bucket/answers",
            "S3FailurePath": "s3://pets-bucket/failures",
            "NotificationConfig": {"SuccessTopic": TOPIC, "ErrorTopic": TOPIC},
        },
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
    }
    assert this.scaling is not None and this.scaling["MinCapacity"] == 0
    assert variant(this)["InitialInstanceCount"] == 1
    assert this.policy is not None
    tracking = this.policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["CustomizedMetricSpecification"]["MetricName"] == (
        "ApproximateBacklogSizePerInstance"
    )


def test_the_same_options_have_the_same_names_and_others_have_others() -> None:
    def called(**flags: Any) -> tuple[str, str]:
        return desired_with(**flags).model_name, desired_with(**flags).config_name

    assert called() == called() == called(tag=("a=b",), ttl="2h")
    assert called(instance_count=2)[0] == called()[0]
    different = [called(**flags) for flags in ({}, {"env": ("A=b",)}, {"instance_count": 2})]
    assert len({config for _, config in different}) == 3
    scaled = {called(autoscale=text, target=70.0)[1] for text in ("1..4", "2..6")}
    assert len(scaled) == 1  # the bounds are no part of the configuration


def test_the_longest_name_still_has_room_for_what_is_added() -> None:
    name = "a" * names.LONGEST
    this = desired(UpOptions(name, IMAGE, ROLE, ttl="2h"), NOW)
    assert len(this.model_name) == len(this.config_name) == 63
    assert this.schedule is not None and len(this.schedule["Name"]) <= 64
    assert names.endpoint_of(this.model_name) == name


def test_durations_are_parsed() -> None:
    assert duration("90m") == timedelta(minutes=90)
    assert duration("1d12h30m") == timedelta(days=1, hours=12, minutes=30)


# From what is found


def test_nothing_is_done_if_the_state_is_as_desired() -> None:
    this = desired_with(autoscale="1..4", target=70.0)
    assert plan(this, found(this)) == []


def test_defaults_that_aws_adds_are_no_difference() -> None:
    this = desired_with(autoscale="1..4", target=70.0)
    assert this.policy is not None
    key = "TargetTrackingScalingPolicyConfiguration"
    policy = {**this.policy, key: {**this.policy[key], "DisableScaleIn": False}, "Alarms": []}
    assert plan(this, found(this, policies=(policy,))) == []


@pytest.mark.parametrize("status", ["Failed", "OutOfService"])
def test_a_failed_endpoint_is_recreated_with_its_scaling(status: str) -> None:
    this = desired_with(autoscale="1..4", target=70.0)
    assert operations(plan(this, found(this, status))) == [
        "delete_scaling_policy",
        "deregister_scalable_target",
        "delete_endpoint",
        GONE,
        "create_endpoint",
        IN_SERVICE,
        "register_scalable_target",
        "put_scaling_policy",
    ]
    assert operations(plan(desired_with(), found(desired_with(), status))) == [
        "delete_endpoint",
        GONE,
        "create_endpoint",
        IN_SERVICE,
    ]


def test_a_deletion_in_progress_is_awaited() -> None:
    this = desired_with()
    assert operations(plan(this, found(this, "Deleting"))) == [GONE, "create_endpoint", IN_SERVICE]
    assert operations(removal("pets", found(this, "Deleting")))[0] == GONE


def test_creation_is_awaited_before_an_update() -> None:
    old, new = desired_with(), desired_with(env=("A=b",))
    assert operations(plan(old, found(old, "Creating"))) == [IN_SERVICE]
    assert operations(plan(new, found(old, "Creating"))) == [
        IN_SERVICE,
        "create_model",
        "create_endpoint_config",
        "update_endpoint",
        IN_SERVICE,
        "delete_endpoint_config",
        "delete_model",
    ]


def test_an_update_in_progress_to_the_desired_state_is_awaited() -> None:
    old, new = desired_with(), desired_with(env=("A=b",))
    pending = {"EndpointConfigName": new.config_name}
    state = found(
        old,
        configs=(old.config_name, new.config_name),
        models=(old.model_name, new.model_name),
    )
    endpoint = {
        **(state.endpoint or {}),
        "EndpointStatus": "Updating",
        "PendingDeploymentSummary": pending,
    }
    steps = plan(new, replace(state, endpoint=endpoint))
    assert operations(steps) == [IN_SERVICE, "delete_endpoint_config", "delete_model"]
    assert steps[0] == Wait(IN_SERVICE, new.config_name)


def test_scaling_that_outlived_its_endpoint_is_removed_first() -> None:
    this = desired_with()
    scaled = desired_with(autoscale="1..4", target=70.0)
    assert scaled.policy is not None
    left = Actual(scaling=scaled.scaling, policies=(scaled.policy,))
    assert operations(plan(this, left))[:2] == [
        "delete_scaling_policy",
        "deregister_scalable_target",
    ]


def test_scaling_is_removed_without_autoscale() -> None:
    old, new = desired_with(autoscale="1..4", target=70.0), desired_with()
    steps = operations(plan(new, found(old)))
    assert steps.index("deregister_scalable_target") < steps.index("update_endpoint")
    assert steps.count("deregister_scalable_target") == 1


def test_a_failed_rollback_is_left_to_the_user() -> None:
    with pytest.raises(ServiceError, match="an update and its rollback failed"):
        plan(desired_with(), found(desired_with(), "UpdateRollbackFailed"))


def test_serverless_may_become_instances() -> None:
    assert "update_endpoint" in operations(
        plan(desired_with(), found(desired_with(serverless="4096,5")))
    )


# By Stubber: moto answers UpdateEndpoint with 500, and rejects instances newer than ml.g4dn


def described(config: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "EndpointName": "pets",
        "EndpointArn": ARN,
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "CreationTime": NOW,
        "LastModifiedTime": NOW,
        **more,
    }


def test_an_update_to_a_newer_instance_is_made_call_by_call() -> None:
    old, new = desired_with(), desired_with(instance_type="ml.g6.xlarge")
    name = {"EndpointName": "pets"}
    config_arn = f"arn:aws:sagemaker:{REGION}:123456789012:endpoint-config/{new.config_name}"
    sagemaker = _client("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_response(
            "create_endpoint_config", {"EndpointConfigArn": config_arn}, dict(new.config)
        )
        stubber.add_response(
            "update_endpoint", {"EndpointArn": ARN}, {**name, "EndpointConfigName": new.config_name}
        )
        pending = {"PendingDeploymentSummary": {"EndpointConfigName": new.config_name}}
        for config, status, more in (
            (old.config_name, "Updating", pending),
            (old.config_name, "Updating", pending),
            (new.config_name, "InService", {}),
        ):
            stubber.add_response("describe_endpoint", described(config, status, **more), name)
        stubber.add_response("delete_endpoint_config", {}, {"EndpointConfigName": old.config_name})
        waits: list[None] = []
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: waits.append(None))
        apply.all(plan(new, found(old)))
        stubber.assert_no_pending_responses()
    assert len(waits) == 2
    assert apply.made() == [f"endpoint configuration {new.config_name}", "endpoint pets"]


def test_an_outage_while_waiting_is_retried() -> None:
    this = desired_with()
    sagemaker = _client("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("describe_endpoint", "ThrottlingException", "Rate exceeded", 400)
        stubber.add_response("describe_endpoint", described(this.config_name, "InService"))
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        apply.all([Wait(IN_SERVICE, this.config_name)])
        stubber.assert_no_pending_responses()


def test_a_change_that_is_not_yet_visible_is_awaited() -> None:
    old, new = desired_with(), desired_with(env=("A=b",))
    sagemaker = _client("sagemaker")
    with Stubber(sagemaker) as stubber:
        absent = ("ValidationException", f'Could not find endpoint "{ARN}".', 400)
        stubber.add_client_error("describe_endpoint", *absent)
        for config, status in ((old, "InService"), (old, "Updating"), (new, "InService")):
            stubber.add_response("describe_endpoint", described(config.config_name, status))
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        apply.all([Wait(IN_SERVICE, new.config_name)])
        for status in ("Failed", "Deleting"):  # what failed before it was deleted
            stubber.add_response("describe_endpoint", described(old.config_name, status))
        stubber.add_client_error("describe_endpoint", *absent)
        apply.all([Wait(GONE)])
        stubber.assert_no_pending_responses()


def test_a_failed_deletion_is_reported() -> None:
    sagemaker = _client("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_response("describe_endpoint", described("pets-1", "Deleting"))
        failed = described("pets-1", "Failed", FailureReason="a KMS grant is gone.")
        stubber.add_response("describe_endpoint", failed)
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        with pytest.raises(ServiceError, match="could not be deleted: a KMS grant is gone"):
            apply.all([Wait(GONE)])


def test_an_endpoint_deleted_meanwhile_is_reported() -> None:
    sagemaker = _client("sagemaker")
    with Stubber(sagemaker) as stubber:
        absent = ("ValidationException", f'Could not find endpoint "{ARN}".', 400)
        stubber.add_response("describe_endpoint", described("pets-1", "Creating"))
        stubber.add_client_error("describe_endpoint", *absent)
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        with pytest.raises(ServiceError, match="was deleted meanwhile"):
            apply.all([Wait(IN_SERVICE)])


def only(**clients: Any) -> Callable[[str], Any]:
    known: Mapping[str, Any] = clients
    return lambda service: known[service]


# The words


def test_the_plan_creates_dependencies_first() -> None:
    steps = operations(plan(desired_with(ttl="2h", autoscale="1..4", target=1.0), Actual()))
    assert steps == [
        "create_schedule",
        "create_model",
        "create_endpoint_config",
        "create_endpoint",
        IN_SERVICE,
        "register_scalable_target",
        "put_scaling_policy",
    ]


def test_images_differ_by_their_tags() -> None:
    one = desired(UpOptions("pets", f"{REPOSITORY}:1", ROLE), NOW)
    other = desired(UpOptions("pets", f"{REPOSITORY}:2", ROLE), NOW)
    assert one.model_name != other.model_name
    assert re.fullmatch("pets-[0-9a-f]{10}", one.model_name)
