"""Waits for an endpoint and reports its status on stderr; changes nothing.

For an endpoint that failed, reports SageMaker's reason and the last lines of the container's log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from petbox.aws import session
from petbox.aws.logs import last_lines
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import (
    BUSY,
    Clients,
    Described,
    describe_component,
    describe_endpoint,
    reason,
)
from petbox.sagemaker.endpoint.component import stated

BROKEN = ("Failed", "OutOfService", "UpdateRollbackFailed")
TOO_LARGE = "not enough hardware resources"  # in SageMaker's reason, if a copy fits no instance
FIRST_POLLS = 3
SECONDS_BETWEEN_LINES = 60.0  # while the status stays the same
LAST_LINES = 20


def in_service(clients: Clients, name: str, config: str | None, wait: Callable[[], object]) -> None:
    """Returns when the endpoint is in service, with `config` if given; raises if that fails."""
    seen = _Poller(clients("sagemaker"), name)

    def settled(endpoint: Described | None) -> bool:
        if _status(endpoint) in BUSY:
            return False
        # A call may take a moment to become visible.
        early = not seen.busy and seen.polls < FIRST_POLLS and _status(endpoint) not in BROKEN
        return not early or _is_as_desired(endpoint, config)

    endpoint = until(settled, seen.poll, wait)
    if endpoint is None or endpoint["EndpointStatus"] == "Deleting":
        raise ServiceError(
            f"endpoint {name}: was deleted meanwhile, by someone or at its expiry (--ttl)"
        )
    if not _is_as_desired(endpoint, config):
        raise _failed(clients, endpoint, seen.update_began or endpoint["CreationTime"])


def _is_as_desired(endpoint: Described | None, config: str | None) -> bool:
    if endpoint is None or endpoint["EndpointStatus"] != "InService":
        return False
    return config in (None, endpoint.get("EndpointConfigName"))


def gone(sagemaker: Any, name: str, wait: Callable[[], object]) -> None:
    """Returns when the endpoint is gone; at first an old failure may still be visible."""
    seen = _Poller(sagemaker, name)

    def over(endpoint: Described | None) -> bool:
        return endpoint is None or (seen.deleting and _status(endpoint) in BROKEN)

    if (endpoint := until(over, seen.poll, wait)) is not None:
        raise ServiceError(
            f"endpoint {name}: could not be deleted: {reason(endpoint)}; fix that, and run "
            "the same command again"
        )


def component_in_service(
    clients: Clients, name: str, wanted: Described | None, wait: Callable[[], object]
) -> None:
    """Returns when the endpoint's component is in service, as `wanted` states if given."""
    seen = _Poller(clients("sagemaker"), name, describe_component)

    def as_desired(component: Described | None) -> bool:
        if component is None or _status(component) != "InService":
            return False
        return wanted is None or stated(component) == stated(wanted)

    def settled(component: Described | None) -> bool:
        if _status(component) in BUSY:
            return False
        early = not seen.busy and seen.polls < FIRST_POLLS and _status(component) != "Failed"
        return not early or as_desired(component)

    component = until(settled, seen.poll, wait)
    if component is None or _status(component) == "Deleting":
        raise ServiceError(
            f"inference component {name}: was deleted meanwhile; run the same command again"
        )
    if not as_desired(component):
        _show_last_lines(clients, name, component["LastModifiedTime"], component=True)
        why = reason(component)
        if TOO_LARGE in why:
            why += "; a copy does not fit: state less in --component, or choose a larger instance"
        if _status(component) == "InService":
            why += "; it still serves as before"
        raise ServiceError(
            f"inference component {name}: failed: {why}; fix that and run the same command again, "
            f"or delete it: petbox endpoint down {name}"
        )


def component_gone(sagemaker: Any, name: str, wait: Callable[[], object]) -> None:
    seen = _Poller(sagemaker, name, describe_component)

    def over(component: Described | None) -> bool:
        return component is None or (seen.deleting and _status(component) == "Failed")

    if (component := until(over, seen.poll, wait)) is not None:
        raise ServiceError(
            f"inference component {name}: could not be deleted: {reason(component)}; fix that, "
            "and run the same command again"
        )


def settled(sagemaker: Any, name: str, wait: Callable[[], object]) -> None:
    """Returns when SageMaker has finished changing the endpoint, with success or not."""
    until(lambda seen: _status(seen) not in BUSY, _Poller(sagemaker, name).poll, wait)


def _status(endpoint: Described | None) -> str | None:
    """Also a component's."""
    if endpoint is None:
        return None
    return str(endpoint.get("EndpointStatus") or endpoint["InferenceComponentStatus"])


def _failed(clients: Clients, endpoint: Described, since: datetime) -> ServiceError:
    name, status = endpoint["EndpointName"], endpoint["EndpointStatus"]
    _show_last_lines(clients, name, since)
    if status == "InService":  # SageMaker rolls back a failed update
        return ServiceError(
            f"endpoint {name}: the update failed: {reason(endpoint)}; it still serves as before; "
            "fix that, and run the same command again"
        )
    return ServiceError(
        f"endpoint {name}: {status.lower()}: {reason(endpoint)}; fix that and run the same "
        f"command again, which recreates it, or delete it: petbox endpoint down {name}"
    )


def _show_last_lines(
    clients: Clients, name: str, since: datetime, *, component: bool = False
) -> None:
    """Of the containers started since then, not of those that still serve."""
    began = int(since.timestamp() * 1000)
    try:
        group = names.log_group(name, component=component)
        lines = last_lines(clients("logs"), group, LAST_LINES, began)
    except session.CallFailed as error:  # permission to deploy may come without logs
        say(f"{error}; its container's last lines are not shown")
        return
    if not lines:
        say(f"the container of {name} wrote no log")
        return
    say(f"the last lines of {name}'s container (more: petbox endpoint logs {name} --lines 500):")
    for line in lines:
        say(f"  {line.text}")


class _Poller:
    """Describes the endpoint or its component; prints the status when it changes, and at times."""

    def __init__(
        self,
        sagemaker: Any,
        name: str,
        describe: Callable[[Any, str], Described | None] = describe_endpoint,
    ) -> None:
        self._sagemaker, self._describe = sagemaker, describe
        self._name = name
        self._status = ""
        self._began = self._said = time.monotonic()
        self.polls = 0
        self.busy = self.deleting = False  # ever seen so
        self.update_began: datetime | None = None

    def poll(self) -> Described | None:
        endpoint = self._describe(self._sagemaker, self._name)
        status = _status(endpoint)
        self._show(status or "gone")
        self.polls += 1
        self.busy = self.busy or status in BUSY
        self.deleting = self.deleting or status == "Deleting"
        pending = (endpoint or {}).get("PendingDeploymentSummary", {})
        self.update_began = pending.get("StartTime", self.update_began)
        return endpoint

    def _show(self, status: str) -> None:
        now = time.monotonic()
        if status != self._status or now - self._said >= SECONDS_BETWEEN_LINES:
            seconds = now - self._began
            since = f", {seconds:.0f} s" if self._status else ""
            what = "" if self._describe is describe_endpoint else "inference component "
            say(f"[{status}] {what}{self._name}{since}")
            self._status, self._said = status, now
