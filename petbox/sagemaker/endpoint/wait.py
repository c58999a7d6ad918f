"""Waiting for an endpoint, and what became of it: told on stderr as it changes.

Looks only. What an endpoint that failed has to say for itself is SageMaker's reason and the last
lines of its container.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from petbox.aws import session
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.found import BUSY, Clients, Described, describe_endpoint
from petbox.sagemaker.endpoint.lines import last_lines

BROKEN = ("Failed", "OutOfService", "UpdateRollbackFailed")
FIRST_LOOKS = 3
SECONDS_BETWEEN_LINES = 60.0  # while nothing changes
LAST_LINES = 20


def in_service(
    clients: Clients, name: str, config: str | None, wait: Callable[[], object]
) -> Described:
    """Returns when the endpoint is in service with `config`, if one is named; else raises."""
    seen = _Seen(clients("sagemaker"), name)

    def settled(endpoint: Described | None) -> bool:
        if _status(endpoint) in BUSY:
            return False
        # What was called a moment ago may not show at once.
        early = not seen.busy and seen.looks < FIRST_LOOKS and _status(endpoint) not in BROKEN
        return not early or _is_as_wanted(endpoint, config)

    endpoint = until(settled, seen.look, wait)
    if endpoint is None or endpoint["EndpointStatus"] == "Deleting":
        raise ServiceError(f"endpoint {name}: was deleted meanwhile, by somebody or its --ttl")
    if not _is_as_wanted(endpoint, config):
        raise _failed(clients, endpoint, seen.update_began or endpoint["CreationTime"])
    return endpoint


def _is_as_wanted(endpoint: Described | None, config: str | None) -> bool:
    if endpoint is None or endpoint["EndpointStatus"] != "InService":
        return False
    return config in (None, endpoint.get("EndpointConfigName"))


def gone(sagemaker: Any, name: str, wait: Callable[[], object]) -> None:
    """Returns when there is no such endpoint; one that failed before may show as that at first."""
    seen = _Seen(sagemaker, name)

    def over(endpoint: Described | None) -> bool:
        return endpoint is None or (seen.deleting and _status(endpoint) in BROKEN)

    if (endpoint := until(over, seen.look, wait)) is not None:
        raise ServiceError(f"endpoint {name}: could not be deleted: {reason(endpoint)}")


def settled(sagemaker: Any, name: str, wait: Callable[[], object]) -> None:
    """Returns when SageMaker is no longer at work on the endpoint, however that ended."""
    until(lambda seen: _status(seen) not in BUSY, _Seen(sagemaker, name).look, wait)


def _status(endpoint: Described | None) -> str | None:
    return None if endpoint is None else str(endpoint["EndpointStatus"])


def reason(endpoint: Described) -> str:
    return " ".join(endpoint.get("FailureReason", "no reason given").split()).rstrip(".")


def _failed(clients: Clients, endpoint: Described, since: datetime) -> ServiceError:
    name, status = endpoint["EndpointName"], endpoint["EndpointStatus"]
    _tell_last_lines(clients, name, since)
    if status == "InService":  # SageMaker undoes an update that does not work out
        return ServiceError(
            f"endpoint {name}: the update failed: {reason(endpoint)}; it serves as before; "
            "mend that, and type the same command again"
        )
    return ServiceError(
        f"endpoint {name}: {status.lower()}: {reason(endpoint)}; mend that and type the same "
        f"command again, which starts anew, or remove it: petbox endpoint down {name}"
    )


def _tell_last_lines(clients: Clients, name: str, since: datetime) -> None:
    """Of the containers that were started then, not of those that serve on."""
    began = int(since.timestamp() * 1000)
    try:
        lines = last_lines(clients("logs"), names.log_group(name), LAST_LINES, began)
    except session.Trouble as error:  # who may deploy may not always read the log
        say(f"{error}; its container's last lines are not shown")
        return
    if not lines:
        say(f"the container of {name} wrote no log")
        return
    say(f"the last lines of {name}'s container (more: petbox endpoint logs {name} --lines 500):")
    for line in lines:
        say(f"  {line.text}")


class _Seen:
    """Looks at the endpoint; says its status when it changes, and now and then that it does not."""

    def __init__(self, sagemaker: Any, name: str) -> None:
        self._sagemaker = sagemaker
        self._name = name
        self._status = ""
        self._began = self._said = time.monotonic()
        self.looks = 0
        self.busy = self.deleting = False  # at one of them
        self.update_began: datetime | None = None

    def look(self) -> Described | None:
        endpoint = describe_endpoint(self._sagemaker, self._name)
        status = _status(endpoint)
        self._tell(status or "gone")
        self.looks += 1
        self.busy = self.busy or status in BUSY
        self.deleting = self.deleting or status == "Deleting"
        pending = (endpoint or {}).get("PendingDeploymentSummary", {})
        self.update_began = pending.get("StartTime", self.update_began)
        return endpoint

    def _tell(self, status: str) -> None:
        now = time.monotonic()
        if status != self._status or now - self._said >= SECONDS_BETWEEN_LINES:
            seconds = now - self._began
            since = f", {seconds:.0f} s" if self._status else ""
            say(f"[{status}] {self._name}{since}")
            self._status, self._said = status, now
