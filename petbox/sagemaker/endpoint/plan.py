"""Plans the steps that bring an endpoint from its actual to its desired state.

Calls nothing; `--dry-run` prints the plan. What is removed goes last, after the new state is in
service; only an update to another instance type needs scaling out of the way before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import alarms, component, kept, names, scaling, wake
from petbox.sagemaker.endpoint.actual import BUSY, Actual, Described
from petbox.sagemaker.endpoint.desired import Desired, Request
from petbox.sagemaker.endpoint.steps import GONE, IN_SERVICE, Call, Step, Wait, matches

ENDED = ("Failed", "OutOfService", "Deleting")  # an endpoint that can only be deleted


def plan(desired: Desired, actual: Actual) -> list[Step]:
    """The steps to `desired`, and to delete what petbox created for it before."""
    reject_foreign(desired.name, actual)
    _reject_failed_rollback(desired.name, actual)
    _reject_other_kind(desired, actual)
    steps: list[Step] = []
    now, released = actual, scaling.stands_in_the_way(desired, actual)
    if actual.endpoint is None or actual.status in ENDED:
        steps += _delete_endpoint(desired.name, actual)
        steps += _outdated_config(desired, actual)
        now = replace(actual, endpoint=None, tags={}, config=None, last=None, component=None)
        if actual.endpoint is None:  # what its scaling was is forgotten with it
            now = replace(now, scaling=None, policies=(), actions=())
        released = now.scaling is not None
    elif actual.status in BUSY and actual.target_config != desired.config_name:
        steps.append(Wait(IN_SERVICE))  # SageMaker makes one change at a time
    before_update: list[Call] = []
    if released and now.endpoint is not None:
        before_update += scaling.release(desired.name, actual)
    scaled = [*scaling.apply(desired, now, released=released)]
    if scaled:
        scaled[-1] = replace(scaled[-1], commits=True)
    steps += [
        *_schedule(desired, now),  # first, so that expiry is set before costs begin
        *_parts(desired, now, steps),
        *_alarms(desired, now),
        *before_update,
        *_endpoint(desired, now),
        *_count(desired, now),
        *component.steps(desired, now),
        *scaled,
        *_tags(desired, now),
        *_ping_alarm(desired, now),
        *_dashboard(desired, now),
        *_removed(desired, now, released=released),
        *_replaced(desired, now),
    ]
    _reject_overwriting(steps, actual)
    return steps


def removal(name: str, actual: Actual) -> list[Step]:
    """The steps that delete all that petbox created."""
    reject_foreign(name, actual)
    if actual.other_components:
        others = ", ".join(actual.other_components)
        raise ServiceError(
            f"endpoint {name}: also hosts inference components that petbox did not make: {others}; "
            "delete them first"
        )
    return [
        *_delete_endpoint(name, actual),
        *_delete_alarms(name, actual),
        *wake.delete_alarm(name, actual),
        *_delete_dashboard(name, actual),
        *_delete_parts(actual.configs, actual.models),
        *_delete_schedule(name, actual),
    ]


def _delete_endpoint(name: str, actual: Actual) -> Iterator[Step]:
    yield from scaling.remove(name, actual)
    yield from component.remove(name, actual)
    if actual.endpoint is None:
        return
    if actual.status != "Deleting":
        request = {"EndpointName": name}
        yield Call("sagemaker", "delete_endpoint", request, f"endpoint {name}")
    yield Wait(GONE)


def reject_foreign(name: str, actual: Actual) -> None:
    if actual.endpoint is not None and actual.tags.get(names.OWNER) != name:
        raise ServiceError(
            f"endpoint {name}: was not created by petbox (no tag {names.OWNER}={name}) "
            "and is left unchanged; choose another name"
        )


def _reject_failed_rollback(name: str, actual: Actual) -> None:
    if actual.status == "UpdateRollbackFailed":
        raise ServiceError(
            f"endpoint {name}: an update and its rollback failed; "
            f"delete it (petbox endpoint down {name}), or fix it as SageMaker's guide says "
            "under Rolling deployments"
        )


def _reject_other_kind(desired: Desired, actual: Actual) -> None:
    if actual.endpoint is not None and desired.of_component != actual.of_component:
        has = "an inference component" if actual.of_component else "a model without --component"
        raise ServiceError(
            f"endpoint {desired.name}: has {has}, and that cannot be changed; choose another "
            f"name, or first: petbox endpoint down {desired.name}"
        )


def _reject_overwriting(steps: Iterable[Step], actual: Actual) -> None:
    for step in steps:
        if isinstance(step, Call) and step.what in actual.third_party:
            raise ServiceError(
                f"{step.what}: exists, and petbox did not make it; delete it, or choose another "
                "name for the endpoint"
            )


# The endpoint and its parts


def _outdated_config(desired: Desired, actual: Actual) -> Iterator[Call]:
    """One of this name that no endpoint has; its number of instances may be an older one."""
    if desired.config_name in actual.configs and not matches(actual.last, _counted(desired)):
        yield from _delete_parts([desired.config_name], [])


def _counted(desired: Desired) -> dict[str, Any]:
    return {"ProductionVariants": desired.config["ProductionVariants"]}


def _parts(desired: Desired, actual: Actual, before: Iterable[Step]) -> Iterator[Call]:
    if desired.model_name not in actual.models:
        what = f"model {desired.model_name}"
        yield Call("sagemaker", "create_model", desired.model, what)
    deleted = any(isinstance(s, Call) and s.operation == "delete_endpoint_config" for s in before)
    if desired.config_name not in actual.configs or deleted:
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
        if not _is_serverless(desired.config) and not _is_serverless(actual.last or {}):
            # Keep the number of instances that runs; the new configuration sets all else.
            request["RetainAllVariantProperties"] = True
            request["ExcludeRetainedVariantProperties"] = [
                {"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")
            ]
        if desired.deployment is not None and not desired.of_component:
            request["DeploymentConfig"] = desired.deployment
        yield Call("sagemaker", "update_endpoint", request, f"endpoint {desired.name}")
    elif actual.status not in BUSY:
        return
    yield Wait(IN_SERVICE, desired.config_name, commits=desired.drop_scaling)


def _is_serverless(config: Described) -> bool:
    return any("ServerlessConfig" in one for one in config.get("ProductionVariants", ()))


def _count(desired: Desired, actual: Actual) -> Iterator[Step]:
    if actual.endpoint is None or desired.count is None or _is_serverless(actual.last or {}):
        return
    if actual.running not in (None, desired.count):
        count = {"VariantName": names.VARIANT, "DesiredInstanceCount": desired.count}
        request = {"EndpointName": desired.name, "DesiredWeightsAndCapacities": [count]}
        what = f"number of instances of endpoint {desired.name}"
        yield Call("sagemaker", "update_endpoint_weights_and_capacities", request, what)
        yield Wait(IN_SERVICE, desired.config_name)


def _tags(desired: Desired, actual: Actual) -> Iterator[Call]:
    if actual.endpoint is None:
        return
    new = {key: value for key, value in desired.tags.items() if actual.tags.get(key) != value}
    if new:
        request = {"ResourceArn": actual.endpoint["EndpointArn"], "Tags": names.tag_list(new)}
        yield Call("sagemaker", "add_tags", request, f"tags of endpoint {desired.name}")


# What is removed


def _removed(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """What `--no-FLAG` removes, and a tag that is no longer needed."""
    if desired.drop_scaling and not released:
        yield from scaling.remove(desired.name, actual)
    yield from wake.remove(desired, actual, released=released)
    if desired.drop_alarms:
        yield from _delete_alarms(desired.name, actual)
    if desired.drop_dashboard:
        yield from _delete_dashboard(desired.name, actual)
    if desired.drop_schedule:
        yield from _delete_schedule(desired.name, actual)
    if names.SCALING in actual.tags or (released and kept.scaling(actual)[0]):
        yield from scaling.forget(desired.name, actual)
    gone = [key for key in desired.drop_tags if key in actual.tags]
    if gone and actual.endpoint is not None:
        request = {"ResourceArn": actual.endpoint["EndpointArn"], "TagKeys": gone}
        yield Call("sagemaker", "delete_tags", request, f"tags of endpoint {desired.name}")


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


# Alarms, the dashboard and the schedule


def _alarms(desired: Desired, actual: Actual) -> Iterator[Call]:
    """Before an update, which they may roll back."""
    for alarm in desired.alarms:
        if alarm["AlarmName"] != alarms.ping_alarm(desired.name):
            yield from _alarm(alarm, desired, actual)


def _ping_alarm(desired: Desired, actual: Actual) -> Iterator[Call]:
    """Once there is a log to filter. The filter comes first and goes first: the alarm shows it."""
    for alarm in desired.alarms:
        if alarm["AlarmName"] == alarms.ping_alarm(desired.name):
            if alarm["AlarmName"] not in actual.alarms:
                request = alarms.ping_filter(desired.name, component=desired.of_component)
                what = f"filter {request['filterName']} of the log"
                yield Call("logs", "put_metric_filter", request, what)
            yield from _alarm(alarm, desired, actual)


def _alarm(alarm: Request, desired: Desired, actual: Actual) -> Iterator[Call]:
    name = alarm["AlarmName"]
    there = actual.alarms.get(name)
    if there is None or not (desired.keep_alarms or matches(there, alarm)):
        yield Call("cloudwatch", "put_metric_alarm", alarm, f"alarm {name}")


def _delete_alarms(name: str, actual: Actual) -> Iterator[Call]:
    if actual.alarms:
        identity = alarms.filter_identity(name, component=actual.of_component)
        what = f"filter {identity['filterName']} of the log"
        yield Call("logs", "delete_metric_filter", identity, what)
        request = {"AlarmNames": list(actual.alarms)}
        yield Call("cloudwatch", "delete_alarms", request, f"alarms {', '.join(actual.alarms)}")


def _dashboard(desired: Desired, actual: Actual) -> Iterator[Call]:
    """One that exists is left as it is: people arrange theirs."""
    if desired.dashboard is not None and actual.dashboard is None:
        what = f"dashboard {names.dashboard(desired.name)}"
        yield Call("cloudwatch", "put_dashboard", desired.dashboard, what)


def _delete_dashboard(name: str, actual: Actual) -> Iterator[Call]:
    if actual.dashboard is not None:
        called = names.dashboard(name)
        request = {"DashboardNames": [called]}
        yield Call("cloudwatch", "delete_dashboards", request, f"dashboard {called}")


def _schedule(desired: Desired, actual: Actual) -> Iterator[Call]:
    if desired.schedule is not None:
        operation = "create_schedule" if actual.schedule is None else "update_schedule"
        what = f"schedule {names.schedule(desired.name)}"
        yield Call("scheduler", operation, desired.schedule, what)


def _delete_schedule(name: str, actual: Actual) -> Iterator[Call]:
    if actual.schedule is not None:
        schedule = names.schedule(name)
        yield Call("scheduler", "delete_schedule", {"Name": schedule}, f"schedule {schedule}")
