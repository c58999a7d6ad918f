"""The inference component that a real-time endpoint hosts if it may go down to zero.

It has the endpoint's name and runs the endpoint's model in copies, each with a share of an
instance. Application Auto Scaling sets the number of copies, and SageMaker that of the instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petbox.sagemaker.endpoint import names, sizes
from petbox.sagemaker.endpoint.actual import BUSY, Actual, Described
from petbox.sagemaker.endpoint.desired import Desired
from petbox.sagemaker.endpoint.steps import COMPONENT_GONE, COMPONENT_IN_SERVICE, Call, Step, Wait


def steps(desired: Desired, actual: Actual) -> Iterator[Step]:
    """Creates or updates it, once the endpoint is in service."""
    if desired.component is None:
        return
    there, what = actual.component, _what(desired.name)
    if there is not None and there["InferenceComponentStatus"] not in (*BUSY, "InService"):
        yield from remove(desired.name, actual)  # it failed
        there = None
    if there is None:
        yield Call("sagemaker", "create_inference_component", desired.component, what)
    elif stated(there) != stated(desired.component):
        if there["InferenceComponentStatus"] in BUSY:
            yield Wait(COMPONENT_IN_SERVICE)
        request = names.present(
            InferenceComponentName=desired.name,
            Specification=desired.component["Specification"],
            DeploymentConfig=desired.deployment,
        )
        yield Call("sagemaker", "update_inference_component", request, what)
    elif there["InferenceComponentStatus"] not in BUSY:
        return
    yield Wait(COMPONENT_IN_SERVICE, component=desired.component)


def remove(name: str, actual: Actual) -> Iterator[Step]:
    """Before its endpoint, which SageMaker deletes without it."""
    if actual.component is None:
        return
    if actual.component["InferenceComponentStatus"] != "Deleting":
        request = {"InferenceComponentName": name}
        yield Call("sagemaker", "delete_inference_component", request, _what(name))
    yield Wait(COMPONENT_GONE)


def stated(component: Described) -> dict[str, Any]:
    """What petbox states of a component, as options; AWS describes more."""
    specification = component["Specification"]
    startup = specification.get("StartupParameters", {})
    return {
        "model": specification.get("ModelName"),
        "component": sizes.as_text(specification.get("ComputeResourceRequirements", {})),
        "health_timeout": startup.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        "download_timeout": startup.get("ModelDataDownloadTimeoutInSeconds"),
    }


def copies(component: Described) -> tuple[int, int]:
    """How many there are, and how many are desired."""
    runtime = component.get("RuntimeConfig", {})
    return runtime.get("CurrentCopyCount", 0), runtime.get("DesiredCopyCount", 0)


def _what(name: str) -> str:
    return f"inference component {name}"
