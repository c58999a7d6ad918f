"""From what is wanted and what is found to the calls that make the one into the other.

Pure: `--dry-run` is this, printed. What cannot be reached from here is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.found import BUSY, Described, Found
from petbox.sagemaker.endpoint.wanted import Request, Wanted

ENDED = ("Failed", "OutOfService", "Deleting")  # such an endpoint can only be deleted


@dataclass(frozen=True)
class Call:
    """One call of boto3; `what` it is about, for people."""

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


def plan(wanted: Wanted, found: Found) -> list[Step]:
    """What is to be done for `wanted` to be, and nothing that petbox made for it besides."""
    _refuse(wanted, found)
    steps: list[Step] = []
    if found.endpoint is None or found.status in ENDED:
        steps += _bury(wanted.name, found)
        found = replace(found, endpoint=None, tags={}, config=None, scaling=None, policies=())
    elif found.status in BUSY and found.heading != wanted.config_name:
        steps.append(Wait(IN_SERVICE))  # SageMaker makes one change at a time
    return [
        *steps,
        *_schedule(wanted, found),  # first, so that the end is sure before the costs begin
        *_parts(wanted, found),
        *_endpoint(wanted, found),
        *_tags(wanted, found),
        *_scale(wanted, found),
        *_replaced(wanted, found),
    ]


def removal(name: str, found: Found) -> list[Step]:
    """What is to be done for nothing that petbox made to be left."""
    if found.endpoint is not None:
        _refuse_foreign(name, found)
    steps = [*_bury(name, found), *_delete_parts(found.configs, found.models)]
    if found.schedule is not None:
        steps.append(_delete_schedule(name))
    return steps


def _bury(name: str, found: Found) -> Iterator[Step]:
    """An end to the endpoint, and to what scales it."""
    yield from _unscale(name, found)
    if found.endpoint is None:
        return
    if found.status != "Deleting":
        request = {"EndpointName": name}
        yield Call("sagemaker", "delete_endpoint", request, f"endpoint {name}")
    yield Wait(GONE)


def _refuse(wanted: Wanted, found: Found) -> None:
    if found.endpoint is None:
        return
    _refuse_foreign(wanted.name, found)
    if found.status == "UpdateRollbackFailed":
        raise ServiceError(
            f"endpoint {wanted.name}: an update failed, and so did its undoing; "
            f"remove it (petbox endpoint down {wanted.name}), or mend it as SageMaker's guide says "
            "under Rolling deployments"
        )
    if found.status in ENDED:
        return
    if _is_serverless(wanted.config) and not _is_serverless(found.config or {}):
        raise ServiceError(
            f"endpoint {wanted.name}: has instances, and SageMaker makes no such endpoint "
            f"serverless; take another name, or first: petbox endpoint down {wanted.name}"
        )


def _refuse_foreign(name: str, found: Found) -> None:
    if found.tags.get(names.OWNER) != name:
        raise ServiceError(
            f"endpoint {name}: was not made by petbox (no tag {names.OWNER}={name}), and is left "
            "as it is; take another name"
        )


# The endpoint and its parts


def _parts(wanted: Wanted, found: Found) -> Iterator[Call]:
    if wanted.model_name not in found.models:
        what = f"model {wanted.model_name}"
        yield Call("sagemaker", "create_model", wanted.model, what)
    if wanted.config_name not in found.configs:
        what = f"endpoint configuration {wanted.config_name}"
        yield Call("sagemaker", "create_endpoint_config", wanted.config, what)


def _endpoint(wanted: Wanted, found: Found) -> Iterator[Step]:
    request: dict[str, Any] = {
        "EndpointName": wanted.name,
        "EndpointConfigName": wanted.config_name,
    }
    if found.endpoint is None:
        request["Tags"] = names.tag_list(wanted.tags)
        yield Call("sagemaker", "create_endpoint", request, f"endpoint {wanted.name}")
    elif found.heading != wanted.config_name:
        if _stays_scaled(wanted, found):
            # As many instances as the load has called for; all else is as the flags say.
            request["RetainAllVariantProperties"] = True
            request["ExcludeRetainedVariantProperties"] = [
                {"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")
            ]
        else:
            yield from _unscale(wanted.name, found)
        yield Call("sagemaker", "update_endpoint", request, f"endpoint {wanted.name}")
    elif found.status not in BUSY:
        return
    yield Wait(IN_SERVICE, wanted.config_name)


def _is_serverless(config: Described) -> bool:
    return any("ServerlessConfig" in one for one in config.get("ProductionVariants", ()))


def _tags(wanted: Wanted, found: Found) -> Iterator[Call]:
    if found.endpoint is None:
        return
    new = {key: value for key, value in wanted.tags.items() if found.tags.get(key) != value}
    if new:
        request = {"ResourceArn": found.endpoint["EndpointArn"], "Tags": names.tag_list(new)}
        yield Call("sagemaker", "add_tags", request, f"tags of endpoint {wanted.name}")


def _replaced(wanted: Wanted, found: Found) -> Iterator[Call]:
    yield from _delete_parts(
        [name for name in found.configs if name != wanted.config_name],
        [name for name in found.models if name != wanted.model_name],
    )


def _delete_parts(configs: Iterable[str], models: Iterable[str]) -> Iterator[Call]:
    for name in configs:
        request = {"EndpointConfigName": name}
        yield Call("sagemaker", "delete_endpoint_config", request, f"endpoint configuration {name}")
    for name in models:
        yield Call("sagemaker", "delete_model", {"ModelName": name}, f"model {name}")


# Scaling


def _stays_scaled(wanted: Wanted, found: Found) -> bool:
    """Application Auto Scaling allows an update that keeps the type of instance."""
    if wanted.scaling is None or found.scaling is None:
        return False
    return _instance_type(wanted.config) == _instance_type(found.config or {})


def _instance_type(config: Described) -> str | None:
    return next((one.get("InstanceType") for one in config.get("ProductionVariants", ())), None)


def _scale(wanted: Wanted, found: Found) -> Iterator[Call]:
    stays = found.heading == wanted.config_name
    if wanted.scaling is None or wanted.policy is None:
        if stays:  # else it was removed before the update
            yield from _unscale(wanted.name, found)
        return
    if not stays and not _stays_scaled(wanted, found):  # it was removed
        found = replace(found, scaling=None, policies=())
    what = f"scaling of endpoint {wanted.name}"
    if not _says(found.scaling, wanted.scaling):
        yield Call("application-autoscaling", "register_scalable_target", wanted.scaling, what)
    what = f"policy of {what}"
    name = wanted.policy["PolicyName"]
    policy = next((one for one in found.policies if one["PolicyName"] == name), None)
    if not _says(policy, wanted.policy):
        yield Call("application-autoscaling", "put_scaling_policy", wanted.policy, what)


def _unscale(name: str, found: Found) -> Iterator[Call]:
    of, what = names.scaled(name), f"scaling of endpoint {name}"
    for policy in found.policies:
        request = {**of, "PolicyName": policy["PolicyName"]}
        yield Call("application-autoscaling", "delete_scaling_policy", request, f"policy of {what}")
    if found.scaling is not None:
        yield Call("application-autoscaling", "deregister_scalable_target", of, what)


def _says(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is found; AWS adds its own defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_says(found.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, float) and isinstance(found, (int, float)):
        return math.isclose(found, wanted)
    return bool(found == wanted)


# The schedule


def _schedule(wanted: Wanted, found: Found) -> Iterator[Call]:
    if wanted.schedule is not None:
        operation = "create_schedule" if found.schedule is None else "update_schedule"
        what = f"schedule {names.schedule(wanted.name)}"
        yield Call("scheduler", operation, wanted.schedule, what)
    elif found.schedule is not None:
        yield _delete_schedule(wanted.name)


def _delete_schedule(name: str) -> Call:
    schedule = names.schedule(name)
    return Call("scheduler", "delete_schedule", {"Name": schedule}, f"schedule {schedule}")
