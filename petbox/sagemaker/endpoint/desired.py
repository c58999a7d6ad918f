"""The desired state of an endpoint, as the requests that create it.

Calls nothing. The names of the model and the configuration contain a digest of their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from petbox.sagemaker.endpoint import expiry, fit, names
from petbox.sagemaker.endpoint.options import UpOptions, bounds, memory_and_concurrency
from petbox.sagemaker.model_request import model_request

Request = Mapping[str, Any]

JSON = ("application/json", "application/jsonlines")


@dataclass(frozen=True)
class Desired:
    name: str
    tags: Mapping[str, str]
    model: Request  # CreateModel's
    config: Request  # CreateEndpointConfig's
    scaling: Request | None  # RegisterScalableTarget's
    policy: Request | None  # PutScalingPolicy's
    schedule: Request | None  # CreateSchedule's

    @property
    def model_name(self) -> str:
        return str(self.model["ModelName"])

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])


def desired(options: UpOptions, now: datetime) -> Desired:
    tags = names.tags(options.name, options.tag)
    model = model_request(options.name, options)
    schedule = None
    if options.ttl is not None:
        end = now + expiry.duration(options.ttl)
        schedule = expiry.schedule(options.name, end, options.ttl_role or options.role)
    scaled = options.autoscale is not None
    return Desired(
        name=options.name,
        tags=tags,
        model=model,
        config={**_config(options, model["ModelName"]), "Tags": names.tag_list(tags)},
        scaling=_scaling(options) if scaled else None,
        policy=_policy(options) if scaled else None,
        schedule=schedule,
    )


def _config(options: UpOptions, model: str) -> dict[str, Any]:
    variant = _variant(options, model)
    content: dict[str, Any] = {"ProductionVariants": [variant]}
    if options.capture is not None:
        content["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": options.capture_percent or 100,
            "DestinationS3Uri": options.capture,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": list(JSON)},
        }
    if options.async_ is not None:
        content["AsyncInferenceConfig"] = _async(options)
    name = names.with_fingerprint(options.name, content)
    if options.autoscale is not None:
        # Not in the fingerprint: changing the bounds needs no new configuration.
        variant["InitialInstanceCount"] = max(1, bounds(options.autoscale)[0])
    return {"EndpointConfigName": name, **content}


def _variant(options: UpOptions, model: str) -> dict[str, Any]:
    variant: dict[str, Any] = {
        "VariantName": names.VARIANT,
        "ModelName": model,
        "InitialVariantWeight": 1.0,
    }
    if options.serverless is not None:
        memory, concurrency = memory_and_concurrency(options.serverless)
        variant["ServerlessConfig"] = {"MemorySizeInMB": memory, "MaxConcurrency": concurrency}
        return variant
    variant["InstanceType"] = options.instance_type or fit.CPU
    if options.autoscale is None:
        variant["InitialInstanceCount"] = options.instance_count or 1
    if options.async_ is None:
        # Images differ in cost; at random, one instance queues while another is idle.
        variant["RoutingConfig"] = {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    return variant | names.present(
        InferenceAmiVersion=options.ami,
        ContainerStartupHealthCheckTimeoutInSeconds=options.health_timeout,
        ModelDataDownloadTimeoutInSeconds=options.download_timeout,
    )


def _async(options: UpOptions) -> dict[str, Any]:
    present = names.present
    topics = present(SuccessTopic=options.notify_success, ErrorTopic=options.notify_error)
    return present(
        OutputConfig=present(
            S3OutputPath=options.async_,
            S3FailurePath=options.async_errors,
            NotificationConfig=topics,
        ),
        ClientConfig=present(MaxConcurrentInvocationsPerInstance=options.async_concurrency),
    )


def _scaling(options: UpOptions) -> dict[str, Any]:
    least, most = bounds(str(options.autoscale))
    return {**names.scaled(options.name), "MinCapacity": least, "MaxCapacity": most}


def _policy(options: UpOptions) -> dict[str, Any]:
    invocations = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    metric: dict[str, Any] = {"PredefinedMetricSpecification": invocations}
    if options.async_ is not None:  # counts of completed calls do not show a queue
        backlog = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": options.name}],
            "Statistic": "Average",
        }
        metric = {"CustomizedMetricSpecification": backlog}
    return {
        **names.scaled(options.name),
        "PolicyName": names.POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": options.target, **metric},
    }
