"""The calls that set, remove and restore an endpoint's scaling.

Application Auto Scaling rejects an update to another instance type, so scaling is removed for it
and put back: with third-party policies, and also if the update fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import kept, names, wake
from petbox.sagemaker.endpoint.actual import Actual, Described
from petbox.sagemaker.endpoint.desired import Desired
from petbox.sagemaker.endpoint.steps import Call, matches

SERVICE = "application-autoscaling"
# What AWS adds to a description.
OF_AWS = ("Alarms", "CreationTime", "PolicyARN", "ScheduledActionARN")


def stands_in_the_way(desired: Desired, actual: Actual) -> bool:
    if desired.of_component:  # the instances are not a scalable target
        return False
    if actual.scaling is None or actual.target_config == desired.config_name:
        return False
    return instance_type(desired.config) != instance_type(actual.last or {})


def instance_type(config: Described) -> str | None:
    return next((one.get("InstanceType") for one in config.get("ProductionVariants", ())), None)


def release(name: str, actual: Actual) -> Iterator[Call]:
    """Removes scaling for an update, notes it in a tag, and says how to undo that."""
    for policy in actual.policies:
        called_by = [one["AlarmName"] for one in policy.get("Alarms", ())]
        if (
            called_by
            and policy["PolicyType"] == "StepScaling"
            and policy["PolicyName"] != names.WAKE
        ):
            raise ServiceError(
                f"endpoint {name}: alarm {', '.join(called_by)} calls the scaling policy "
                f"{policy['PolicyName']} by an ARN that it would no longer have with another "
                "--instance-type; delete the policy first, and put it again after"
            )
    bounds, target = kept.scaling(actual)
    if bounds and actual.endpoint is not None:
        noted = [{"Key": names.SCALING, "Value": f"{bounds} {target:g}"}]
        request = {"ResourceArn": actual.endpoint["EndpointArn"], "Tags": noted}
        yield Call("sagemaker", "add_tags", request, f"note of the {_what(name)}")
    undo = (*restore(name, actual), *(forget(name, actual) if bounds else ()))
    yield from (replace(call, undo=undo) for call in remove(name, actual))


def forget(name: str, actual: Actual) -> Iterator[Call]:
    """Removes the tag of `release`."""
    if actual.endpoint is not None:
        request = {"ResourceArn": actual.endpoint["EndpointArn"], "TagKeys": [names.SCALING]}
        yield Call("sagemaker", "delete_tags", request, f"note of the {_what(name)}")


def remove(name: str, actual: Actual) -> Iterator[Call]:
    of, what = names.scaled(name, component=actual.of_component), _what(name)
    for policy in actual.policies:
        request = {**of, "PolicyName": policy["PolicyName"]}
        yield Call(SERVICE, "delete_scaling_policy", request, f"policy of {what}")
    if actual.scaling is not None:
        yield Call(SERVICE, "deregister_scalable_target", of, what)


def restore(name: str, actual: Actual, *, without: tuple[str, ...] = ()) -> Iterator[Call]:
    """All that `remove` removed, but the policies `without`."""
    of, what = names.scaled(name, component=actual.of_component), _what(name)
    if actual.scaling is not None:
        copied = ("MinCapacity", "MaxCapacity", "SuspendedState")
        request = {**of, **{key: actual.scaling[key] for key in copied if key in actual.scaling}}
        yield Call(SERVICE, "register_scalable_target", request, what)
    for policy in actual.policies:
        if policy["PolicyName"] in without:
            continue
        if policy["PolicyName"] == names.WAKE:
            yield from wake.both(name, component=actual.of_component)
        else:
            yield Call(SERVICE, "put_scaling_policy", _asked(policy), f"policy of {what}")
    for action in actual.actions:
        yield Call(SERVICE, "put_scheduled_action", _asked(action), f"schedule of {what}")


def apply(desired: Desired, actual: Actual, *, released: bool) -> Iterator[Call]:
    """Sets what is desired; after `release`, restores what was not to change."""
    what = _what(desired.name)
    if desired.drop_scaling:
        return
    policy = next((one for one in actual.policies if one["PolicyName"] == names.POLICY), None)
    same = desired.policy is not None and matches(policy, desired.policy)
    if released:
        # A policy that has more, such as a cooldown, keeps it.
        ours = (names.WAKE,) if same else (names.WAKE, names.POLICY)
        replaced = () if desired.policy is None else ours
        again = restore(desired.name, actual, without=replaced)
        yield from (_bounded(call, desired) for call in again)
    elif desired.scaling is not None and not matches(actual.scaling, desired.scaling):
        yield Call(SERVICE, "register_scalable_target", desired.scaling, what)
    if desired.policy is None:
        return
    if not same:
        yield Call(SERVICE, "put_scaling_policy", desired.policy, f"policy of {what}")
    yield from wake.apply(desired, actual, released=released)


def _bounded(call: Call, desired: Desired) -> Call:
    if call.operation != "register_scalable_target" or desired.scaling is None:
        return call
    return replace(call, request={**call.request, **desired.scaling})


def _asked(described: Described) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in OF_AWS}


def _what(name: str) -> str:
    return f"scaling of endpoint {name}"
