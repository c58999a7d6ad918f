"""The desired state of an endpoint, as the requests that create it.

Calls nothing. The names of the model and the configuration contain a digest of their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from petbox.aws.names import image_parts
from petbox.sagemaker.endpoint import alarms, dashboard, expiry, names, provenance
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.sizes import bounds, memory_and_concurrency, of_copy
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.model_request import model_request
from petbox.sagemaker.shared_options import METRICS_EVERY, vpc_config

Request = Mapping[str, Any]

JSON = ("application/json", "application/jsonlines")


@dataclass(frozen=True)
class Desired:
    """What is None stays as it is; what is dropped is removed."""

    name: str
    tags: Mapping[str, str]
    model: Request  # CreateModel's
    config: Request  # CreateEndpointConfig's
    count: int | None  # of instances, unless they are scaled
    scaling: Request | None  # RegisterScalableTarget's
    policy: Request | None  # PutScalingPolicy's
    schedule: Request | None  # CreateSchedule's
    component: Request | None = None  # CreateInferenceComponent's
    alarms: tuple[Request, ...] = ()  # PutMetricAlarm's
    dashboard: Request | None = None  # PutDashboard's
    deployment: Request | None = None  # DeploymentConfig of the update
    wake: bool = False  # scaling from no instances
    drop_scaling: bool = False
    drop_schedule: bool = False
    drop_alarms: bool = False
    keep_alarms: bool = False  # as they are, which somebody may have changed
    drop_dashboard: bool = False
    drop_tags: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        return str(self.model["ModelName"])

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])

    @property
    def of_component(self) -> bool:
        return self.component is not None


def desired(
    spec: EndpointSpec,
    now: datetime,
    wanted: EndpointSpec | None = None,
    actual: Actual | None = None,
    deployment: Request | None = None,
    made_from: Mapping[str, str] | None = None,
) -> Desired:
    """`spec` is the whole state; `wanted` has the options that were typed, with the removals.

    `made_from` has tags of the model's origin.
    """
    wanted, actual, origin = wanted or spec, actual or Actual(), made_from or {}
    tags = {**names.tags(spec.name, spec.tag), **origin}
    # Of a component's model the endpoint's configuration has the network.
    alone = replace(spec, subnet=(), security_group=(), network_isolation=None)
    model = model_request(spec.name, alone if spec.component else spec)
    model["Tags"] = names.tag_list(tags)
    schedule = None
    expires = expiry.kept_tag(actual.tags, actual.schedule)
    if spec.ttl:
        end, target = now + expiry.duration(spec.ttl), (actual.schedule or {}).get("Target", {})
        role = spec.ttl_role or target.get("RoleArn") or expiry.role_beside(str(spec.role))
        queue = spec.ttl_dead_letters
        if queue is None:
            queue = target.get("DeadLetterConfig", {}).get("Arn")
        schedule, expires = expiry.schedule(spec.name, end, role, queue or None), expiry.tag(end)
    elif wanted.ttl is False:
        expires = {}
    config = _config(spec, model["ModelName"], actual.running)
    return Desired(
        name=spec.name,
        tags=tags | expires,
        model=model,
        config={**config, "Tags": names.tag_list(tags)},
        component=_component(spec, model["ModelName"], tags) if spec.component else None,
        count=spec.instance_count or (None if spec.autoscale else actual.running),
        scaling=_scaling(spec) if spec.autoscale else None,
        policy=_policy(spec) if spec.autoscale else None,
        schedule=schedule,
        alarms=tuple(
            alarms.requests(
                spec.name,
                spec.alarms,
                spec.alarm_topic or None,
                component=bool(spec.component),
            )
        )
        if spec.alarms
        else (),
        dashboard=_dashboard(spec) if spec.dashboard else None,
        deployment=deployment,
        wake=bool(spec.autoscale and bounds(spec.autoscale)[0] == 0),
        drop_scaling=wanted.autoscale is False,
        drop_schedule=wanted.ttl is False,
        drop_alarms=wanted.alarms is False,
        keep_alarms=wanted.alarms is None and wanted.alarm_topic is None,
        drop_dashboard=wanted.dashboard is False,
        drop_tags=(
            *wanted.no_tag,
            *(key for key in provenance.KEYS if key not in origin),
            *((names.EXPIRES,) if not expires else ()),
        ),
    )


def _config(spec: EndpointSpec, model: str, running: int | None) -> dict[str, Any]:
    variant = _variant(spec, model)
    content: dict[str, Any] = {
        "ProductionVariants": [variant],
        **names.present(KmsKeyId=spec.kms_key),
    }
    if spec.component:
        content |= names.present(
            ExecutionRoleArn=spec.role,
            VpcConfig=vpc_config(spec),
            EnableNetworkIsolation=spec.network_isolation,
        )
    if spec.capture:
        content["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.capture_percent or 100,
            "DestinationS3Uri": spec.capture,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": list(JSON)},
            **names.present(KmsKeyId=spec.kms_key),
        }
    if spec.async_:
        content["AsyncInferenceConfig"] = _async(spec)
    if spec.metrics_every is not False and spec.metrics_every not in (None, METRICS_EVERY):
        every = {"MetricPublishFrequencyInSeconds": spec.metrics_every or None}
        content["MetricsConfig"] = names.present(
            EnableDetailedObservability=bool(spec.metrics_every), **every
        )
    name = names.with_fingerprint(spec.name, content)
    if not spec.serverless:
        # Not in the fingerprint: another number of instances needs no new configuration.
        variant["InitialInstanceCount"] = _initial_count(spec, running)
    return {"EndpointConfigName": name, **content}


def _initial_count(spec: EndpointSpec, running: int | None) -> int:
    if not spec.autoscale:
        return spec.instance_count or running or 1
    least, most = bounds(spec.autoscale)
    if spec.component:  # the bounds are of its copies
        least = 1
    return max(1, least, min(running or 1, most))


def _variant(spec: EndpointSpec, model: str) -> dict[str, Any]:
    variant: dict[str, Any] = {
        "VariantName": names.VARIANT,
        "ModelName": model,
        "InitialVariantWeight": 1.0,
    }
    if spec.serverless:
        memory, concurrency = memory_and_concurrency(spec.serverless)
        variant["ServerlessConfig"] = names.present(
            MemorySizeInMB=memory,
            MaxConcurrency=concurrency,
            ProvisionedConcurrency=spec.provisioned_concurrency,
        )
        return variant
    variant["InstanceType"] = spec.instance_type
    if not spec.async_:
        # Images differ in cost; at random, one instance queues while another is idle.
        variant["RoutingConfig"] = {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    if spec.component:
        return _of_components(spec, variant)
    return variant | names.present(
        InferenceAmiVersion=spec.ami,
        ContainerStartupHealthCheckTimeoutInSeconds=spec.health_timeout,
        ModelDataDownloadTimeoutInSeconds=spec.download_timeout,
    )


def _of_components(spec: EndpointSpec, variant: dict[str, Any]) -> dict[str, Any]:
    """SageMaker adds instances for the copies of components, and removes those without one."""
    least, most = bounds(str(spec.autoscale))
    del variant["ModelName"], variant["InitialVariantWeight"]
    counts = {"MinInstanceCount": min(1, least), "MaxInstanceCount": most}
    variant["ManagedInstanceScaling"] = {"Status": "ENABLED", **counts}
    return variant | names.present(InferenceAmiVersion=spec.ami)


def _component(spec: EndpointSpec, model: str, tags: Mapping[str, str]) -> dict[str, Any]:
    startup = names.present(
        ContainerStartupHealthCheckTimeoutInSeconds=spec.health_timeout,
        ModelDataDownloadTimeoutInSeconds=spec.download_timeout,
    )
    return {
        "InferenceComponentName": spec.name,
        "EndpointName": spec.name,
        "VariantName": names.VARIANT,
        "Specification": names.present(
            ModelName=model,
            StartupParameters=startup,
            ComputeResourceRequirements=of_copy(str(spec.component)),
        ),
        "RuntimeConfig": {"CopyCount": max(1, bounds(str(spec.autoscale))[0])},
        "Tags": names.tag_list(tags),
    }


def _dashboard(spec: EndpointSpec) -> dict[str, str]:
    region = str(image_parts(str(spec.image))["region"])  # which is the endpoint's
    of_component, asynchronous = bool(spec.component), bool(spec.async_)
    return dashboard.request(spec.name, region, component=of_component, asynchronous=asynchronous)


def _async(spec: EndpointSpec) -> dict[str, Any]:
    present = names.present
    topics = present(SuccessTopic=spec.notify_success, ErrorTopic=spec.notify_error)
    return present(
        OutputConfig=present(
            S3OutputPath=spec.async_,
            S3FailurePath=spec.async_errors,
            NotificationConfig=topics,
            KmsKeyId=spec.kms_key,
        ),
        ClientConfig=present(MaxConcurrentInvocationsPerInstance=spec.async_concurrency),
    )


def _scaling(spec: EndpointSpec) -> dict[str, Any]:
    least, most = bounds(str(spec.autoscale))
    return {**_scaled(spec), "MinCapacity": least, "MaxCapacity": most}


def _scaled(spec: EndpointSpec) -> dict[str, str]:
    return names.scaled(spec.name, component=bool(spec.component))


def _policy(spec: EndpointSpec) -> dict[str, Any]:
    of = (
        "InferenceComponentInvocationsPerCopy"
        if spec.component
        else "VariantInvocationsPerInstance"
    )
    invocations = {"PredefinedMetricType": f"SageMaker{of}"}
    metric: dict[str, Any] = {"PredefinedMetricSpecification": invocations}
    if spec.async_:  # counts of completed calls do not show a queue
        backlog = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": spec.name}],
            "Statistic": "Average",
        }
        metric = {"CustomizedMetricSpecification": backlog}
    return {
        **_scaled(spec),
        "PolicyName": names.POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": spec.target, **metric},
    }
