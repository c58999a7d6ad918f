"""An endpoint of an inference component: real-time, down to zero.

Moto has no components; those of tests/support stand before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.aws import rejection
from support.endpoint_aws import (
    IMAGE,
    ROLE,
    SOON,
    UP,
    AwsProxy,
    Done,
    describe_image,
    done,
    failed,
    petbox,
)
from support.endpoint_plans import (
    desired_with,
    found,
    operations,
    requests,
    steps_of,
    typed,
    variant,
)
from support.inference_components import PINGS

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.change import deployment_of
from petbox.sagemaker.endpoint.deployment import request as deployment_request
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import plan, removal
from petbox.sagemaker.endpoint.steps import COMPONENT_GONE, COMPONENT_IN_SERVICE, GONE, IN_SERVICE

pytestmark = pytest.mark.usefixtures("forgotten")
FLAGS: dict[str, Any] = {"component": "2048,2", "autoscale": "0..4", "target": 5.0}
WORDS = ("--component", "2048,2", "--autoscale", "0..4", "--target", "5")


@pytest.fixture(autouse=True)
def no_components(aws: AwsProxy) -> Iterator[None]:
    aws.components.fails = lambda: False
    yield
    aws.components.by_name.clear()
    aws.components.reason = PINGS


# Plans


def test_the_configuration_has_the_network_and_the_component_the_model() -> None:
    network = {"subnet": ("subnet-1",), "security_group": ("sg-1",), "network_isolation": True}
    this = desired_with(**FLAGS, **network, health_timeout=900)
    assert variant(this) == {
        "VariantName": "AllTraffic",
        "InstanceType": "ml.m5.xlarge",
        "InitialInstanceCount": 1,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        "ManagedInstanceScaling": {
            "Status": "ENABLED",
            "MinInstanceCount": 0,
            "MaxInstanceCount": 4,
        },
    }
    assert this.config["ExecutionRoleArn"] == ROLE
    assert this.config["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert this.config["EnableNetworkIsolation"] is True
    assert not {"VpcConfig", "EnableNetworkIsolation"} & this.model.keys()
    assert this.component is not None
    assert this.component["Specification"] == {
        "ModelName": this.model_name,
        "StartupParameters": {"ContainerStartupHealthCheckTimeoutInSeconds": 900},
        "ComputeResourceRequirements": {
            "MinMemoryRequiredInMb": 2048,
            "NumberOfCpuCoresRequired": 2.0,
        },
    }
    assert this.component["RuntimeConfig"] == {"CopyCount": 1}
    kept = typed(found(this))
    assert (kept.config, kept.component, kept.model) == (this.config, this.component, this.model)
    assert variant(desired_with(**{**FLAGS, "autoscale": "2..4"}))["ManagedInstanceScaling"] == {
        "Status": "ENABLED",
        "MinInstanceCount": 1,  # two copies may share one
        "MaxInstanceCount": 4,
    }


def test_the_first_rejected_call_starts_a_copy() -> None:
    steps = plan(desired_with(**FLAGS, alarms=900), Actual())
    component = {"ResourceId": "inference-component/pets"}
    policies = requests(steps, "put_scaling_policy")
    assert all(component.items() <= one.items() for one in policies)
    assert "SageMakerInferenceComponentInvocationsPerCopy" in str(policies[0])
    alarms = {one["AlarmName"]: one for one in requests(steps, "put_metric_alarm")}
    wake = alarms["petbox-pets-wake"]
    assert wake["MetricName"] == "NoCapacityInvocationFailures"
    of_component = [{"Name": "InferenceComponentName", "Value": "pets"}]
    assert wake["Dimensions"] == alarms["petbox-pets-latency"]["Dimensions"] == of_component
    (pings,) = requests(steps, "put_metric_filter")
    assert pings["logGroupName"] == "/aws/sagemaker/InferenceComponents/pets"


def test_another_model_updates_the_component_and_not_the_endpoint() -> None:
    actual = found(desired_with(**FLAGS))
    steps = steps_of(actual, deployment_request(None, None, "20%", None, ()), env=("A=b",))
    assert operations(steps) == [
        "create_model",
        "update_inference_component",
        COMPONENT_IN_SERVICE,
        "delete_model",
    ]
    (update,) = requests(steps, "update_inference_component")
    assert update["DeploymentConfig"]["RollingUpdatePolicy"]["MaximumBatchSize"]["Value"] == 20
    assert update["Specification"]["ModelName"] == typed(actual, env=("A=b",)).model_name


def test_other_resources_update_the_component() -> None:
    actual = found(desired_with(**FLAGS, health_timeout=900))
    for flags in ({"component": "4096,2"}, {"health_timeout": False}, {"download_timeout": 99}):
        assert operations(steps_of(actual, **flags)) == [
            "update_inference_component",
            COMPONENT_IN_SERVICE,
        ]
    assert steps_of(actual, component="2048,2") == []


def test_another_instance_type_updates_the_endpoint_and_keeps_its_scaling() -> None:
    actual = found(desired_with(**FLAGS), running=2)
    steps = steps_of(actual, instance_type="ml.m5.2xlarge")
    assert operations(steps) == [
        "create_endpoint_config",
        "update_endpoint",
        IN_SERVICE,
        "delete_endpoint_config",
    ]
    (update,) = requests(steps, "update_endpoint")
    assert update["RetainAllVariantProperties"] and "DeploymentConfig" not in update


def test_a_failed_component_is_made_again_and_a_busy_one_is_awaited() -> None:
    this = desired_with(**FLAGS)
    actual = found(this)
    assert actual.component is not None

    def in_state(status: str, **flags: Any) -> list[str]:
        component = {**(actual.component or {}), "InferenceComponentStatus": status}
        return operations(steps_of(replace(actual, component=component), **flags))

    made = ["create_inference_component", COMPONENT_IN_SERVICE]
    assert in_state("Failed") == ["delete_inference_component", COMPONENT_GONE, *made]
    assert in_state("Deleting") == [COMPONENT_GONE, *made]
    assert in_state("Creating") == [COMPONENT_IN_SERVICE]
    assert in_state("Updating", component="4096,2") == [
        COMPONENT_IN_SERVICE,
        "update_inference_component",
        COMPONENT_IN_SERVICE,
    ]


def test_the_component_goes_before_its_endpoint() -> None:
    this = desired_with(**FLAGS)
    wanted = operations(removal("pets", found(this)))
    assert wanted[:6] == [
        "delete_scaling_policy",
        "delete_scaling_policy",
        "deregister_scalable_target",
        "delete_inference_component",
        COMPONENT_GONE,
        "delete_endpoint",
    ]
    expired = replace(found(this), endpoint=None, config=None, last=None, tags={})
    assert "delete_inference_component" in operations(removal("pets", expired))
    again = operations(plan(this, expired))
    assert again.index("delete_inference_component") < again.index("create_inference_component")
    ended = found(this, "Failed")
    recreated = operations(plan(this, ended))
    assert recreated.index(GONE) < recreated.index("create_endpoint")
    assert recreated.count("create_inference_component") == 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"autoscale": None, "target": None}, "--component requires --autoscale"),
        ({"target": None}, "--autoscale requires --target"),
        (
            {"env": tuple(f"V{n}=x" for n in range(17))},
            "--env: 17 variables; an inference component takes 16",
        ),
    ],
)
def test_what_a_component_needs_is_checked(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises(ServiceError, match=expected):
        desired_with(**{**FLAGS, **flags})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"component": "2048"}, "is not of the form MEMORY,CPUS or MEMORY,CPUS,GPUS"),
        ({"component": "64,1"}, "is less than 128 MB or 0.25 CPU cores"),
        ({"component": "2048,0.1"}, "is less than 128 MB or 0.25 CPU cores"),
        ({"component": "2048,1", "serverless": "4096,5"}, "--serverless and --component exclude"),
        ({"component": "2048,1", "async_": "s3://b12/x"}, "--component and --async exclude"),
        ({"component": "2048,1", "multi_model": "s3://b12/x"}, "--component and --multi-model"),
        ({"component": "2048,1", "instance_count": 2}, "--component and --instance-count exclude"),
    ],
)
def test_what_a_component_cannot_be_is_rejected(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        UpOptions("pets", **flags)


def test_an_update_without_rolling_is_rejected() -> None:
    whole = UpOptions("pets", image=IMAGE, role=ROLE, **FLAGS)
    for how in ({"canary": "10%"}, {"linear": "20%"}, {"alarm": ("theirs",)}):
        with pytest.raises(ServiceError, match="updated copy by copy; pass --rolling"):
            deployment_of(whole, UpOptions("pets", **how))
    assert deployment_of(whole, UpOptions("pets", rolling="20%", alarm=("theirs",)))


def test_an_image_for_gpus_needs_one_of_its_copy(aws: AwsProxy) -> None:
    def dry_run(component: str, *words: str) -> Done:
        scaled = ("--component", component, "--autoscale", "0..4", "--target", "5")
        return up(aws, "fit", "--dry-run", *scaled, *words)

    line = failed(dry_run("2048,2,1"))
    assert "--component 2048,2,1: states GPUs, and ml.m5.xlarge has none" in line
    done(dry_run("2048,2,1", "--instance-type", "ml.inf1.xlarge"))
    assert (
        "GPU of ml.g5.xlarge stays idle"
        in done(dry_run("2048,2", "--instance-type", "ml.g5.xlarge")).stderr
    )
    describe_image(aws.instead, base="", env=("CUDA_VERSION=12.4",))
    text = "is made for a GPU, and its copies get none; state it: --component 2048,2,1"
    assert text in done(dry_run("2048,2")).stderr
    describe_image(aws.instead, base="tensorflow/serving:2.20.0-gpu")
    assert text in failed(dry_run("2048,2"))
    done(dry_run("2048,2,1"))


def test_instances_and_components_do_not_become_each_other() -> None:
    component, instances = found(desired_with(**FLAGS)), found(desired_with())
    with pytest.raises(ServiceError, match="has a model without --component, and that cannot be"):
        plan(typed(instances, **FLAGS), instances)
    with pytest.raises(ServiceError, match="--component requires --autoscale"):
        typed(component, autoscale=False)


# Commands


def up(aws: AwsProxy, name: str, *words: str) -> Done:
    return petbox(aws.env, "endpoint", "up", name, *UP, *words)


def test_a_component_is_made_shown_and_deleted(aws: AwsProxy) -> None:
    result = done(up(aws, "idle", *WORDS))
    assert "[InService] inference component idle" in result.stderr
    assert aws.changes() == [
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "CreateInferenceComponent",
        "RegisterScalableTarget",
        "PutScalingPolicy",
        "PutScalingPolicy",
        "PutMetricAlarm",
    ]
    aws.calls.clear()
    assert "idle is unchanged" in done(up(aws, "idle")).stderr
    assert aws.changes() == []
    done(up(aws, "idle", "--component", "4096,2"))
    assert aws.changes() == ["UpdateInferenceComponent"]

    aws.components.by_name["idle"].copies = 0
    text = done(petbox(aws.env, "endpoint", "status", "idle")).stdout
    assert "InService, 0 of 0 copies, each of 4096,2 (MB, CPU cores, GPUs)" in text
    assert "0..4, to 5 calls a minute for each copy" in text
    facts = json.loads(done(petbox(aws.env, "endpoint", "status", "idle", "--json")).stdout)
    assert facts["component"] == {
        "name": "idle",
        "status": "InService",
        "failure": None,
        "copies": 0,
        "desired_copies": 0,
        "memory_mb": 4096,
        "cpus": 2.0,
        "gpus": None,
    }
    assert facts["scaling"] == {"min": 0, "max": 4, "target": 5.0}
    assert facts["image"] == IMAGE

    group = "/aws/sagemaker/InferenceComponents/idle"
    logs = aws.client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="AllTraffic/c-1")
    event = {"timestamp": int(time.time() * 1000), "message": "ready"}
    logs.put_log_events(logGroupName=group, logStreamName="AllTraffic/c-1", logEvents=[event])
    assert done(petbox(aws.env, "endpoint", "logs", "idle")).stdout == "ready\n"

    aws.calls.clear()
    component = aws.components.by_name["idle"]
    component.status, component.polls = "Updating", 3  # its scaling starts a copy
    gone = done(petbox(aws.env, "endpoint", "down", "idle", "--yes", *SOON))
    assert aws.changes()[:6] == [
        "DeleteScalingPolicy",
        "DeleteScalingPolicy",
        "DeregisterScalableTarget",
        *["DeleteInferenceComponent"] * 3,
    ]
    assert aws.changes()[6:] == [
        "DeleteEndpoint",
        "DeleteAlarms",
        "DeleteEndpointConfig",
        "DeleteModel",
    ]
    assert "UPDATING_IN_PROGRESS; waiting until SageMaker allows it" in gone.stderr
    assert f"--log-group-name {group}" in gone.stderr
    aws.calls.clear()
    assert (
        "idle: nothing to delete"
        in done(petbox(aws.env, "endpoint", "down", "idle", "--yes")).stderr
    )


def test_a_component_that_does_not_start_is_reported_and_made_again(aws: AwsProxy) -> None:
    aws.components.fails = lambda: True
    line = failed(up(aws, "broken", *WORDS))
    assert line == (
        "error: inference component broken: failed: did not pass the ping health check; fix that "
        "and run the same command again, or delete it: petbox endpoint down broken"
    )
    aws.components.reason = "There is not enough hardware resources on the instances"
    line = failed(up(aws, "broken", *WORDS))
    assert "a copy does not fit: state less in --component, or choose a larger instance" in line
    aws.components.fails = lambda: False
    aws.calls.clear()
    done(up(aws, "broken", *WORDS))
    assert aws.changes()[:2] == ["DeleteInferenceComponent", "CreateInferenceComponent"]
    done(petbox(aws.env, "endpoint", "down", "broken", "--yes", *SOON))


def test_what_outlived_its_endpoint_is_listed_and_deleted(aws: AwsProxy) -> None:
    done(up(aws, "expired", *WORDS))
    aws.client("sagemaker").delete_endpoint(EndpointName="expired")
    listed = done(petbox(aws.env, "endpoint", "list")).stdout
    assert "expired\tno endpoint, remaining:" in listed and "inference component" in listed
    aws.instead["ListInferenceComponents"] = lambda _: rejection("AccessDeniedException", "no", 403)
    assert (
        "continuing without the inference components"
        in done(petbox(aws.env, "endpoint", "list")).stderr
    )
    done(petbox(aws.env, "endpoint", "down", "expired", "--yes", *SOON))
    assert not aws.components.by_name


def test_third_party_components_are_left_alone(aws: AwsProxy) -> None:
    done(up(aws, "shared", *WORDS))
    component = aws.components.by_name["shared"]
    aws.components.by_name["theirs"] = replace(component)
    done(up(aws, "shared"))
    line = failed(petbox(aws.env, "endpoint", "down", "shared", "--yes", *SOON))
    assert "also hosts inference components that petbox did not make: theirs; delete" in line
    assert "DeleteScalingPolicy" not in aws.names()
    del aws.components.by_name["theirs"]
    component.request["Tags"] = []  # so this one is not petbox's either
    failed(petbox(aws.env, "endpoint", "down", "shared", "--yes", *SOON))
    assert "DeleteInferenceComponent" not in aws.names()


def test_scaling_of_a_third_party_component_is_left_alone(aws: AwsProxy) -> None:
    aws.client("sagemaker").create_inference_component(
        InferenceComponentName="plain",
        EndpointName="theirs",
        Specification={"ModelName": "theirs"},
        RuntimeConfig={"CopyCount": 1},
    )
    of, client = names.scaled("plain", component=True), aws.client("application-autoscaling")
    client.register_scalable_target(**of, MinCapacity=1, MaxCapacity=2)
    done(up(aws, "plain"))
    done(petbox(aws.env, "endpoint", "down", "plain", "--yes", *SOON))
    found = client.describe_scalable_targets(
        ServiceNamespace=of["ServiceNamespace"], ResourceIds=[of["ResourceId"]]
    )
    assert [one["MaxCapacity"] for one in found["ScalableTargets"]] == [2]
    client.deregister_scalable_target(**of)


def test_the_use_is_that_of_the_component(aws: AwsProxy) -> None:
    done(up(aws, "used", *WORDS))
    data = {
        "MetricName": "Invocations",
        "Dimensions": [{"Name": "InferenceComponentName", "Value": "used"}],
        "Timestamp": datetime.now(timezone.utc) - timedelta(minutes=1),
        "Value": 7,
    }
    aws.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=[data])
    text = done(petbox(aws.env, "endpoint", "status", "used")).stdout
    assert "7 calls in 24 hours" in text

    polls = iter([None, None])  # then it is gone
    gone = rejection("ValidationException", 'Could not find endpoint "arn".')
    aws.instead["DescribeEndpoint"] = lambda _: next(polls, gone)
    watched = done(petbox(aws.env, "endpoint", "watch", "used", "--every", "0.1")).stdout
    assert "| InService, 1 of ml.m5.xlarge | 7 calls/min" in watched


def test_scaled_names_are_those_of_application_auto_scaling() -> None:
    assert names.scaled("pets", component=True) == {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "inference-component/pets",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }
