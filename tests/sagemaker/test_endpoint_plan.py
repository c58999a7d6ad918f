"""What `petbox endpoint up` plans, without AWS; and calls that moto does not support, by Stubber.

Every request is checked by botocore's own model of its service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.stub import Stubber
from support.aws import REGION
from support.endpoint_aws import IMAGE, REPOSITORY, ROLE
from support.endpoint_plans import (
    ARN,
    NOW,
    TOPIC,
    client_of,
    desired_with,
    found,
    operations,
    requests,
    steps_of,
    typed,
    validate,
    variant,
)

from petbox.aws.names import image_parts
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.apply import Apply, check_all
from petbox.sagemaker.endpoint.deployment import request as deployment_request
from petbox.sagemaker.endpoint.desired import desired
from petbox.sagemaker.endpoint.expiry import duration
from petbox.sagemaker.endpoint.plan import plan, removal
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.endpoint.steps import GONE, IN_SERVICE, Wait

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
        "metrics_every": 10,
        "health_timeout": 900,
        "download_timeout": 600,
        "subnet": ("subnet-1", "subnet-2"),
        "security_group": ("sg-1",),
        "tag": ("team=pets",),
        "ttl": "1d12h",
    },
    "serverless": {"serverless": "4096,5"},
    "serverless, kept ready": {"serverless": "4096,5", "provisioned_concurrency": 2},
    "several": {"instance_count": 2},
    "multi-model": {"multi_model": "s3://pets-bucket/models"},
    "with alarms": {"alarms": 2000, "alarm_topic": TOPIC},
    "scaled": {"autoscale": "1..4", "target": 70.0},
    "component": {
        "component": "2048,2,1",
        "autoscale": "0..4",
        "target": 5.0,
        "instance_type": "ml.g5.xlarge",
        "health_timeout": 900,
        "download_timeout": 600,
        "ami": "al2-ami-sagemaker-inference-gpu-3-1",
        "subnet": ("subnet-1",),
        "security_group": ("sg-1",),
        "network_isolation": True,
        "alarms": 2000,
        "env": tuple(f"V{number}=x" for number in range(16)),
        "metrics_every": 10,
        "tag": ("team=pets",),
    },
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
    if not {"serverless", "component"} & flags.keys():  # which no instances become
        steps_of(found(desired_with(env=("OLD=1",))), **flags)
        if "instance_count" not in flags:
            steps_of(found(desired_with(autoscale="2..3", target=1.0), running=2), **flags)
    validate(removal("pets", found(this)))


@pytest.mark.parametrize("flags", VARIATIONS.values(), ids=VARIATIONS)
def test_without_flags_everything_stays(flags: dict[str, Any]) -> None:
    this = desired_with(**flags)
    actual = found(this)
    assert plan(typed(actual), actual) == []
    again = typed(actual)
    assert (again.model, again.config) == (this.model, this.config)
    assert (again.scaling, again.policy) == (this.scaling, this.policy)


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
    assert this.config["MetricsConfig"] == {
        "EnableDetailedObservability": True,
        "MetricPublishFrequencyInSeconds": 10,
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
    assert called(instance_count=2) == called()  # the endpoint's, not the configuration's
    different = [called(**flags) for flags in ({}, {"env": ("A=b",)}, {"health_timeout": 900})]
    assert len({config for _, config in different}) == 3
    scaled = {called(autoscale=text, target=70.0)[1] for text in ("1..4", "2..6")}
    assert len(scaled) == 1  # the bounds are no part of the configuration


def test_the_longest_name_still_has_room_for_what_is_added() -> None:
    name = "a" * names.LONGEST
    this = desired(EndpointSpec(name, image=IMAGE, role=ROLE, ttl="2h"), NOW)
    assert len(this.model_name) == len(this.config_name) == 63
    assert this.schedule is not None and len(this.schedule["Name"]) <= 64
    assert names.endpoint_of(this.model_name) == name


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws-cn", "cn-north-1", "dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("aws-us-gov", "us-gov-west-1", "dkr.ecr-fips.us-gov-west-1.amazonaws.com"),
    ],
)
def test_other_partitions_are_their_own(partition: str, region: str, host: str) -> None:
    image = f"123456789012.{host}/petbox:1"
    role = f"arn:{partition}:iam::123456789012:role/SageMaker"
    this = typed(Actual(), image=image, role=role, ttl="2h", alarms=900, **SCALED)
    steps = plan(this, Actual())
    validate(steps)
    assert image_parts(image)["region"] == region
    assert this.schedule is not None
    assert this.schedule["Target"]["Arn"].startswith(f"arn:{partition}:scheduler:::aws-sdk:")
    assert "arn:aws:" not in str(steps)


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


def test_a_failed_rollback_is_left_to_the_user() -> None:
    with pytest.raises(ServiceError, match="an update and its rollback failed"):
        plan(desired_with(), found(desired_with(), "UpdateRollbackFailed"))


def test_serverless_becomes_instances_if_that_is_written() -> None:
    actual = found(desired_with(serverless="4096,5"))
    (update,) = requests(steps_of(actual, serverless=False), "update_endpoint")
    assert "RetainAllVariantProperties" not in update
    with pytest.raises(ServiceError, match="the endpoint has --serverless: pass --no-serverless"):
        typed(actual, instance_type="ml.m5.large")


# What was not named stays, and removals go last

SCALED = {"autoscale": "1..4", "target": 70.0}


def test_one_flag_changes_one_thing() -> None:
    flags = VARIATIONS["all that instances can have"]
    before = desired_with(**flags)
    after = typed(found(before), env=("A=c",), no_env=("C",), tag=("more=1",), no_tag=("team",))
    assert after.model["PrimaryContainer"]["Environment"] == {"A": "c"}
    assert variant(after) == {**variant(before), "ModelName": after.model_name}
    expires = {names.EXPIRES: before.tags[names.EXPIRES]}
    assert dict(after.tags) == {"more": "1", names.OWNER: "pets"} | expires
    steps = plan(after, found(before))
    assert requests(steps, "delete_tags") == [{"ResourceArn": ARN, "TagKeys": ["team"]}]
    assert operations(steps).index("delete_tags") > operations(steps).index(IN_SERVICE)


@pytest.mark.parametrize(
    ("flags", "removal", "gone"),
    [
        ({"model_data": "s3://pets-bucket/model.tar.gz"}, "model_data", "ModelDataUrl"),
        ({"ami": "al2-gpu"}, "ami", "InferenceAmiVersion"),
        ({"health_timeout": 900}, "health_timeout", "ContainerStartup"),
        ({"metrics_every": 0}, "metrics_every", "'EnableDetailedObservability': False"),
        (
            {"serverless": "4096,5", "provisioned_concurrency": 2},
            "provisioned_concurrency",
            "'ProvisionedConcurrency': 2",
        ),
        (
            {"serverless": "4096,5", "provisioned_concurrency": 2},
            "serverless",
            "'ProvisionedConcurrency': 2",
        ),
        ({"download_timeout": 900}, "download_timeout", "ModelDataDownload"),
        ({"capture": "s3://pets-bucket/seen", "capture_percent": 5}, "capture", "DataCapture"),
        (
            {"async_": "s3://pets-bucket/out", "async_errors": "s3://pets-bucket/errors"},
            "async_",
            "AsyncInference",
        ),
        (
            {"async_": "s3://pets-bucket/out", "async_errors": "s3://pets-bucket/errors"},
            "async_errors",
            "S3FailurePath",
        ),
    ],
)
def test_a_removal_is_written(flags: dict[str, Any], removal: str, gone: str) -> None:
    before = desired_with(**flags)
    assert gone in str((before.model, before.config))
    after = typed(found(before), **{removal: False})
    assert gone not in str((after.model, after.config))
    assert gone in str((kept_by := typed(found(before), env=("A=b",))).model) + str(kept_by.config)


def test_a_multi_model_endpoint_takes_all_under_a_prefix() -> None:
    this = desired_with(multi_model="s3://pets-bucket/models")
    assert this.model["PrimaryContainer"] == {
        "Image": IMAGE,
        "ModelDataUrl": "s3://pets-bucket/models/",
        "Mode": "MultiModel",
    }
    one = "s3://pets-bucket/model.tar.gz"
    with pytest.raises(ServiceError, match="has --multi-model: pass --no-multi-model"):
        typed(found(this), model_data=one)
    after = typed(found(this), model_data=one, multi_model=False)
    assert after.model["PrimaryContainer"] == {"Image": IMAGE, "ModelDataUrl": one}


def test_awss_default_for_metrics_changes_nothing() -> None:
    this = desired_with()
    default = {"EnableDetailedObservability": True, "MetricPublishFrequencyInSeconds": 60}
    described = replace(this, config={**this.config, "MetricsConfig": default})
    assert typed(found(described)).config == this.config
    assert typed(found(this), metrics_every=60).config == this.config


def test_what_cannot_be_kept_is_named() -> None:
    this = desired_with()
    with pytest.raises(ServiceError, match="has what petbox cannot keep: argument --tag: a!b="):
        typed(found(this, tags={**this.tags, "a!b": "by the console"}))


def test_a_vpc_is_removed_as_one() -> None:
    before = desired_with(subnet=("subnet-1",), security_group=("sg-1",))
    assert "VpcConfig" in typed(found(before)).model
    assert "VpcConfig" not in typed(found(before), no_vpc=True).model


def test_scaling_is_removed_last_and_the_instances_stay() -> None:
    actual = found(desired_with(**SCALED), running=3)
    assert operations(steps_of(actual, autoscale=False)) == [
        "delete_scaling_policy",
        "deregister_scalable_target",
    ]
    steps = operations(steps_of(actual, autoscale=False, env=("A=b",)))
    assert steps.index(IN_SERVICE) < steps.index("delete_scaling_policy")
    assert typed(actual, autoscale=False).count == 3


def test_an_expiry_is_removed_last_and_only_if_that_is_written() -> None:
    actual = found(desired_with(ttl="2h"))
    assert steps_of(actual) == []
    assert "delete_schedule" not in operations(steps_of(actual, env=("A=b",)))
    steps = operations(steps_of(actual, ttl=False, env=("A=b",)))
    assert steps.index(IN_SERVICE) < steps.index("delete_schedule")
    (moved,) = requests(steps_of(actual, ttl="1d"), "update_schedule")
    assert moved["Target"]["RoleArn"] == ROLE


def test_another_number_of_instances_needs_no_update() -> None:
    steps = steps_of(found(desired_with(), running=2), instance_count=3)
    (count,) = requests(steps, "update_endpoint_weights_and_capacities")
    assert count["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"] == 3
    assert "update_endpoint" not in operations(steps)
    # Nor does one that somebody set by hand.
    assert steps_of(found(desired_with(), running=5)) == []


def test_another_instance_type_keeps_the_running_count() -> None:
    for flags in ({}, SCALED):
        actual = found(desired_with(**flags), running=3)
        steps = steps_of(actual, instance_type="ml.g5.xlarge")
        (config,) = requests(steps, "create_endpoint_config")
        assert config["ProductionVariants"][0]["InitialInstanceCount"] == 3
        (update,) = requests(steps, "update_endpoint")
        assert update["RetainAllVariantProperties"] is True
        excluded = [
            one["VariantPropertyType"] for one in update["ExcludeRetainedVariantProperties"]
        ]
        assert "DesiredInstanceCount" not in excluded


def third_party_scaling(actual: Actual) -> Actual:
    """With a policy and a scheduled action that petbox did not make."""
    of = names.scaled("pets")
    theirs = {
        **of,
        "PolicyName": "theirs",
        "PolicyARN": "arn:aws:autoscaling:us-east-1:1:policy",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 5.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
            },
        },
        "CreationTime": NOW,
    }
    action = {
        **of,
        "ScheduledActionName": "mornings",
        "ScheduledActionARN": "arn:aws:autoscaling:us-east-1:1:scheduledAction",
        "Schedule": "cron(0 7 * * ? *)",
        "ScalableTargetAction": {"MinCapacity": 2},
        "CreationTime": NOW,
    }
    return replace(actual, policies=(*actual.policies, theirs), actions=(action,))


def test_another_instance_type_puts_all_scaling_back() -> None:
    actual = third_party_scaling(found(desired_with(**SCALED), running=3))
    steps = steps_of(actual, instance_type="ml.g5.xlarge", autoscale="2..6")
    assert operations(steps) == [
        "create_endpoint_config",
        "add_tags",
        "delete_scaling_policy",
        "delete_scaling_policy",
        "deregister_scalable_target",
        "update_endpoint",
        IN_SERVICE,
        "register_scalable_target",
        "put_scaling_policy",
        "put_scaling_policy",
        "put_scheduled_action",
        "delete_tags",
        "delete_endpoint_config",
    ]
    (target,) = requests(steps, "register_scalable_target")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
    assert [one["PolicyName"] for one in requests(steps, "put_scaling_policy")] == [
        "petbox",
        "theirs",
    ]


def test_third_party_scaling_alone_is_left_unchanged() -> None:
    actual = third_party_scaling(found(desired_with(), scaling=desired_with(**SCALED).scaling))
    assert steps_of(actual) == []
    assert not {"register_scalable_target", "deregister_scalable_target"} & {
        *operations(steps_of(actual, env=("A=b",)))
    }
    steps = operations(steps_of(actual, instance_type="ml.g5.xlarge"))
    assert steps.index("deregister_scalable_target") < steps.index("register_scalable_target")


def test_scaling_noted_by_an_interrupted_update_is_set_again() -> None:
    this = desired_with(**SCALED)
    noted = {**this.tags, names.SCALING: "1..4 70"}
    actual = found(this, tags=noted, scaling=None, policies=(), running=3)
    steps = steps_of(actual)
    assert operations(steps) == ["register_scalable_target", "put_scaling_policy", "delete_tags"]
    assert requests(steps, "delete_tags")[0]["TagKeys"] == [names.SCALING]
    assert operations(steps_of(actual, autoscale=False)) == ["delete_tags"]


def test_the_first_queued_call_starts_an_instance() -> None:
    flags = VARIATIONS["asynchronous"]
    first = plan(desired_with(**flags), Actual())
    policies = requests(first, "put_scaling_policy")
    assert [one["PolicyName"] for one in policies] == ["petbox", "petbox-wake"]
    (alarm,) = requests(first, "put_metric_alarm")
    assert alarm["MetricName"] == "HasBacklogWithoutCapacity"
    actual = found(desired_with(**flags), running=1)
    stale = {**(actual.wake or {}), "AlarmActions": ["arn:an-older-policy"]}
    for broken in (replace(actual, wake=None), replace(actual, wake=stale)):
        assert operations(steps_of(broken)) == ["put_scaling_policy", "put_metric_alarm"]
    assert operations(steps_of(actual, autoscale="1..4")) == [
        "register_scalable_target",
        "delete_scaling_policy",
        "delete_alarms",
    ]
    assert operations(steps_of(actual, autoscale=False))[-1] == "delete_alarms"
    assert requests(removal("pets", actual), "delete_alarms") == [
        {"AlarmNames": ["petbox-pets-wake"]}
    ]
    again = steps_of(actual, instance_type="ml.g5.xlarge")
    assert [one["PolicyName"] for one in requests(again, "put_scaling_policy")] == [
        "petbox",
        "petbox-wake",
    ]
    assert len(requests(again, "put_metric_alarm")) == 1


def test_alarms_come_before_the_update_that_they_roll_back_and_go_with_the_endpoint() -> None:
    steps = steps_of(found(desired_with()), alarms=1500, alarm_topic=TOPIC, env=("A=b",))
    wanted = operations(steps)
    assert wanted.index("put_metric_alarm") < wanted.index("update_endpoint")
    assert wanted.index(IN_SERVICE) < wanted.index("put_metric_filter")
    made = {one["AlarmName"]: one for one in requests(steps, "put_metric_alarm")}
    assert set(made) == {"petbox-pets-5xx", "petbox-pets-latency", "petbox-pets-ping"}
    assert made["petbox-pets-latency"]["Threshold"] == 1_500_000
    assert all(one["AlarmActions"] == [TOPIC] for one in made.values())
    (pings,) = requests(steps, "put_metric_filter")
    metric = pings["metricTransformations"][0]
    ping = made["petbox-pets-ping"]
    assert (metric["metricNamespace"], metric["metricName"]) == (
        ping["Namespace"],
        ping["MetricName"],
    )
    actual = found(desired_with(alarms=1500))
    assert [one["AlarmName"] for one in requests(steps_of(actual, alarms=900), "put_metric_alarm")]
    assert operations(steps_of(actual, alarms=False)) == ["delete_metric_filter", "delete_alarms"]
    assert "delete_alarms" in operations(removal("pets", actual))


def test_an_update_reaches_the_endpoint_as_its_deployment_says() -> None:
    way = deployment_request("10%", None, None, "10m", ["pets-fails"])
    (update,) = requests(steps_of(found(desired_with()), way, env=("A=b",)), "update_endpoint")
    assert update["DeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 600,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
            }
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "pets-fails"}]},
    }
    for words, expected in (
        ((None, "25%", None, None, ()), "LinearStepSize"),
        ((None, None, "20%", None, ()), "RollingUpdatePolicy"),
        ((None, None, None, None, ("pets-fails",)), "ALL_AT_ONCE"),
    ):
        steps = steps_of(found(desired_with()), deployment_request(*words), env=("A=b",))
        assert expected in str(requests(steps, "update_endpoint")[0]["DeploymentConfig"])
    assert deployment_request(None, None, None, None, ()) is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"async_errors": "s3://b12/x"}, "--async-errors requires --async"),
        ({"target": 4.0}, "--target requires --autoscale"),
        ({"provisioned_concurrency": 2}, "--provisioned-concurrency requires --serverless"),
        ({"capture_percent": 4}, "--capture-percent requires --capture"),
        ({"alarm_topic": TOPIC}, "--alarm-topic requires --alarms"),
        ({"autoscale": "1..4"}, "--autoscale requires --target"),
        ({"autoscale": "0..4", "target": 1.0}, "only an endpoint with --async or"),
        ({"subnet": ("subnet-1",)}, "require each other"),
    ],
)
def test_what_goes_together_is_checked_with_what_is_there(
    flags: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ServiceError, match=expected):
        typed(found(desired_with()), **flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"capture": f"s3://pets-bucket/{'a' * 500}"}, "DestinationS3Uri: .* the maximum is 512"),
        ({"subnet": tuple(f"subnet-{n}" for n in range(17))}, "Subnets: has 17 entries"),
        ({"alarms": 1, "alarm_topic": f"{TOPIC}{'a' * 1000}"}, "AlarmActions.* maximum is 1024"),
    ],
)
def test_what_aws_would_reject_is_rejected_before_the_first_call(
    flags: dict[str, Any], expected: str
) -> None:
    if "subnet" in flags:
        flags = {**flags, "security_group": ("sg-1",)}
    steps = plan(desired_with(**flags), Actual())
    with pytest.raises(ServiceError, match=expected):
        check_all(client_of, steps)


def test_no_more_concurrency_is_kept_ready_than_there_is() -> None:
    actual = found(desired_with(serverless="4096,5"))
    with pytest.raises(ServiceError, match="6 is more than the 5 concurrent calls"):
        typed(actual, provisioned_concurrency=6)
    assert typed(actual, provisioned_concurrency=6, serverless="4096,6")


def test_what_goes_with_what_is_there_needs_no_repetition() -> None:
    actual = found(desired_with(**VARIATIONS["asynchronous"]), running=1)
    assert typed(actual, target=9.0).scaling is not None
    with pytest.raises(ServiceError, match="the endpoint has --autoscale: pass --no-autoscale"):
        typed(actual, instance_count=2)
    with pytest.raises(ServiceError, match="does not exist yet; give --image to create it"):
        typed(Actual(), role=ROLE)


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


KEEPS_COUNT = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": [
        {"VariantPropertyType": "DesiredWeight"},
        {"VariantPropertyType": "DataCaptureConfig"},
    ],
}


def test_an_update_to_a_newer_instance_is_made_call_by_call() -> None:
    old, new = desired_with(), desired_with(instance_type="ml.g6.xlarge")
    name = {"EndpointName": "pets"}
    config_arn = f"arn:aws:sagemaker:{REGION}:123456789012:endpoint-config/{new.config_name}"
    sagemaker = client_of("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_response(
            "create_endpoint_config", {"EndpointConfigArn": config_arn}, dict(new.config)
        )
        stubber.add_response(
            "update_endpoint",
            {"EndpointArn": ARN},
            {**name, "EndpointConfigName": new.config_name, **KEEPS_COUNT},
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
    assert apply.so_far() == (
        f"created so far: endpoint configuration {new.config_name}, endpoint pets; "
        f"removed so far: endpoint configuration {old.config_name}"
    )


@pytest.mark.parametrize("fails", ["the call", "interrupted"])
def test_scaling_is_put_back_if_the_update_does_not_end(fails: str) -> None:
    actual = third_party_scaling(found(desired_with(**SCALED), running=3))
    new = typed(actual, instance_type="ml.g5.xlarge", autoscale="2..6")
    made: list[tuple[str, Any]] = []

    class Aws:
        """Notes each call; the update fails, or Ctrl-C ends the wait for it."""

        def __getattr__(self, operation: str) -> Any:
            def call(**request: Any) -> Any:
                made.append((operation, request))
                if operation == "update_endpoint" and fails == "the call":
                    raise ServiceError("endpoint pets: ResourceLimitExceeded")
                if operation == "describe_endpoint":
                    raise KeyboardInterrupt
                return {}

            return call

    apply = Apply(lambda _: Aws(), "pets", lambda: None)
    with pytest.raises((ServiceError, KeyboardInterrupt)):
        apply.all(plan(new, actual))
    put_back = made[[name for name, _ in made].index("deregister_scalable_target") + 1 :]
    scaling = [(name, request) for name, request in put_back if "scal" in name or "sched" in name]
    assert [name for name, _ in scaling] == [
        "register_scalable_target",
        "put_scaling_policy",
        "put_scaling_policy",
        "put_scheduled_action",
    ]
    assert actual.scaling is not None
    assert scaling[0][1] == dict(actual.scaling)
    assert [request["PolicyName"] for _, request in scaling[1:3]] == ["petbox", "theirs"]
    assert "removed so far" not in apply.so_far()


def test_an_outage_while_waiting_is_retried() -> None:
    this = desired_with()
    sagemaker = client_of("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("describe_endpoint", "ThrottlingException", "Rate exceeded", 400)
        stubber.add_response("describe_endpoint", described(this.config_name, "InService"))
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        apply.all([Wait(IN_SERVICE, this.config_name)])
        stubber.assert_no_pending_responses()


def test_a_change_that_is_not_yet_visible_is_awaited() -> None:
    old, new = desired_with(), desired_with(env=("A=b",))
    sagemaker = client_of("sagemaker")
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
    sagemaker = client_of("sagemaker")
    with Stubber(sagemaker) as stubber:
        stubber.add_response("describe_endpoint", described("pets-1", "Deleting"))
        failed = described("pets-1", "Failed", FailureReason="a KMS grant is gone.")
        stubber.add_response("describe_endpoint", failed)
        apply = Apply(only(sagemaker=sagemaker), "pets", lambda: None)
        with pytest.raises(ServiceError, match="could not be deleted: a KMS grant is gone"):
            apply.all([Wait(GONE)])


def test_an_endpoint_deleted_meanwhile_is_reported() -> None:
    sagemaker = client_of("sagemaker")
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
    one, other = (
        desired(EndpointSpec("pets", image=f"{REPOSITORY}:{n}", role=ROLE), NOW) for n in (1, 2)
    )
    assert one.model_name != other.model_name
    assert re.fullmatch("pets-[0-9a-f]{10}", one.model_name)
