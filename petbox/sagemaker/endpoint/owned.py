"""Which alarms, dashboards and schedules petbox made for an endpoint.

A text in them says so. Their names alone could be anybody's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def mark(name: str) -> str:
    """In the description of an alarm or schedule, and in a text of a dashboard."""
    return f"made by petbox for the endpoint {name}"


def is_ours(found: Mapping[str, Any], name: str) -> bool:
    """Whether petbox made what is described for the endpoint `name`."""
    if "DashboardBody" in found:
        return json.dumps(mark(name)) in str(found["DashboardBody"])
    return bool(found.get("AlarmDescription", found.get("Description")) == mark(name))
