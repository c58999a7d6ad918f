"""An endpoint's expiry: an EventBridge schedule that deletes the endpoint, and then itself.

It runs at AWS, so this machine may be off by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from petbox.sagemaker.endpoint import names

SHORTEST, LONGEST = timedelta(minutes=10), timedelta(days=365)  # an endpoint takes minutes to start
UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def duration(text: str) -> timedelta:
    """`2h`, `90m`, `1d12h`."""
    if not re.fullmatch(r"(\d{1,6}d)?(\d{1,6}h)?(\d{1,6}m)?", text) or not text:
        raise ValueError(f"{text!r} is not a duration; write it like 2h, 90m or 1d12h")
    parts = re.findall(r"(\d+)([dhm])", text)
    chosen = timedelta(**{UNITS[unit]: int(number) for number, unit in parts})
    if not SHORTEST <= chosen <= LONGEST:
        raise ValueError(f"{text!r} is not between 10m and 365d")
    return chosen


def schedule(name: str, end: datetime, role: str) -> dict[str, Any]:
    """CreateSchedule's and UpdateSchedule's request: `role` deletes the endpoint at `end`."""
    partition = role.split(":")[1]
    return {
        "Name": names.schedule(name),
        "Description": f"made by petbox: deletes the endpoint {name}",
        "ScheduleExpression": f"at({end.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": f"arn:{partition}:scheduler:::aws-sdk:sagemaker:deleteEndpoint",
            "RoleArn": role,
            "Input": json.dumps({"EndpointName": name}),
        },
    }


def time_of(schedule: Mapping[str, Any]) -> datetime | None:
    """None if petbox did not write the schedule's expression."""
    match = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT[\d:]{8})\)", schedule["ScheduleExpression"])
    return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc) if match else None


def end_of(schedule: Mapping[str, Any]) -> str:
    """A schedule's time as text; its expression unchanged if petbox did not write it."""
    at = time_of(schedule)
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else str(schedule["ScheduleExpression"])
