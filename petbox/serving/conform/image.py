"""The checks of an image, which is run several times the way SageMaker does.

The first container serves, hangs and gets SIGTERM; the second listens on another port until its
model server dies; the third has no network; the others run in the ways that petbox guarantees. If
the first one does not start, its problem is diagnosed and no other is run.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from petbox.cli.program import say
from petbox.serving.conform import address
from petbox.serving.conform.contract import (
    Result,
    Results,
    fails,
    holds,
    holds_if,
    not_tried,
    result_of,
)
from petbox.serving.conform.diagnosis import diagnose
from petbox.serving.conform.failures import on_death, on_hang
from petbox.serving.conform.invocations import first_and_last, invoke, works_once_healthy
from petbox.serving.conform.no_network import without_network
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import SERVERLESS_START_LIMIT, Ping, under_load, wait_until_healthy
from petbox.serving.conform.stop import stop
from petbox.serving.docker import (
    BIND_TO_PORT,
    MULTI_MODEL,
    PORT,
    START_LIMIT,
    Container,
    ContainerSpec,
    Image,
    running,
)
from petbox.serving.http_client import Response
from petbox.serving.multi_model.library import Library

OTHER_PORT = 8099
SAFE_RANGE = "25000-25999"  # as SageMaker has been seen to set it
PLATFORMS = {"linux/amd64": "", "linux/arm64": "; only Graviton instances run it"}
LISTENS_WITHIN = 5.0
USAGE_WITHIN = 10.0
IN_FLIGHT = 200
STOP_BUDGET = 10.0  # seconds of the model's time that the requests in flight may take in all
NO_MODEL = "no --model was given"
INVOCATIONS_FAIL = "/invocations does not work"
# The ways to run that petbox guarantees, by the line's name.
RESTRICTIONS = {
    "any-user": ("--user=12345:12345",),
    "read-only-root": ("--read-only", "--tmpfs=/tmp"),
    "no-capabilities": ("--cap-drop=ALL",),
}


@dataclass(frozen=True)
class Target:
    spec: ContainerSpec
    image: Image
    payload: Payload
    limit: float  # seconds it may take to start
    model_server: str | None = None  # the name of its process


@dataclass(frozen=True)
class Run:
    """A started container, and its pings until it was healthy or out of time."""

    container: Container
    started: float
    attempts: Sequence[Ping]

    @property
    def healthy(self) -> bool:
        return bool(self.attempts) and self.attempts[-1].healthy

    @property
    def seconds(self) -> float:
        return self.attempts[-1].at + self.attempts[-1].seconds if self.attempts else 0.0


def check_image(target: Target, *, sagemaker_only: bool) -> Results:
    platform = target.image.platform
    yield "architecture", holds_if(platform in PLATFORMS, platform + PLATFORMS.get(platform, ""))
    start_seconds = yield from _first_run(target)
    if start_seconds is None:
        return
    # It starts, so the other runs need not get eight minutes.
    target = replace(target, limit=min(target.limit, 5 + 5 * start_seconds))
    yield from _second_run(target, sagemaker_only=sagemaker_only)
    say("conform: running it without a network")
    spec, image, payload = target.spec, target.image, target.payload
    yield "no-network", without_network(spec, image, payload, target.limit)
    if not sagemaker_only:
        yield from _arguments(target)
        yield from _restricted(target)


def check_multi_model_image(target: Target, library: Library, *, sagemaker_only: bool) -> Results:
    label = f"label {MULTI_MODEL}=true"
    labeled = target.image.serves_many_models
    yield "models-label", holds(label) if labeled else fails(f"no {label}: SageMaker rejects it")
    with run(target, target.spec, "running it for a multi-model endpoint") as only:
        if not only.healthy:
            why = diagnose(only.container, target.image, only.attempts)
            yield why.line, fails(str(why))
            yield "models-ping", fails(f"never 200; see {why.line}")
            return
        at, payload, container = only.container.at, target.payload, only.container
        yield from address.check_models(
            at, library, payload, container, sagemaker_only=sagemaker_only
        )


@contextlib.contextmanager
def run(target: Target, spec: ContainerSpec, what: str) -> Iterator[Run]:
    say(f"conform: {what}")
    with running(spec) as container:
        started = time.monotonic()

        def report(ping: Ping) -> None:
            say(f"conform: not healthy after {ping.at:.0f} s, /ping: {ping}")

        yield Run(container, started, wait_until_healthy(container, started, target.limit, report))


@contextlib.contextmanager
def later_run(target: Target, spec: ContainerSpec, what: str) -> Iterator[Run]:
    """Its /ping may be 200 too early, which the first run has reported: waits for the model."""
    with run(target, spec, what) as later:
        if later.healthy:
            first_and_last(later.container.at, target.payload)
        yield later


# The first run, as SageMaker does it


def _first_run(target: Target) -> Generator[tuple[str, Result], None, float | None]:
    """Returns the seconds it took to become healthy, if /invocations then worked."""
    with run(target, target.spec, "running it as SageMaker does") as first:
        if not first.healthy:
            why = diagnose(first.container, target.image, first.attempts)
            yield why.line, fails(str(why))
            if why.line not in ("ping", "ping-in-time"):
                yield "ping", fails(f"never 200; see {why.line}")
            return None
        at, payload = first.container.at, target.payload
        yield "ping-at-start", result_of(works_once_healthy, at, payload, first.started)
        yield from _started(target, first)
        results = dict(address.requirements(at, payload))
        yield from results.items()
        works = results["invocations"].outcome == "holds"
        found = holds("it serves the mounted model") if works else not_tried(INVOCATIONS_FAIL)
        yield "model-found", found if target.spec.model else not_tried(NO_MODEL)
        if works:
            yield from under_load(at, payload)
            yield "ping-on-hang", on_hang(first.container, payload, target.model_server)
        yield from stop(first.container, target.image, payload)
        if not works:
            yield "term-loses-none", not_tried(INVOCATIONS_FAIL)
        return first.seconds if works else None


def _started(target: Target, first: Run) -> Results:
    yield "serve", holds(f"healthy after {first.seconds:.1f} s")
    yield "port", holds(f"port {PORT}")
    serverless = "; serverless endpoints wait only 180 s"
    note = serverless if first.seconds > SERVERLESS_START_LIMIT else ""
    yield "ping", holds_if(first.seconds <= START_LIMIT, f"200 after {first.seconds:.1f} s{note}")
    answered = next(attempt for attempt in first.attempts if attempt.status is not None)
    seconds = answered.at + answered.seconds
    detail = f"first response after {seconds:.1f} s: {answered}"
    yield "listens-at-once", holds_if(seconds <= LISTENS_WITHIN, detail)
    read_only = holds("mounted read-only, and it started")
    yield "model-read-only", read_only if target.spec.model else not_tried(NO_MODEL)


# The second run, on another port, until the model server dies


def _second_run(target: Target, *, sagemaker_only: bool) -> Results:
    spec = target.spec
    if target.image.binds_to_port:
        port = f"SAGEMAKER_BIND_TO_PORT={OTHER_PORT}"
        env = (*spec.env, port, f"SAGEMAKER_SAFE_PORT_RANGE={SAFE_RANGE}")
        elsewhere = replace(spec, env=env, port=OTHER_PORT)
        with later_run(target, elsewhere, f"running it on port {OTHER_PORT}") as second:
            if second.healthy:
                yield "bind-to-port", holds(f"it listens on {OTHER_PORT}")
                yield from _until_death(target, second, sagemaker_only=sagemaker_only)
                return
            why = diagnose(second.container, target.image, second.attempts)
            yield "bind-to-port", fails(f"with {port}: {why.problem}")
    else:
        label = f"no label {BIND_TO_PORT}=true: SageMaker sets no port, and pipelines reject it"
        yield "bind-to-port", not_tried(label)
    with later_run(target, spec, "running it until its model server dies") as second:
        if second.healthy:
            yield from _until_death(target, second, sagemaker_only=sagemaker_only)


def _until_death(target: Target, second: Run, *, sagemaker_only: bool) -> Results:
    if not sagemaker_only:
        yield from address.guarantees(second.container.at, target.payload)
    required, guaranteed = on_death(second.container, target.payload, target.model_server)
    yield "ping-on-death", required
    yield "death-ends-it", guaranteed


# The ways to run that petbox guarantees


def _arguments(target: Target) -> Results:
    without = replace(target.spec, arguments=())
    with later_run(target, without, "running it without an argument") as bare:
        yield "no-argument", _healthy(target, bare)
        if bare.healthy:
            yield "term-under-load", _stop_under_load(target, bare)
    say("conform: running it with an unknown argument")
    with running(replace(target.spec, arguments=("no-such-command",))) as container:
        if container.start_error:
            code, detail = None, f"it is run as a program: {container.start_error}"
        else:
            code = container.wait(USAGE_WITHIN)
            outcome = "still running" if code is None else f"exit code {code}"
            detail = f"{outcome}: {' / '.join(container.log(3)) or '(no output)'}"
    yield "unknown-argument", holds_if(code == 2 and "usage" in detail.lower(), detail)


def _stop_under_load(target: Target, bare: Run) -> Result:
    """200 at once, or fewer if the model could not answer so many before SIGKILL."""
    response = invoke(bare.container.at, target.payload)
    each = response.seconds if isinstance(response, Response) else STOP_BUDGET
    in_flight = max(4, min(IN_FLIGHT, int(STOP_BUDGET / each)))
    return dict(stop(bare.container, target.image, target.payload, in_flight))["term-loses-none"]


def _restricted(target: Target) -> Results:
    """All restrictions at once; one by one only if that fails."""
    with _run_with(target, *itertools.chain(*RESTRICTIONS.values())) as all_at_once:
        if all_at_once.healthy:
            for name, flags in RESTRICTIONS.items():
                seconds = f"healthy after {all_at_once.seconds:.1f} s"
                yield name, holds(f"{seconds} with {' '.join(flags)}")
            return
    for name, flags in RESTRICTIONS.items():
        with _run_with(target, *flags) as one:
            yield name, _healthy(target, one)


def _run_with(target: Target, *flags: str) -> contextlib.AbstractContextManager[Run]:
    spec = replace(target.spec, flags=(*target.spec.flags, *flags))
    return later_run(target, spec, f"running it with {' '.join(flags)}")


def _healthy(target: Target, started: Run) -> Result:
    if started.healthy:
        return holds(f"healthy after {started.seconds:.1f} s")
    return fails(diagnose(started.container, target.image, started.attempts).problem)
