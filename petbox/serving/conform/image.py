"""Everything that is tried on an image: it is run as SageMaker does, several times over.

Once to answer, hang and be told to end; once on another port, until its engine dies; once without
a network; and then in the ways that petbox promises besides. An image that does not start the
first time is run no more: its cause is named instead.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from petbox.cli.program import say
from petbox.serving.conform import address
from petbox.serving.conform.cause import Cause, cause
from petbox.serving.conform.engine import on_death, on_hang
from petbox.serving.conform.finding import Finding, fails, holds, judged, not_tried
from petbox.serving.conform.http import Answer
from petbox.serving.conform.isolated import without_network
from petbox.serving.conform.ping import SERVERLESS_LIMIT, START_LIMIT, Ping
from petbox.serving.conform.start import outcome, truth_of_first, watch
from petbox.serving.conform.stop import Ending, end
from petbox.serving.conform.trial import Trial
from petbox.serving.docker import BIND_TO_PORT, PORT, Container, Wanted, running

Found = Iterator[tuple[str, Finding]]

OTHER_PORT = 8099
SAFE_RANGE = "25000-25999"  # as SageMaker has been seen to set it
PLATFORMS = {"linux/amd64": "", "linux/arm64": "; only Graviton instances run it"}
AT_ONCE = 5.0
USAGE_WITHIN = 10.0
IN_FLIGHT = 200
ANSWER_SECONDS = 10.0  # of the model's time, that requests in flight may take together
# The ways that petbox promises to run in, each by the name of its line.
CONFINED = {
    "any-user": ("--user=12345:12345",),
    "read-only-root": ("--read-only", "--tmpfs=/tmp"),
    "no-capabilities": ("--cap-drop=ALL",),
}


@dataclass(frozen=True)
class Up:
    """A container that was started, and what /ping said until it was healthy or given up."""

    container: Container
    started: float
    attempts: Sequence[Ping]

    @property
    def healthy(self) -> bool:
        return bool(self.attempts) and self.attempts[-1].healthy

    @property
    def seconds(self) -> float:
        return self.attempts[-1].at + self.attempts[-1].seconds if self.attempts else 0.0


def tried(trial: Trial, *, promises: bool) -> Found:
    """Every line that can be tried on this image."""
    platform = trial.image.platform
    yield "architecture", judged(platform in PLATFORMS, platform + PLATFORMS.get(platform, ""))
    usual = yield from _first_run(trial)
    if usual is None:
        return
    # It starts, so it need not be given eight minutes to show that in some way it does not.
    trial = replace(trial, limit=min(trial.limit, 5 + 5 * usual))
    yield from _second_run(trial, promises=promises)
    say("conform: running it without a network")
    yield "no-network", without_network(trial)
    if promises:
        yield from _arguments(trial)
        yield from _confined(trial)


@contextlib.contextmanager
def up(trial: Trial, wanted: Wanted, what: str) -> Iterator[Up]:
    say(f"conform: {what}")
    with running(wanted) as container:
        started = time.monotonic()

        def told(ping: Ping) -> None:
            say(f"conform: not healthy after {ping.at:.0f} s, /ping: {ping}")

        yield Up(container, started, watch(container, started, trial.limit, told))


# As SageMaker runs it


def _first_run(trial: Trial) -> Generator[tuple[str, Finding], None, float | None]:
    """All that is demanded of one life; the seconds it took to be healthy, if it then answered."""
    with up(trial, trial.wanted, "running it as SageMaker does") as run:
        if not run.healthy:
            yield from _not_started(trial, run)
            return None
        at = run.container.at
        yield "ping-at-start", truth_of_first(at, trial.payload, run.started)
        yield from _started(trial, run)
        found = dict(address.demands(at, trial.payload))
        yield from found.items()
        answers = found["invocations"].outcome == "holds"
        yield "model-found", _model_found(trial, answers)
        if answers:
            yield from address.under_load(at, trial.payload)
            yield "ping-on-hang", on_hang(run.container, trial.payload, trial.engine)
        ending = end(run.container, trial.image, trial.payload)
        yield "term", ending.in_time
        yield "term-loses-none", ending.loses_none if answers else not_tried(NO_ANSWER)
        yield "term-exits-0", ending.exits_0
        return run.seconds if answers else None


NO_ANSWER = "/invocations does not work"


def _started(trial: Trial, run: Up) -> Found:
    yield "serve", holds(f"healthy after {run.seconds:.1f} s")
    yield "port", holds(f"port {PORT}")
    limit = "" if run.seconds <= SERVERLESS_LIMIT else "; serverless endpoints wait 180 s only"
    yield "ping", judged(run.seconds <= START_LIMIT, f"200 after {run.seconds:.1f} s{limit}")
    first = next(attempt for attempt in run.attempts if attempt.status is not None)
    seconds = first.at + first.seconds
    yield (
        "listens-at-once",
        judged(seconds <= AT_ONCE, f"first answer after {seconds:.1f} s: {first}"),
    )
    read_only = holds("mounted read-only, and it started")
    yield "model-read-only", read_only if trial.wanted.model else not_tried(NO_MODEL)


NO_MODEL = "no --model was given"


def _model_found(trial: Trial, answers: bool) -> Finding:
    if trial.wanted.model is None:
        return not_tried(NO_MODEL)
    return holds("it answers with it mounted") if answers else not_tried(NO_ANSWER)


def _not_started(trial: Trial, run: Up) -> Found:
    why: Cause = cause(run.container, trial.image, run.attempts)
    yield why.line, fails(str(why))
    if why.line not in ("ping", "ping-in-time"):
        yield "ping", fails(f"never 200; see {why.line}")


# On another port, until the engine dies


def _second_run(trial: Trial, *, promises: bool) -> Found:
    wanted = trial.wanted
    if trial.image.binds_to_port:
        port = f"SAGEMAKER_BIND_TO_PORT={OTHER_PORT}"
        env = (*wanted.env, port, f"SAGEMAKER_SAFE_PORT_RANGE={SAFE_RANGE}")
        elsewhere = replace(wanted, env=env, port=OTHER_PORT)
        with up(trial, elsewhere, f"running it on port {OTHER_PORT}") as run:
            if run.healthy:
                yield "bind-to-port", holds(f"it listens on {OTHER_PORT}")
                yield from _to_its_death(trial, run, promises=promises)
                return
            why = cause(run.container, trial.image, run.attempts)
            yield "bind-to-port", fails(f"with {port}: {why.seen}")
    else:
        label = f"no label {BIND_TO_PORT}=true: SageMaker sets no port, and pipelines refuse it"
        yield "bind-to-port", not_tried(label)
    with up(trial, wanted, "running it until its engine dies") as run:
        if run.healthy:
            yield from _to_its_death(trial, run, promises=promises)


def _to_its_death(trial: Trial, run: Up, *, promises: bool) -> Found:
    if promises:
        yield from address.promises(run.container.at, trial.payload)
    demand, promise = on_death(run.container, trial.payload, trial.engine)
    yield "ping-on-death", demand
    yield "death-ends-it", promise


# The ways that petbox promises besides


def _arguments(trial: Trial) -> Found:
    with up(trial, replace(trial.wanted, arguments=()), "running it without an argument") as run:
        yield "no-argument", _verdict(trial, run)
        if run.healthy:
            yield "term-under-load", _crowded(trial, run).loses_none
    say("conform: running it with an unknown argument")
    with running(replace(trial.wanted, arguments=("no-such-command",))) as container:
        code = None if container.refusal else container.ended(USAGE_WITHIN)
        words = container.refusal or " / ".join(container.log(3)) or "(no word)"
    if container.refusal:
        left = "it is taken for a program"
    else:
        left = "still running" if code is None else f"exit code {code}"
    good = code == 2 and "usage" in words.lower()
    yield "unknown-argument", judged(good, f"{left}: {words}")


def _crowded(trial: Trial, run: Up) -> Ending:
    """200 at once, or fewer where the model could not answer so many before KILL."""
    came = outcome(run.container.at, trial.payload)
    each = came.seconds if isinstance(came, Answer) else ANSWER_SECONDS
    most = max(4, min(IN_FLIGHT, int(ANSWER_SECONDS / each)))
    return end(run.container, trial.image, trial.payload, most)


def _confined(trial: Trial) -> Found:
    """All at once; one by one only where that fails."""
    everything = tuple(flag for flags in CONFINED.values() for flag in flags)
    wanted = replace(trial.wanted, flags=(*trial.wanted.flags, *everything))
    with up(trial, wanted, f"running it with {' '.join(everything)}") as run:
        if run.healthy:
            for name, flags in CONFINED.items():
                yield name, holds(f"healthy after {run.seconds:.1f} s with {' '.join(flags)}")
            return
    for name, flags in CONFINED.items():
        wanted = replace(trial.wanted, flags=(*trial.wanted.flags, *flags))
        with up(trial, wanted, f"running it with {' '.join(flags)}") as run:
            yield name, _verdict(trial, run)


def _verdict(trial: Trial, run: Up) -> Finding:
    if run.healthy:
        return holds(f"healthy after {run.seconds:.1f} s")
    return fails(cause(run.container, trial.image, run.attempts).seen)
