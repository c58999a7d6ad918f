"""Prints the last log lines of an endpoint's containers.

examples:
  petbox endpoint logs pets
  petbox endpoint logs pets --follow
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from petbox.aws import session
from petbox.aws.logs import Line, NewLines, last_lines
from petbox.aws.session import Account
from petbox.aws.wait import until
from petbox.cli.options import Checked, Value, between
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Clients, Described, describe_endpoint
from petbox.sagemaker.shared_options import EVERY, EndpointName


@dataclass(frozen=True)
class LogsOptions(Checked):
    name: EndpointName
    lines: Annotated[int, "number of lines", Value("N", between(0, 10_000))] = 100
    follow: Annotated[bool, "keep printing new lines, until Ctrl-C or the endpoint is gone"] = False
    every: Annotated[float, "with --follow: seconds between polls", EVERY] = 5.0


def logs(options: LogsOptions) -> None:
    clients = Account().client
    began = int(time.time() * 1000)
    group, lines = _last_lines(clients, options.name, options.lines)
    if not lines and describe_endpoint(clients("sagemaker"), options.name) is None:
        raise ServiceError(
            f"endpoint {options.name}: not found in this account and region, and neither is "
            "its log; see: petbox endpoint list"
        )
    printer = Printer()
    printer.print(lines)
    if options.follow:
        tail = NewLines(clients("logs"), group, began)
        try:
            follow(clients, options.name, options.every, tail, printer, lines)
        except session.CallFailed as error:
            raise ServiceError(
                f"{error}; continue: petbox endpoint logs {options.name} --follow"
            ) from error
        say(f"{options.name} is gone")
    elif not lines:
        say(f"the container of {options.name} has logged nothing yet")


def _last_lines(clients: Clients, name: str, count: int) -> tuple[str, list[Line]]:
    """Of the endpoint's log group, or of its inference component's."""
    group, of_component = names.log_group(name), names.log_group(name, component=True)
    for one in (group, of_component):
        if lines := last_lines(clients("logs"), one, max(1, count)):
            return one, lines[-count:] if count else []
    return group, []


def follow(
    clients: Clients,
    name: str,
    seconds: float,
    tail: NewLines,
    printer: Printer,
    printed: Sequence[Line],
    seen: Callable[[Described], object] = lambda _: None,
) -> None:
    """Prints new lines until the endpoint is gone, and calls `seen` with it at each poll."""

    def over() -> bool:
        """Whether the endpoint was gone before its log was read."""
        endpoint = describe_endpoint(clients("sagemaker"), name)
        printer.print([line for line in tail.new() if line not in printed])
        if endpoint is not None:
            seen(endpoint)
        return endpoint is None

    until(bool, over, lambda: time.sleep(seconds))


class Printer:
    """Prints lines, with the instance's name if there are several."""

    def __init__(self) -> None:
        self._streams: set[str] = set()

    def print(self, lines: list[Line]) -> None:
        self._streams |= {line.stream for line in lines}
        several = len(self._streams) > 1
        for line in lines:
            instance = line.stream.split("/")[-1]
            print(f"{instance} | {line.text}" if several else line.text, flush=True)
