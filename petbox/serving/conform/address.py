"""The checks of a server of which only the address is known."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving.conform import (
    invalid_requests,
    invocations,
    json_lines,
    many_clients,
    many_models,
    metrics,
    multi_model,
    ping,
    tensor_formats,
    valid_requests,
)
from petbox.serving.conform.contract import Results, fails, holds, result_of
from petbox.serving.conform.diagnosis import diagnose_pings
from petbox.serving.conform.payload import Payload
from petbox.serving.docker import Container
from petbox.serving.http_client import Address
from petbox.serving.multi_model.library import Library

ADDRESS_CHECKS: dict[str, Callable[[Address], str]] = {
    "ping-empty": ping.empty_body,
    "ping-head": ping.head,
    "many-connections": ping.beside_idle_connections,
    "wrong-method": invalid_requests.wrong_method,
    "head": invalid_requests.head,
    "empty-batch": invalid_requests.empty_batch,
    "malformed": invalid_requests.malformed,
    "no-banner": invalid_requests.no_banner,
    "metrics": metrics.scrape,
    "execution-parameters": valid_requests.execution_parameters,
}

REQUEST_CHECKS: dict[str, Callable[[Address, Payload], str]] = {
    "unknown-type": invalid_requests.unknown_type,
    "chunked": valid_requests.chunked,
    "conditional": valid_requests.conditional,
    "type-spelling": valid_requests.type_spelling,
    "picture-drawn": valid_requests.image_drawn,
    "built-in-form": valid_requests.built_in_form,
    "json-lines": json_lines.in_order,
    "json-lines-bad": json_lines.invalid_record,
    "json-lines-type": json_lines.other_type,
    "json-lines-text": json_lines.texts,
    "csv": tensor_formats.csv_rows,
    "csv-malformed": tensor_formats.malformed_cell,
    "npy": tensor_formats.npy,
    "bare-json": tensor_formats.bare_json,
    "accept-rows": tensor_formats.accepted,
    "attributes": invalid_requests.attributes,
    "bad-attributes": invalid_requests.bad_attributes,
}

# These keep the model busy, so they come last.
LOAD_CHECKS: dict[str, Callable[[Address, Payload], str]] = {
    "leavers-not-computed": many_clients.leavers_not_computed,
    "leavers-free-slots": many_clients.leavers_free_slots,
    "long-call": invocations.long_call,
}

# All lines that an address is enough to test.
TESTABLE = {
    *("ping", "ping-in-time", "ping-under-load", "invocations", "headers"),
    *("queue-answered", "queue-fair", "metrics-under-load"),
    *ADDRESS_CHECKS,
    *REQUEST_CHECKS,
    *LOAD_CHECKS,
    *invalid_requests.REJECTED,
    *valid_requests.SAME_RESPONSE,
    *("models-load", "models-ping", *multi_model.CHECKS, *many_models.CHECKS),
}


def check_address(at: Address, payload: Payload, *, sagemaker_only: bool) -> Results:
    _connect(at)
    first = ping.ping(at, time.monotonic(), ping.LONG_TIMEOUT)
    if first.healthy:
        yield "ping", holds(f"{first} after {first.seconds * 1000:.0f} ms")
    else:
        why = diagnose_pings([first])
        yield (why.line, fails(str(why))) if why else ("ping", fails(str(first)))
    results = dict(requirements(at, payload))
    yield from results.items()
    if first.healthy and results["invocations"].outcome == "holds":
        yield from ping.under_load(at, payload)
    if not sagemaker_only:
        say("conform: checking petbox's guarantees")
        yield from guarantees(at, payload)


def check_models(
    at: Address,
    library: Library,
    payload: Payload,
    container: Container | None = None,
    *,
    sagemaker_only: bool,
) -> Results:
    """The routes of a multi-model container."""
    _connect(at)
    models = multi_model.Models(at, library, payload)
    required = dict(multi_model.requirements(models))
    yield from required.items()
    if required["models-load"].outcome == "holds" and not sagemaker_only:
        say("conform: checking petbox's guarantees")
        yield from many_models.guarantees(models, container)


def _connect(at: Address) -> None:
    try:
        socket.create_connection((at.host, at.port), timeout=10).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceError(f"{at}: cannot connect ({reason}); start the container") from error


def requirements(at: Address, payload: Payload) -> Results:
    answered = result_of(invocations.answered, at, payload)
    yield "invocations", answered
    if answered.outcome == "holds":
        yield "headers", result_of(invocations.with_headers, at, payload)


def guarantees(at: Address, payload: Payload) -> Results:
    for name, address_check in ADDRESS_CHECKS.items():
        yield name, result_of(address_check, at)
    for name, request_check in REQUEST_CHECKS.items():
        yield name, result_of(request_check, at, payload)
    for name, (data, status) in invalid_requests.REJECTED.items():
        yield name, result_of(invalid_requests.rejects, at, data, status)
    for name, send in valid_requests.SAME_RESPONSE.items():
        yield name, result_of(valid_requests.sent_as, at, payload, send)
    say("conform: sending requests of many clients")
    yield from many_clients.served_together(at, payload)
    for name, load_check in LOAD_CHECKS.items():
        yield name, result_of(load_check, at, payload)
