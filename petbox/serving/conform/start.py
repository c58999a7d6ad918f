"""The start of a container: watched until /ping is 200, and whether that 200 was true."""

from __future__ import annotations

import time
from collections.abc import Callable

from petbox.serving.conform.finding import Finding, fails, holds, not_tried
from petbox.serving.conform.http import Address, Answer, NoAnswer, ask
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import PATIENCE, Ping, pings
from petbox.serving.docker import Container

EVERY = 0.1  # seconds; a ping that lies for a moment is to be caught
TOLD_EVERY = 15.0
NO_ROUTE = (404, 405, 501)
NO_ENGINE = (502, 503, 504)
ANSWER_LIMIT = 60.0
SETTLES_WITHIN = 20.0  # how long an /invocations that fails is asked again, to see if it comes

Came = Answer | NoAnswer


def watch(
    container: Container,
    start: float,
    limit: float,
    told: Callable[[Ping], object] = lambda _: None,
) -> list[Ping]:
    """Every attempt until one is healthy, the container is over, or `limit` seconds are.

    `told` hears of the latest now and then.
    """
    attempts: list[Ping] = []
    next_telling = TOLD_EVERY
    if container.refusal:
        return attempts
    for attempt in pings(container.at, start, EVERY, PATIENCE):
        attempts.append(attempt)
        if attempt.healthy or attempt.at > limit:
            return attempts
        if attempt.status is None and not container.state().running:
            return attempts
        if attempt.at > next_telling:
            next_telling = attempt.at + TOLD_EVERY
            told(attempt)
    raise AssertionError("pings never end")


def truth_of_first(at: Address, payload: Payload, start: float) -> Finding:
    """Asked at the first healthy ping: does /invocations work?"""
    healthy_at = time.monotonic() - start
    first, last = settled(at, payload)
    if works(first):
        return holds(f"healthy after {healthy_at:.1f} s, and the model answered at once")
    if works(last):
        seconds = time.monotonic() - start
        return fails(
            f"/ping said 200 at {healthy_at:.1f} s while /invocations said: {first}; "
            f"it works since {seconds:.1f} s"
        )
    if isinstance(last, NoAnswer) or last.status in NO_ENGINE:
        return fails(f"/ping says 200, and /invocations never works: {last}")
    return not_tried(f"/invocations refuses the request: {last}")


def settled(at: Address, payload: Payload) -> tuple[Came, Came]:
    """The first outcome, and the last one once it works, is final, or has had its time."""
    first = last = outcome(at, payload)
    give_up = time.monotonic() + SETTLES_WITHIN
    while not works(last) and time.monotonic() < give_up:
        if isinstance(last, Answer) and last.status not in (*NO_ENGINE, *NO_ROUTE):
            break  # it is the request that it does not like
        time.sleep(EVERY)
        last = outcome(at, payload)
    return first, last


def works(came: Came) -> bool:
    return isinstance(came, Answer) and came.status == 200


def outcome(at: Address, payload: Payload, seconds: float = ANSWER_LIMIT) -> Came:
    """One request to the model, whatever comes of it."""
    headers = {"Content-Type": payload.kind}
    try:
        return ask(at, "POST", "/invocations", payload.body, headers, seconds)
    except NoAnswer as error:
        return error
