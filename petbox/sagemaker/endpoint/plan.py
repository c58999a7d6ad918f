"""Plans the calls that bring an endpoint from its actual to its desired state.

Calls nothing; `--dry-run` prints the plan. Rejects changes that SageMaker cannot make.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import BUSY, Actual, Described
from petbox.sagemaker.endpoint.desired import Desired, Request

ENDED = ("Failed", "OutOfService", "Deleting")  # an endpoint that can only be deleted


@dataclass(frozen=True)
class Call:
    """A call of boto3; `what` names its subject in messages."""

    service: str
    operation: str
    request: Request
    what: str

    def shown(self) -> dict[str, Any]:
        return {"call": f"{self.service}.{self.operation}", "request": self.request}


@dataclass(frozen=True)
class Wait:
    """Until the endpoint is in service with `config`, or is gone."""

    until: str  # IN_SERVICE or GONE
    config: str | None = None

    def shown(self) -> dict[str, Any]:
        return {"wait": self.until}


IN_SERVICE, GONE = "until the endpoint is in service", "until the endpoint is gone"

Step = Call | Wait


def plan(desired: Desired, actual: Actual) -> list[Step]:
    """The steps to `desired`, and to delete what petbox created for it before."""
    _reject_impossible(desired, actual)
    steps: list[Step] = []
    if actual.endpoint is None or actual.status in ENDED:
        steps += _delete_endpoint(desired.name, actual)
        actual = replace(actual, endpoint=None, tags={}, config=None, scaling=None, policies=())
    elif actual.status in BUSY and actual.target_config != desired.config_name:
        steps.append(Wait(IN_SERVICE))  # SageMaker makes one change at a time
    return [
        *steps,
        *_schedule(desired, actual),  # first, so that expiry is set before costs begin
        *_parts(desired, actual),
        *_endpoint(desired, actual),
        *_tags(desired, actual),
        *_scale(desired, actual),
        *_replaced(desired, actual),
    ]


def removal(name: str, actual: Actual) -> list[Step]:
    """The steps that delete all that petbox created."""
    if actual.endpoint is not None:
        _reject_foreign(name, actual)
    steps = [*_delete_endpoint(name, actual), *_delete_parts(actual.configs, actual.models)]
    if actual.schedule is not None:
        steps.append(_delete_schedule(name))
    return steps


def _delete_endpoint(name: str, actual: Actual) -> Iterator[Step]:
    yield from _unscale(name, actual)
    if actual.endpoint is None:
        return
    if actual.status != "Deleting":
        request = {"EndpointName": name}
        yield Call("sagemaker", "delete_endpoint", request, f"endpoint {name}")
    yield Wait(GONE)


def _reject_impossible(desired: Desired, actual: Actual) -> None:
    if actual.endpoint is None:
        return
    _reject_foreign(desired.name, actual)
    if actual.status == "UpdateRollbackFailed":
        raise ServiceError(
            f"endpoint {desired.name}: an update and its rollback failed; "
            f"delete it (petbox endpoint down {desired.name}), or fix it as SageMaker's guide says "
            "under Rolling deployments"
        )
    if actual.status in ENDED:
        return
    if _is_serverless(desired.config) and not _is_serverless(actual.config or {}):
        raise ServiceError(
            f"endpoint {desired.name}: has instances, and SageMaker cannot make such an endpoint "
            f"serverless; choose another name, or first: petbox endpoint down {desired.name}"
        )


def _reject_foreign(name: str, actual: Actual) -> None:
    if actual.tags.get(names.OWNER) != name:
        raise ServiceError(
            f"endpoint {name}: was not created by petbox (no tag {names.OWNER}={name}) "
            "and is left unchanged; choose another name"
        )


# The endpoint and its parts


def _parts(desired: Desired, actual: Actual) -> Iterator[Call]:
    if desired.model_name not in actual.models:
        what = f"model {desired.model_name}"
        yield Call("sagemaker", "create_model", desired.model, what)
    if desired.config_name not in actual.configs:
        what = f"endpoint configuration {desired.config_name}"
        yield Call("sagemaker", "create_endpoint_config", desired.config, what)


def _endpoint(desired: Desired, actual: Actual) -> Iterator[Step]:
    request: dict[str, Any] = {
        "EndpointName": desired.name,
        "EndpointConfigName": desired.config_name,
    }
    if actual.endpoint is None:
        request["Tags"] = names.tag_list(desired.tags)
        yield Call("sagemaker", "create_endpoint", request, f"endpoint {desired.name}")
    elif actual.target_config != desired.config_name:
        if _stays_scaled(desired, actual):
            # Keep the number of instances that scaling chose; the flags set all else.
            request["RetainAllVariantProperties"] = True
            request["ExcludeRetainedVariantProperties"] = [
                {"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")
            ]
        else:
            yield from _unscale(desired.name, actual)
        yield Call("sagemaker", "update_endpoint", request, f"endpoint {desired.name}")
    elif actual.status not in BUSY:
        return
    yield Wait(IN_SERVICE, desired.config_name)


def _is_serverless(config: Described) -> bool:
    return any("ServerlessConfig" in one for one in config.get("ProductionVariants", ()))


def _tags(desired: Desired, actual: Actual) -> Iterator[Call]:
    if actual.endpoint is None:
        return
    new = {key: value for key, value in desired.tags.items() if actual.tags.get(key) != value}
    if new:
        request = {"ResourceArn": actual.endpoint["EndpointArn"], "Tags": names.tag_list(new)}
        yield Call("sagemaker", "add_tags", request, f"tags of endpoint {desired.name}")


def _replaced(desired: Desired, actual: Actual) -> Iterator[Call]:
    yield from _delete_parts(
        [name for name in actual.configs if name != desired.config_name],
        [name for name in actual.models if name != desired.model_name],
    )


def _delete_parts(configs: Iterable[str], models: Iterable[str]) -> Iterator[Call]:
    for name in configs:
        request = {"EndpointConfigName": name}
        yield Call("sagemaker", "delete_endpoint_config", request, f"endpoint configuration {name}")
    for name in models:
        yield Call("sagemaker", "delete_model", {"ModelName": name}, f"model {name}")


# Scaling


def _stays_scaled(desired: Desired, actual: Actual) -> bool:
    """Application Auto Scaling allows an update that keeps the type of instance."""
    if desired.scaling is None or actual.scaling is None:
        return False
    return _instance_type(desired.config) == _instance_type(actual.config or {})


def _instance_type(config: Described) -> str | None:
    return next((one.get("InstanceType") for one in config.get("ProductionVariants", ())), None)


def _scale(desired: Desired, actual: Actual) -> Iterator[Call]:
    stays = actual.target_config == desired.config_name
    if desired.scaling is None or desired.policy is None:
        if stays:  # else it was removed before the update
            yield from _unscale(desired.name, actual)
        return
    if not stays and not _stays_scaled(desired, actual):  # it was removed
        actual = replace(actual, scaling=None, policies=())
    what = f"scaling of endpoint {desired.name}"
    if not _matches(actual.scaling, desired.scaling):
        yield Call("application-autoscaling", "register_scalable_target", desired.scaling, what)
    what = f"policy of {what}"
    name = desired.policy["PolicyName"]
    policy = next((one for one in actual.policies if one["PolicyName"] == name), None)
    if not _matches(policy, desired.policy):
        yield Call("application-autoscaling", "put_scaling_policy", desired.policy, what)


def _unscale(name: str, actual: Actual) -> Iterator[Call]:
    of, what = names.scaled(name), f"scaling of endpoint {name}"
    for policy in actual.policies:
        request = {**of, "PolicyName": policy["PolicyName"]}
        yield Call("application-autoscaling", "delete_scaling_policy", request, f"policy of {what}")
    if actual.scaling is not None:
        yield Call("application-autoscaling", "deregister_scalable_target", of, what)


def _matches(actual: Any, desired: Any) -> bool:
    """Whether `actual` has all of `desired`; AWS adds its own defaults."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(
            _matches(actual.get(k), v) for k, v in desired.items()
        )
    if isinstance(desired, float) and isinstance(actual, (int, float)):
        return math.isclose(actual, desired)
    return bool(actual == desired)


# The schedule


def _schedule(desired: Desired, actual: Actual) -> Iterator[Call]:
    if desired.schedule is not None:
        operation = "create_schedule" if actual.schedule is None else "update_schedule"
        what = f"schedule {names.schedule(desired.name)}"
        yield Call("scheduler", operation, desired.schedule, what)
    elif actual.schedule is not None:
        yield _delete_schedule(desired.name)


def _delete_schedule(name: str) -> Call:
    schedule = names.schedule(name)
    return Call("scheduler", "delete_schedule", {"Name": schedule}, f"schedule {schedule}")
