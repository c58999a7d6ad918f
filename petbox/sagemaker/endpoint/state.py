"""An endpoint's state in plain keys and types, for `petbox endpoint status --json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from petbox.sagemaker.endpoint import expiry, names, provenance
from petbox.sagemaker.endpoint.actual import Actual, Described, reason
from petbox.sagemaker.endpoint.component import copies
from petbox.sagemaker.endpoint.cost import Cost
from petbox.sagemaker.endpoint.kept import scaling
from petbox.sagemaker.endpoint.metrics import Use
from petbox.sagemaker.endpoint.sizes import bounds


def state(
    name: str, region: str | None, actual: Actual, use: Use | None, cost: Cost | None
) -> dict[str, Any]:
    """Every key is always there; null is what it lacks, or what may not be read."""
    endpoint = actual.endpoint or {}
    config = actual.config or {}
    container = (actual.model or {}).get("PrimaryContainer", {})
    capture = config.get("DataCaptureConfig", {})
    output = config.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    image = next(images(endpoint), container.get("Image"))
    pending = actual.target_config
    return {
        "endpoint": name,
        "region": region,
        "status": endpoint["EndpointStatus"],
        "since": _time(endpoint["LastModifiedTime"]),
        "failure": reason(endpoint) if "FailureReason" in endpoint else None,
        "configuration": endpoint.get("EndpointConfigName"),
        "pending_configuration": None if pending == endpoint.get("EndpointConfigName") else pending,
        "variants": list(_variants(endpoint, config)),
        "component": actual.component and _component(actual.component),
        "image": image,
        "model_data": container.get("ModelDataUrl"),
        "provenance": provenance.facts(actual.tags, image),
        "environment": container.get("Environment", {}),
        "scaling": _scaling(actual),
        "async_output": output.get("S3OutputPath"),
        "capture": capture.get("DestinationS3Uri") if capture.get("EnableCapture") else None,
        "alarms": {alarm: one.get("StateValue") for alarm, one in actual.alarms.items()},
        "dashboard": actual.dashboard and names.dashboard(name),
        "expires": _expiry(actual),
        "tags": dict(actual.tags),
        "price": cost and cost.facts(),
        "last_24_hours": None if use is None else _use(use),
    }


def images(endpoint: Described) -> Iterator[str]:
    for variant in endpoint.get("ProductionVariants", ()):
        for image in variant.get("DeployedImages", ()):
            yield str(image.get("ResolvedImage") or image.get("SpecifiedImage"))


def _time(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(timespec="seconds")


def _variants(endpoint: Described, config: Described) -> Iterator[dict[str, Any]]:
    types = {one["VariantName"]: one for one in config.get("ProductionVariants", ())}
    for variant in endpoint.get("ProductionVariants", ()):
        serverless = variant.get("CurrentServerlessConfig") or {}
        yield {
            "name": variant["VariantName"],
            "instance_type": types.get(variant["VariantName"], {}).get("InstanceType"),
            "instances": None if serverless else variant.get("CurrentInstanceCount"),
            "desired_instances": None if serverless else variant.get("DesiredInstanceCount"),
            "memory_mb": serverless.get("MemorySizeInMB"),
            "concurrency": serverless.get("MaxConcurrency"),
            "provisioned_concurrency": serverless.get("ProvisionedConcurrency"),
        }


def _component(component: Described) -> dict[str, Any]:
    now, then = copies(component)
    resources = component["Specification"].get("ComputeResourceRequirements", {})
    return {
        "name": component["InferenceComponentName"],
        "status": component["InferenceComponentStatus"],
        "failure": reason(component) if "FailureReason" in component else None,
        "copies": now,
        "desired_copies": then,
        "memory_mb": resources.get("MinMemoryRequiredInMb"),
        "cpus": resources.get("NumberOfCpuCoresRequired"),
        "gpus": resources.get("NumberOfAcceleratorDevicesRequired"),
    }


def _scaling(actual: Actual) -> dict[str, Any] | None:
    text, target = scaling(actual)
    if text is None:
        return None
    least, most = bounds(text)
    return {"min": least, "max": most, "target": target}


def _expiry(actual: Actual) -> str | None:
    at = actual.schedule and expiry.time_of(actual.schedule)
    return _time(at) if at else None


def _use(use: Use) -> dict[str, Any]:
    return {**dataclasses.asdict(use), "last": _time(use.last) if use.last else None}
