"""The checks of a server of which only the address is known."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving.conform import invalid_requests, invocations, ping, valid_requests
from petbox.serving.conform.contract import Result, Results, fails, holds
from petbox.serving.conform.diagnosis import diagnose_pings
from petbox.serving.conform.payload import Payload
from petbox.serving.http_client import Address, NoResponse

ADDRESS_CHECKS: dict[str, Callable[[Address], Result]] = {
    "ping-empty": ping.empty_body,
    "many-connections": ping.beside_idle_connections,
    "unknown-path": invalid_requests.unknown_path,
    "wrong-method": invalid_requests.wrong_method,
    "head": invalid_requests.head,
    "no-body": invalid_requests.no_body,
    "broken-json": invalid_requests.broken_json,
    "empty-batch": invalid_requests.empty_batch,
    "too-large": invalid_requests.too_large,
    "long-header": invalid_requests.long_header,
    "long-address": invalid_requests.long_address,
    "malformed": invalid_requests.malformed,
    "no-banner": invalid_requests.no_banner,
    "execution-parameters": valid_requests.execution_parameters,
}

REQUEST_CHECKS: dict[str, Callable[[Address, Payload], Result]] = {
    "unknown-type": invalid_requests.unknown_type,
    "large-body": valid_requests.large_body,
    "chunked": valid_requests.chunked,
    "gzip": valid_requests.gzipped,
    "query-string": valid_requests.query_string,
    "conditional": valid_requests.conditional,
    "type-spelling": valid_requests.type_spelling,
    "endpoint-route": valid_requests.endpoint_route,
    "picture": valid_requests.image,
    "picture-drawn": valid_requests.image_drawn,
    "built-in-form": valid_requests.built_in_form,
    "json-lines": valid_requests.json_lines,
    "json-lines-bad": valid_requests.json_lines_bad,
    "attributes": invalid_requests.attributes,
    "bad-attributes": invalid_requests.bad_attributes,
}

# All lines that an address is enough to test.
TESTABLE = {
    *("ping", "ping-in-time", "ping-under-load", "invocations", "headers"),
    *ADDRESS_CHECKS,
    *REQUEST_CHECKS,
}


def check_address(at: Address, payload: Payload, *, sagemaker_only: bool) -> Results:
    try:
        socket.create_connection((at.host, at.port), timeout=10).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceError(f"{at}: cannot connect ({reason}); start the container") from error
    first = ping.ping(at, time.monotonic(), ping.LONG_TIMEOUT)
    if first.healthy:
        yield "ping", holds(f"{first} after {first.seconds * 1000:.0f} ms")
    else:
        why = diagnose_pings([first])
        yield (why.line, fails(str(why))) if why else ("ping", fails(str(first)))
    results = dict(requirements(at, payload))
    yield from results.items()
    if first.healthy and results["invocations"].outcome == "holds":
        yield from under_load(at, payload)
    if not sagemaker_only:
        say("conform: checking petbox's guarantees")
        yield from guarantees(at, payload)


def requirements(at: Address, payload: Payload) -> Results:
    answered = _checked(lambda: invocations.answered(at, payload))
    yield "invocations", answered
    if answered.outcome == "holds":
        yield "headers", _checked(lambda: invocations.with_headers(at, payload))


def under_load(at: Address, payload: Payload) -> Results:
    required, guaranteed = ping.under_load(at, payload)
    yield "ping-in-time", required
    yield "ping-under-load", guaranteed


def guarantees(at: Address, payload: Payload) -> Results:
    for name, address_check in ADDRESS_CHECKS.items():
        yield name, _checked(lambda check=address_check: check(at))  # type: ignore[misc]
    for name, request_check in REQUEST_CHECKS.items():
        yield name, _checked(lambda check=request_check: check(at, payload))  # type: ignore[misc]


def _checked(check: Callable[[], Result]) -> Result:
    try:
        return check()
    except NoResponse as error:
        return fails(str(error))
