"""An endpoint's desired state as a template of CloudFormation, or of Terraform in its JSON syntax.

Without petbox's tag: what a stack made, `petbox endpoint down` must not delete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from petbox.sagemaker.endpoint import alarms, names, wake
from petbox.sagemaker.endpoint.desired import Desired

Json = dict[str, Any]
LOCAL = "endpoint"  # the name of each resource within Terraform


def cloudformation(desired: Desired) -> Json:
    tags = names.tag_list(_tags(desired))
    model, config = _content(desired.model, "ModelName"), _content(desired.config, CONFIG)
    made_model = {"ModelName": _attribute("Model", "ModelName")}
    if not desired.of_component:
        (variant,) = config["ProductionVariants"]
        config["ProductionVariants"] = [{**variant, **made_model}]
    endpoint = {
        "EndpointName": desired.name,
        CONFIG: _attribute("EndpointConfig", CONFIG),
        "Tags": tags,
        "DeploymentConfig": None if desired.of_component else desired.deployment,
    }
    resources = {
        "Model": _resource("SageMaker::Model", {**model, "Tags": tags}),
        "EndpointConfig": _resource("SageMaker::EndpointConfig", {**config, "Tags": tags}),
        "Endpoint": _resource("SageMaker::Endpoint", endpoint),
    }
    scaled = "Endpoint"
    if desired.component is not None:
        scaled = "InferenceComponent"
        component: Json = {
            **desired.component,
            "EndpointName": _attribute("Endpoint", "EndpointName"),
            "Specification": {**desired.component["Specification"], **made_model},
            "DeploymentConfig": desired.deployment,
            "Tags": tags,
        }
        resources[scaled] = _resource("SageMaker::InferenceComponent", component)
    if desired.scaling is not None and desired.policy is not None:
        scaling = "ApplicationAutoScaling::"
        resources["ScalableTarget"] = _resource(f"{scaling}ScalableTarget", desired.scaling, scaled)
        resources["ScalingPolicy"] = _resource(
            f"{scaling}ScalingPolicy", desired.policy, "ScalableTarget"
        )
    if desired.wake:
        policy = wake.policy_request(desired.name, component=desired.of_component)
        resources["WakePolicy"] = _resource(f"{scaling}ScalingPolicy", policy, "ScalableTarget")
        wakes = wake.alarm_request(desired.name, component=desired.of_component)
        wakes["AlarmActions"] = [{"Ref": "WakePolicy"}]
        resources["AlarmWake"] = _resource("CloudWatch::Alarm", wakes)
    for kind, alarm in zip(alarms.KINDS, desired.alarms, strict=False):
        resources[f"Alarm{kind.title()}"] = _resource("CloudWatch::Alarm", alarm)
    if desired.alarms:
        pings = _capitalized(alarms.ping_filter(desired.name, component=desired.of_component))
        resources["Pings"] = _resource("Logs::MetricFilter", pings, scaled)
    if desired.dashboard is not None:
        resources["Dashboard"] = _resource("CloudWatch::Dashboard", desired.dashboard)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"SageMaker endpoint {desired.name}",
        "Resources": resources,
    }


CONFIG = "EndpointConfigName"


def _resource(kind: str, properties: Mapping[str, Any], after: str = "") -> Json:
    found: Json = {"Type": f"AWS::{kind}", "Properties": names.present(**properties)}
    return {**found, "DependsOn": after} if after else found


def _attribute(resource: str, attribute: str) -> Json:
    return {"Fn::GetAtt": [resource, attribute]}


def _tags(desired: Desired) -> dict[str, str]:
    return {key: text for key, text in desired.tags.items() if key != names.OWNER}


def _content(request: Mapping[str, Any], name: str) -> Json:
    return {key: value for key, value in request.items() if key not in (name, "Tags")}


def _capitalized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {f"{key[0].upper()}{key[1:]}": _capitalized(one) for key, one in value.items()}
    return [_capitalized(one) for one in value] if isinstance(value, list) else value


def terraform(desired: Desired) -> Json:
    tags = _tags(desired)
    replaced = {"lifecycle": {"create_before_destroy": True}}
    model = _snake(_content(desired.model, "ModelName"))
    if environment := desired.model["PrimaryContainer"].get("Environment"):
        model["primary_container"]["environment"] = environment
    if "vpc_config" in model:
        model["vpc_config"]["subnets"] = desired.model["VpcConfig"]["Subnets"]
    kind, config, name = _terraform_config(desired)
    made_model = {"model_name": f"${{aws_sagemaker_model.{LOCAL}.name}}"}
    if not desired.of_component:
        config["production_variants"][0] |= made_model
    endpoint = {"name": desired.name, "endpoint_config_name": name, "tags": tags}
    if desired.deployment is not None and not desired.of_component:
        endpoint["deployment_config"] = _snake(desired.deployment)
    resources = {
        "aws_sagemaker_model": {"name": desired.model_name, **model, "tags": tags, **replaced},
        kind: {**config, **replaced},
        "aws_sagemaker_endpoint": endpoint,
    }
    scaled = "aws_sagemaker_endpoint"
    if desired.component is not None:
        scaled = "awscc_sagemaker_inference_component"
        component = _snake(names.present(**desired.component, DeploymentConfig=desired.deployment))
        component["endpoint_name"] = f"${{aws_sagemaker_endpoint.{LOCAL}.name}}"
        component["specification"] |= made_model
        component["tags"] = _snake(names.tag_list(tags))
        resources[scaled] = component
    after = {"depends_on": [f"{scaled}.{LOCAL}"]}
    policies, watched = {}, {alarm["AlarmName"]: _alarm(alarm) for alarm in desired.alarms}
    if desired.scaling is not None and desired.policy is not None:
        resources["aws_appautoscaling_target"] = {**_snake(desired.scaling), **after}
        policies[LOCAL] = _policy(desired.policy)
    if desired.wake:
        of_component = desired.of_component
        policies["wake"] = _policy(wake.policy_request(desired.name, component=of_component))
        alarm = _alarm(wake.alarm_request(desired.name, component=of_component))
        alarm["alarm_actions"] = ["${aws_appautoscaling_policy.wake.arn}"]
        watched[alarm["alarm_name"]] = alarm
    whole: Json = {kind: {LOCAL: body} for kind, body in resources.items()}
    if policies:
        whole["aws_appautoscaling_policy"] = policies
    if watched:
        whole["aws_cloudwatch_metric_alarm"] = watched
    if desired.alarms:
        whole["aws_cloudwatch_log_metric_filter"] = {LOCAL: {**_pings(desired), **after}}
    if desired.dashboard is not None:
        whole["aws_cloudwatch_dashboard"] = {LOCAL: _snake(desired.dashboard)}
    providers = {kind.split("_")[0] for kind in whole}
    return {
        "terraform": {
            "required_providers": {one: {"source": f"hashicorp/{one}"} for one in sorted(providers)}
        },
        "resource": whole,
    }


def _terraform_config(desired: Desired) -> tuple[str, Json, str]:
    """Kind, arguments and name of the endpoint configuration.

    The provider awscc has what the provider aws lacks; it is made from CloudFormation's schema.
    """
    content = _content(desired.config, CONFIG)
    if "MetricsConfig" in content or desired.of_component:
        kind, attribute = "awscc_sagemaker_endpoint_config", "endpoint_config_name"
        config = _snake(content)
        config[attribute] = names.with_fingerprint(desired.name, content)
        config["tags"] = _snake(names.tag_list(_tags(desired)))
    else:
        kind, attribute = "aws_sagemaker_endpoint_configuration", "name"
        config = {"name_prefix": f"{desired.name}-", **_snake(content), "tags": _tags(desired)}
        if "kms_key_id" in config:
            config["kms_key_arn"] = config.pop("kms_key_id")
    return kind, config, f"${{{kind}.{LOCAL}.{attribute}}}"


def _snake(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower(): _snake(one)
            for key, one in value.items()
        }
    return [_snake(one) for one in value] if isinstance(value, list) else value


def _policy(request: Mapping[str, Any]) -> Json:
    policy: Json = _snake(request)
    if step := policy.get("step_scaling_policy_configuration"):
        step["step_adjustment"] = step.pop("step_adjustments")
    after = {"depends_on": [f"aws_appautoscaling_target.{LOCAL}"]}
    return {"name": policy.pop("policy_name"), **policy, **after}


def _alarm(alarm: Mapping[str, Any]) -> Json:
    found: Json = _snake(names.present(**alarm))
    if "Dimensions" in alarm:
        found["dimensions"] = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    return found


def _pings(desired: Desired) -> Json:
    request = alarms.ping_filter(desired.name, component=desired.of_component)
    (metric,) = request["metricTransformations"]
    return {
        "name": request["filterName"],
        "log_group_name": request["logGroupName"],
        "pattern": request["filterPattern"],
        "metric_transformation": {
            "name": metric["metricName"],
            "namespace": metric["metricNamespace"],
            "value": metric["metricValue"],
        },
    }
