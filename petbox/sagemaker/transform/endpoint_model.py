"""The model of an endpoint, for a transform job; also that of an inference component."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from petbox.aws import session
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.actual import (
    Described,
    components_of,
    describe_config,
    describe_endpoint,
)
from petbox.sagemaker.transform.options import TransformOptions


def use_endpoint(
    sagemaker: Any, options: TransformOptions
) -> tuple[TransformOptions, str | None, str | None]:
    """The options, the model's name, and the type of the endpoint's instances if it has any.

    Without a name the options have what makes the model: a component may have an image instead.
    """
    name = str(options.endpoint)
    endpoint = describe_endpoint(sagemaker, name)
    config = describe_config(sagemaker, endpoint.get("EndpointConfigName")) if endpoint else None
    if config is None:
        raise ServiceError(
            f"endpoint {name}: not found in this account and region; see: petbox endpoint list"
        )
    variant = config["ProductionVariants"][0]
    instance_type, model = variant.get("InstanceType"), variant.get("ModelName")
    if model is None:
        specification = _specification(sagemaker, name)
        model = specification.get("ModelName")
        if model is None:
            options = _with_container(options, config, specification["Container"])
    return options, model, instance_type


def _specification(sagemaker: Any, name: str) -> Described:
    """Of an endpoint's only inference component."""
    found = components_of(sagemaker, name)
    if len(found) != 1:
        raise ServiceError(
            f"endpoint {name}: has {len(found)} inference components ({', '.join(found) or 'none'})"
            ", and a transform job takes one model; give it: --image, --role and --model-data"
        )
    with session.calling(f"inference component {found[0]}"):
        component = sagemaker.describe_inference_component(InferenceComponentName=found[0])
    specification: Described = component["Specification"]
    return specification


def _with_container(
    options: TransformOptions, config: Described, container: Described
) -> TransformOptions:
    network = config.get("VpcConfig", {})
    environment = container.get("Environment", {})
    return replace(
        options,
        endpoint=None,
        image=container["DeployedImage"]["SpecifiedImage"],
        role=config["ExecutionRoleArn"],
        model_data=container.get("ArtifactUrl"),
        env=tuple(f"{key}={text}" for key, text in environment.items()),
        subnet=tuple(network.get("Subnets", ())),
        security_group=tuple(network.get("SecurityGroupIds", ())),
        network_isolation=config.get("EnableNetworkIsolation", False),
    )
