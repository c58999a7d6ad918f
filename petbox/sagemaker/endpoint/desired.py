"""The desired state of an endpoint, as the requests that create it.

Calls nothing. The names of the model and the configuration contain a digest of their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from petbox.sagemaker.endpoint import alarms, expiry, names, provenance
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.spec import EndpointSpec, bounds, memory_and_concurrency
from petbox.sagemaker.model_request import model_request
from petbox.sagemaker.shared_options import METRICS_EVERY

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
    alarms: tuple[Request, ...] = ()  # PutMetricAlarm's
    deployment: Request | None = None  # UpdateEndpoint's DeploymentConfig
    wake: bool = False  # scaling from no instances
    drop_scaling: bool = False
    drop_schedule: bool = False
    drop_alarms: bool = False
    drop_tags: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        return str(self.model["ModelName"])

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])


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
    model = {**model_request(spec.name, spec), "Tags": names.tag_list(tags)}
    schedule = None
    if spec.ttl:
        target = (actual.schedule or {}).get("Target", {})
        role = spec.ttl_role or target.get("RoleArn") or spec.role
        schedule = expiry.schedule(spec.name, now + expiry.duration(spec.ttl), str(role))
    config = _config(spec, model["ModelName"], actual.running)
    return Desired(
        name=spec.name,
        tags=tags,
        model=model,
        config={**config, "Tags": names.tag_list(tags)},
        count=spec.instance_count or (None if spec.autoscale else actual.running),
        scaling=_scaling(spec) if spec.autoscale else None,
        policy=_policy(spec) if spec.autoscale else None,
        schedule=schedule,
        alarms=tuple(alarms.requests(spec.name, spec.alarms, spec.alarm_topic or None))
        if spec.alarms
        else (),
        deployment=deployment,
        wake=bool(spec.autoscale and bounds(spec.autoscale)[0] == 0),
        drop_scaling=wanted.autoscale is False,
        drop_schedule=wanted.ttl is False,
        drop_alarms=wanted.alarms is False,
        drop_tags=(*wanted.no_tag, *(key for key in provenance.KEYS if key not in origin)),
    )


def _config(spec: EndpointSpec, model: str, running: int | None) -> dict[str, Any]:
    variant = _variant(spec, model)
    content: dict[str, Any] = {
        "ProductionVariants": [variant],
        **names.present(KmsKeyId=spec.kms_key),
    }
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
    return variant | names.present(
        InferenceAmiVersion=spec.ami,
        ContainerStartupHealthCheckTimeoutInSeconds=spec.health_timeout,
        ModelDataDownloadTimeoutInSeconds=spec.download_timeout,
    )


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
    return {**names.scaled(spec.name), "MinCapacity": least, "MaxCapacity": most}


def _policy(spec: EndpointSpec) -> dict[str, Any]:
    invocations = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
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
        **names.scaled(spec.name),
        "PolicyName": names.POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": spec.target, **metric},
    }
