"""An endpoint's expiry: an EventBridge schedule that deletes the endpoint, and then itself.

It runs at AWS, so this machine may be off by then. A tag of the endpoint says when it was to be
gone: the schedule deletes itself even if the endpoint could not be deleted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from petbox.sagemaker.endpoint import names, owned

SHORTEST, LONGEST = timedelta(minutes=10), timedelta(days=365)  # an endpoint takes minutes to start
UNITS = {"d": "days", "h": "hours", "m": "minutes"}
RETRIES = {"MaximumEventAgeInSeconds": 24 * 3600, "MaximumRetryAttempts": 185}  # the most there are
GRACE = timedelta(minutes=2)  # Scheduler is punctual to the minute; deleting takes another
TAGGED = "%Y-%m-%dT%H:%MZ"
REGION = r"(?:[a-z]{2}(?:-gov|-iso[a-z]?)?|eusc-de)-[a-z]+-\d+"
OF_SETUP = re.compile(rf"(arn:.*:role/[^/]+)-endpoint-({REGION})")  # the endpoint's role


def duration(text: str) -> timedelta:
    """`2h`, `90m`, `1d12h`."""
    if not re.fullmatch(r"(\d{1,6}d)?(\d{1,6}h)?(\d{1,6}m)?", text) or not text:
        raise ValueError(f"{text!r} is not a duration; write it like 2h, 90m or 1d12h")
    parts = re.findall(r"(\d+)([dhm])", text)
    chosen = timedelta(**{UNITS[unit]: int(number) for number, unit in parts})
    if not SHORTEST <= chosen <= LONGEST:
        raise ValueError(f"{text!r} is not between 10m and 365d")
    return chosen


def role_beside(role: str) -> str:
    """The role of expiry that `petbox setup` creates with an endpoint's role, or else this one."""
    of_setup = OF_SETUP.fullmatch(role)
    return of_setup.expand(r"\1-scheduler-\2") if of_setup else role


def schedule(
    name: str, end: datetime, role: str, dead_letters: str | None = None
) -> dict[str, Any]:
    """CreateSchedule's and UpdateSchedule's request: `role` deletes the endpoint at `end`.

    The queue `dead_letters` gets the call if all retries fail.
    """
    partition = role.split(":")[1]
    return {
        "Name": names.schedule(name),
        "Description": owned.mark(name),
        "ScheduleExpression": f"at({end.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": f"arn:{partition}:scheduler:::aws-sdk:sagemaker:deleteEndpoint",
            "RoleArn": role,
            "Input": json.dumps({"EndpointName": name}),
            "RetryPolicy": RETRIES,
            **({"DeadLetterConfig": {"Arn": dead_letters}} if dead_letters else {}),
        },
    }


def facts(schedule: Mapping[str, Any] | None) -> dict[str, str]:
    """What a schedule does, for a comparison."""
    if schedule is None:
        return {}
    target = schedule.get("Target", {})
    queue = target.get("DeadLetterConfig", {}).get("Arn")
    return names.present(
        expires=end_of(schedule), ttl_role=target.get("RoleArn"), ttl_dead_letters=queue
    )


def tag(end: datetime) -> dict[str, str]:
    return {names.EXPIRES: end.astimezone(timezone.utc).strftime(TAGGED)}


def kept_tag(tags: Mapping[str, str], schedule: Mapping[str, Any] | None) -> dict[str, str]:
    """That of the schedule; without one, it has ended, and the endpoint's says when."""
    if schedule and (end := time_of(schedule)):
        return tag(end)
    return {key: text for key, text in tags.items() if key == names.EXPIRES}


def overdue(tags: Mapping[str, str], now: datetime) -> str | None:
    """When an endpoint was to be deleted that still exists."""
    try:
        end = datetime.strptime(tags[names.EXPIRES], TAGGED).replace(tzinfo=timezone.utc)
    except (KeyError, ValueError):  # it has none, or somebody changed it
        return None
    return f"{end:%Y-%m-%d %H:%M} UTC" if end < now - GRACE else None


def time_of(schedule: Mapping[str, Any]) -> datetime | None:
    """None if petbox did not write the schedule's expression."""
    match = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT[\d:]{8})\)", schedule["ScheduleExpression"])
    return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc) if match else None


def end_of(schedule: Mapping[str, Any]) -> str:
    """A schedule's time as text; its expression unchanged if petbox did not write it."""
    at = time_of(schedule)
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else str(schedule["ScheduleExpression"])
