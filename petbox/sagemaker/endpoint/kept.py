"""What an endpoint has, read back from AWS's descriptions as the options that would ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import alarms, component, names
from petbox.sagemaker.endpoint.actual import Actual, Described
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.shared_options import METRICS_EVERY


def kept(name: str, actual: Actual) -> EndpointSpec | None:
    """Of the configuration that it has, or is being updated to; the expiry is not part of it."""
    if actual.endpoint is None or actual.last is None:
        return None
    try:
        return _spec(name, actual, actual.last)
    except ValueError as error:  # somebody changed it by other means
        raise ServiceError(
            f"endpoint {name}: has what petbox cannot keep: {error}; change that where it was "
            f"made, or recreate the endpoint: petbox endpoint down {name}"
        ) from error


def _spec(name: str, actual: Actual, config: Described) -> EndpointSpec:
    model = actual.last_model or {}
    container = model.get("PrimaryContainer", {})
    if other := list(_unknown(config, model, container)):
        raise ValueError(f"its {', '.join(other)}")
    limit = alarms.limit_of(actual.alarms, name)
    isolated = config if actual.of_component else model
    vpc = isolated.get("VpcConfig", {})
    variant = config["ProductionVariants"][0]
    tags = actual.tags.items()
    return EndpointSpec(
        name,
        image=_image(actual, container.get("Image")),
        role=model.get("ExecutionRoleArn"),
        **_model_data(container),
        env=tuple(f"{key}={text}" for key, text in container.get("Environment", {}).items()),
        subnet=tuple(vpc.get("Subnets", ())),
        security_group=tuple(vpc.get("SecurityGroupIds", ())),
        network_isolation=isolated.get("EnableNetworkIsolation") or None,
        kms_key=config.get("KmsKeyId"),
        tag=tuple(f"{key}={text}" for key, text in tags if not key.startswith(NOT_OF_USERS)),
        alarms=limit,
        alarm_topic=alarms.topic_of(actual.alarms) if limit else None,
        dashboard=actual.dashboard is not None or None,
        **_instances(actual, variant),
        **_config(config),
    )


def _unknown(config: Described, model: Described, container: Described) -> Iterator[str]:
    """What somebody added by other means, and the next configuration or model would lack."""
    if (count := len(config["ProductionVariants"])) > 1:
        yield f"{count} ProductionVariants"
    yield from (key for key in ("ShadowProductionVariants", "ExplainerConfig") if config.get(key))
    yield from (key for key in ("CoreDumpConfig",) if config["ProductionVariants"][0].get(key))
    yield from (key for key in ("Containers", "InferenceExecutionConfig") if model.get(key))
    if container.get("ModelPackageName"):
        yield "ModelPackageName"
    if container.get("ModelDataSource") and not container.get("ModelDataUrl"):
        yield "ModelDataSource"
    if container.get("ImageConfig", {}).get("RepositoryAccessMode", "Platform") != "Platform":
        yield "ImageConfig"


def _model_data(container: Described) -> dict[str, Any]:
    address = container.get("ModelDataUrl")
    if container.get("Mode") == "MultiModel":
        return {"multi_model": str(address).removesuffix("/")}  # CreateModel's ends in one
    return {"model_data": address}


def _image(actual: Actual, uri: str | None) -> str | None:
    """By the digest that runs, if SageMaker resolved a tag; the tag may have been moved since."""
    for variant in (actual.endpoint or {}).get("ProductionVariants", ()):
        for one in variant.get("DeployedImages", ()):
            if uri is not None and one.get("SpecifiedImage") == uri and one.get("ResolvedImage"):
                return str(one["ResolvedImage"])
    return uri


NOT_OF_USERS = ("aws:", names.RESERVED)


def _instances(actual: Actual, variant: Described) -> dict[str, Any]:
    if serverless := variant.get("ServerlessConfig"):
        return {
            "serverless": f"{serverless['MemorySizeInMB']},{serverless['MaxConcurrency']}",
            "provisioned_concurrency": serverless.get("ProvisionedConcurrency"),
        }
    bounds, target = scaling(actual)
    if actual.component is not None:
        of_copy = component.stated(actual.component)
        del of_copy["model"]
        return {
            "instance_type": variant.get("InstanceType"),
            "ami": variant.get("InferenceAmiVersion"),
            "autoscale": bounds,
            "target": target,
            **of_copy,
        }
    count = actual.running or variant.get("InitialInstanceCount")
    return {
        "instance_type": variant.get("InstanceType"),
        "instance_count": None if bounds or not count else count,
        "ami": variant.get("InferenceAmiVersion"),
        "health_timeout": variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        "download_timeout": variant.get("ModelDataDownloadTimeoutInSeconds"),
        "autoscale": bounds,
        "target": target,
    }


def scaling(actual: Actual) -> tuple[str | None, float | None]:
    """Bounds and target of petbox's policy, also while an update has it removed."""
    policy = next((one for one in actual.policies if one["PolicyName"] == names.POLICY), None)
    if actual.scaling is not None and policy is not None:
        bounds = f"{actual.scaling['MinCapacity']}..{actual.scaling['MaxCapacity']}"
        return bounds, float(policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"])
    if noted := actual.tags.get(names.SCALING):
        text, number = noted.split(" ")
        return text, float(number)
    return None, None


def _config(config: Described) -> dict[str, Any]:
    found: dict[str, Any] = {}
    capture = config.get("DataCaptureConfig", {})
    if capture.get("EnableCapture"):
        found["capture"] = capture["DestinationS3Uri"]
        percent = capture["InitialSamplingPercentage"]
        found["capture_percent"] = None if percent == 100 else percent
    if metrics := config.get("MetricsConfig"):  # AWS's own default is not part of what was asked
        seconds = metrics.get("MetricPublishFrequencyInSeconds", METRICS_EVERY)
        seconds = seconds if metrics.get("EnableDetailedObservability", True) else 0
        found["metrics_every"] = None if seconds == METRICS_EVERY else seconds
    if async_ := config.get("AsyncInferenceConfig"):
        output = async_["OutputConfig"]
        topics = output.get("NotificationConfig", {})
        client = async_.get("ClientConfig", {})
        found |= {
            "async_": output.get("S3OutputPath"),
            "async_errors": output.get("S3FailurePath"),
            "async_concurrency": client.get("MaxConcurrentInvocationsPerInstance"),
            "notify_success": topics.get("SuccessTopic"),
            "notify_error": topics.get("ErrorTopic"),
        }
    return found
