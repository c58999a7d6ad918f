"""Everything that can be tried on a container of which only the address is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from petbox.serving.conform import dialects, health, invocations, refusals
from petbox.serving.conform.finding import Finding, fails
from petbox.serving.conform.http import Address, NoAnswer
from petbox.serving.conform.payload import Payload

OF_ADDRESS: dict[str, Callable[[Address], Finding]] = {
    "ping-empty": health.empty,
    "many-connections": health.beside_silent_connections,
    "unknown-path": refusals.unknown_path,
    "wrong-method": refusals.wrong_method,
    "head": refusals.head,
    "no-body": refusals.no_body,
    "broken-json": refusals.broken_json,
    "empty-batch": refusals.empty_batch,
    "too-large": refusals.too_large,
    "long-header": refusals.long_header,
    "long-address": refusals.long_address,
    "malformed": refusals.malformed,
    "no-banner": refusals.no_banner,
    "execution-parameters": refusals.execution_parameters,
}

OF_REQUEST: dict[str, Callable[[Address, Payload], Finding]] = {
    "unknown-type": refusals.unknown_type,
    "large-body": dialects.large_body,
    "chunked": dialects.chunked,
    "gzip": dialects.zipped,
    "query-string": dialects.query_string,
    "conditional": dialects.conditional,
    "type-spelling": dialects.type_spelling,
    "endpoint-route": dialects.endpoint_route,
    "picture": dialects.picture,
    "picture-drawn": dialects.picture_drawn,
    "built-in-form": dialects.built_in_form,
    "json-lines": dialects.json_lines,
    "json-lines-bad": dialects.json_lines_bad,
    "attributes": refusals.attributes,
    "bad-attributes": refusals.bad_attributes,
}

Found = Iterator[tuple[str, Finding]]


def demands(at: Address, payload: Payload) -> Found:
    """What SageMaker demands of a server that is up."""
    answered = _tried(lambda: invocations.answered(at, payload))
    yield "invocations", answered
    if answered.outcome == "holds":
        yield "headers", _tried(lambda: invocations.with_headers(at, payload))


def under_load(at: Address, payload: Payload) -> Found:
    """A demand and a promise, of the same requests."""
    in_time, promised = health.under_load(at, payload)
    yield "ping-in-time", in_time
    yield "ping-under-load", promised


def promises(at: Address, payload: Payload) -> Found:
    """What petbox promises of one."""
    for name, of_address in OF_ADDRESS.items():
        yield name, _tried(lambda act=of_address: act(at))  # type: ignore[misc]
    for name, of_request in OF_REQUEST.items():
        yield name, _tried(lambda act=of_request: act(at, payload))  # type: ignore[misc]


def _tried(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except NoAnswer as error:
        return fails(str(error))
