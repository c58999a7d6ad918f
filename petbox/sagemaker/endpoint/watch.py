"""Shows an endpoint's log and metrics until it is deleted, or until Ctrl-C.

Log lines are printed as they arrive. Below them on a terminal, or between them
every minute in a pipe, are the state and CloudWatch's newest metrics:
instances, calls, errors, latencies, utilization, and the queue of an
asynchronous endpoint.

examples:
  petbox endpoint watch pets
  petbox endpoint watch pets --lines 0 > pets.log
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, NamedTuple

from petbox.aws import session
from petbox.aws.logs import NewLines, last_lines
from petbox.aws.session import Account
from petbox.cli.options import Checked, Value, between
from petbox.cli.program import say
from petbox.errors import ServiceError, needs
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import (
    Clients,
    Described,
    describe,
    describe_config,
)
from petbox.sagemaker.endpoint.logs import Printer, follow
from petbox.sagemaker.endpoint.metrics import Metric, of_instances, read
from petbox.sagemaker.endpoint.status import absent, runs_on
from petbox.sagemaker.shared_options import EndpointName, Every

MICROSECONDS = 1000  # in a millisecond


class Number(NamedTuple):
    metric: Metric
    text: str
    unit: float = 1


NUMBERS = {
    "calls": Number(Metric("Invocations", "Sum"), "{:.0f} calls/min"),
    "client_errors": Number(Metric("Invocation4XXErrors", "Sum"), "{:.0f} 4xx"),
    "server_errors": Number(Metric("Invocation5XXErrors", "Sum"), "{:.0f} 5xx"),
    "average": Number(Metric("ModelLatency", "Average"), "model {:.0f} ms", MICROSECONDS),
    "slowest": Number(Metric("ModelLatency", "Maximum"), "slowest {:.0f} ms", MICROSECONDS),
    "overhead": Number(Metric("OverheadLatency", "Average"), "overhead {:.0f} ms", MICROSECONDS),
    "cpu": Number(of_instances("CPUUtilization"), "CPU {:.0f} %"),
    "memory": Number(of_instances("MemoryUtilization"), "memory {:.0f} %"),
    "gpu": Number(of_instances("GPUUtilization"), "GPU {:.0f} %"),
    "queued": Number(
        Metric("ApproximateBacklogSize", "Maximum", of_variant=False), "{:.0f} queued"
    ),
}
SECONDS = 60.0  # between two readings; CloudWatch has a value a minute
BACK = timedelta(minutes=3)  # how old a value may be


@dataclass(frozen=True)
class WatchOptions(Checked):
    name: EndpointName
    lines: Annotated[int, "log lines to begin with", Value("N", between(0, 10_000))] = 20
    every: Every = 5.0


def watch(options: WatchOptions) -> None:
    name, clients = options.name, Account().client
    actual = describe(clients, name)
    if actual.endpoint is None:
        raise absent(name, actual)
    group = names.log_group(name, component=actual.of_component)
    tail = NewLines(clients("logs"), group, int(time.time() * 1000))
    old = last_lines(clients("logs"), group, options.lines) if options.lines else []
    printer = Printer()
    printer.print(old)
    with _status_line() as show:
        numbers = _Numbers(clients, name, show, component=actual.of_component)
        try:
            follow(clients, name, options.every, tail, printer, old, numbers.update)
        except session.CallFailed as error:
            raise ServiceError(f"{error}; continue: petbox endpoint watch {name}") from error
    say(f"{name} is gone")


class _Numbers:
    """Shows the state at each change of it, and the numbers once a minute."""

    def __init__(
        self, clients: Clients, name: str, show: Callable[[str], None], *, component: bool
    ) -> None:
        self._clients, self._name, self._show = clients, name, show
        self._of_component = component
        self._config: Described | None = None
        self._state, self._metrics, self._read_at = "", "", -SECONDS

    def update(self, endpoint: Described) -> None:
        state = f"{endpoint['EndpointStatus']}, {self._runs_on(endpoint)}"
        now = time.monotonic()
        if now - self._read_at >= SECONDS:
            self._read_at, self._metrics = now, self._read()
        elif state == self._state:
            return
        self._state = state
        self._show(f"{datetime.now(timezone.utc):%H:%M:%S} UTC | {state} | {self._metrics}")

    def _runs_on(self, endpoint: Described) -> str:
        named = endpoint.get("EndpointConfigName")
        if named != (self._config or {}).get("EndpointConfigName"):
            self._config = describe_config(self._clients("sagemaker"), named)
        return runs_on(endpoint, self._config)

    def _read(self) -> str:
        now = datetime.now(timezone.utc)
        metrics = {key: number.metric for key, number in NUMBERS.items()}
        try:
            cloudwatch = self._clients("cloudwatch")
            values = read(
                cloudwatch,
                self._name,
                metrics,
                now - BACK,
                now,
                minutes=1,
                component=self._of_component,
            )
        except session.Rejected as error:
            return f"no metrics ({error})"
        newest = {key: found[max(found)] for key, found in values.items() if found}
        parts = (
            number.text.format(newest[key] / number.unit)
            for key, number in NUMBERS.items()
            if key in newest
        )
        return ", ".join(parts) or f"no metrics in {BACK.seconds // 60} minutes"


@contextmanager
def _status_line() -> Iterator[Callable[[str], None]]:
    """Yields what shows a text: below all else on a terminal, else as a line of its own."""
    if not sys.stdout.isatty():
        yield lambda text: print(text, flush=True)
        return
    needs("rich", "client")
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), refresh_per_second=1) as live:
        yield lambda text: live.update(Text(text, "reverse"), refresh=True)
