"""How an update reaches an endpoint: UpdateEndpoint's DeploymentConfig, and what rolls it back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from petbox.sagemaker.endpoint import expiry

BAKING = "5m"
MOST_ALARMS = 10
LONGEST = timedelta(hours=1)


def percent(least: int, most: int) -> Any:
    def check(text: str) -> None:
        match = re.fullmatch(r"(\d{1,3})%", text)
        if not match or not least <= int(match[1]) <= most:
            raise ValueError(f"{text!r} is not a percentage from {least}% to {most}%")

    return check


def check_baking(text: str) -> None:
    if not timedelta() <= _seconds(text) <= LONGEST:
        raise ValueError(f"{text!r} is longer than 1h")


def _seconds(text: str) -> timedelta:
    parts = re.fullmatch(r"(\d{1,4})([mh])", text)
    if parts is None:
        raise ValueError(f"{text!r} is not a duration; write it like {BAKING}")
    return timedelta(**{expiry.UNITS[parts[2]]: int(parts[1])})


def request(
    canary: str | None,
    linear: str | None,
    rolling: str | None,
    baking: str | None,
    alarms: Sequence[str],
) -> dict[str, Any] | None:
    """None if SageMaker's own default is wanted: all at once, with no alarm."""
    if not (canary or linear or rolling or alarms):
        return None
    wait = int(_seconds(baking or BAKING).total_seconds())
    found: dict[str, Any]
    if rolling:
        found = {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": _size(rolling),
                "WaitIntervalInSeconds": wait,
            }
        }
    else:
        routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": wait}
        if canary:
            routing |= {"Type": "CANARY", "CanarySize": _size(canary)}
        elif linear:
            routing |= {"Type": "LINEAR", "LinearStepSize": _size(linear)}
        found = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    if alarms:
        found["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return found


def described(request: Mapping[str, Any]) -> str:
    """A DeploymentConfig, as a person reads it."""
    if policy := request.get("RollingUpdatePolicy"):
        text = f"in batches of {policy['MaximumBatchSize']['Value']} %"
    else:
        policy = request["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
        text = {
            "ALL_AT_ONCE": "all at once",
            "CANARY": f"{policy.get('CanarySize', {}).get('Value')} % first, then the rest",
            "LINEAR": f"in steps of {policy.get('LinearStepSize', {}).get('Value')} %",
        }[policy["Type"]]
    text += f", watched for {policy['WaitIntervalInSeconds'] // 60} min after each step"
    alarms = request.get("AutoRollbackConfiguration", {}).get("Alarms", ())
    if alarms:
        text += f", rolled back by {', '.join(one['AlarmName'] for one in alarms)}"
    return text


def _size(text: str) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": int(text.rstrip("%"))}
