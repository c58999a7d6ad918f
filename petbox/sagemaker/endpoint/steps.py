"""The steps of a plan: calls of boto3, and waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call of boto3; `what` names its subject, `undo` is made if a later step fails."""

    service: str
    operation: str
    request: Mapping[str, Any]
    what: str
    undo: tuple[Call, ...] = ()
    commits: bool = False  # from here on, nothing is undone

    def shown(self) -> dict[str, Any]:
        return {"call": f"{self.service}.{self.operation}", "request": self.request}


@dataclass(frozen=True)
class Wait:
    """Until the endpoint is in service with `config`, or its `component`; or one is gone."""

    until: str  # one of the texts below
    config: str | None = None
    commits: bool = False
    component: Mapping[str, Any] | None = None  # CreateInferenceComponent's request

    def shown(self) -> dict[str, Any]:
        return {"wait": self.until}


# In a request: AWS's name of the policy that was put last.
POLICY_ARN = "(the policy's ARN)"

IN_SERVICE, GONE = "until the endpoint is in service", "until the endpoint is gone"
COMPONENT_IN_SERVICE = "until the inference component is in service"
COMPONENT_GONE = "until the inference component is gone"

Step = Call | Wait


def matches(actual: Any, desired: Any) -> bool:
    """Whether `actual` has all of `desired`; AWS adds its own defaults."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(
            matches(actual.get(k), v) for k, v in desired.items()
        )
    if isinstance(desired, list):
        return (
            isinstance(actual, (list, tuple))
            and len(actual) == len(desired)
            and all(map(matches, actual, desired))
        )
    if isinstance(desired, float) and isinstance(actual, (int, float)):
        return math.isclose(actual, desired)
    return bool(actual == desired)
