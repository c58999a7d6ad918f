"""The course of a measurement: threads side by side, then batching, then slots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from petbox.cli.program import say
from petbox.cli.progress import Advance, progress
from petbox.cli.signals import StopRequest
from petbox.serving.http_client import Address
from petbox.serving.tune import choice, example, load, servers
from petbox.serving.tune.choice import MOST_SLOTS, Curve, Setting
from petbox.serving.tune.load import Example, Level, Sample
from petbox.serving.tune.servers import Stopped, Subject

CONNECTIONS = (1, 2, 4, 8, 16, 32)
TURNS = 3  # of each setting, alternating, so that the load of the machine affects all
LONGEST = 4  # times its share of the time may one response take; no more connections then
SERVER_BATCH = 32  # rows


@dataclass
class Measured:
    plan: servers.Plan
    limit: float | None  # of p99, in ms
    example: Example | None
    curves: list[Curve] = field(default_factory=list)
    slots: int = MOST_SLOTS
    notes: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def best(self) -> Curve:
        return choice.best([curve for curve in self.curves if not curve.beaten], self.limit)

    @property
    def chosen(self) -> Setting:
        setting = self.best.setting
        return setting if self.slots == MOST_SLOTS else choice.with_slots(setting, self.slots)

    @property
    def within_limit(self) -> bool:
        return self.limit is None or choice.score(self.best.levels, self.limit) > 0


def measure(
    subject: Subject,
    image: Path | None,
    body: Path | None,
    limit: float | None,
    seconds: float,
    stop: StopRequest,
) -> Measured:
    """What was measured until the end, or until a stop was requested."""
    result = Measured(servers.plan(subject), limit, example.given(image, body))
    with suppress(Stopped), ExitStack() as stack:
        _Course(subject, result, stop, stack).run(seconds)
    result.curves = [curve for curve in result.curves if curve.levels]
    return result


class _Course:
    def __init__(
        self, subject: Subject, result: Measured, stop: StopRequest, stack: ExitStack
    ) -> None:
        self._subject, self._result, self._stop, self._all = subject, result, stop, stack
        self._running: dict[str, tuple[Address, ExitStack]] = {}  # by the setting's name
        self._share = 0.0  # seconds of a setting at a level
        self._advance: Advance = lambda _by, _note: None

    def run(self, seconds: float) -> None:
        result = self._result
        settings = choice.threads(result.plan.cpus)
        say(f"starting {self._subject.content} ...")
        for setting in settings:
            self._start(setting)
        batches = self._server_batches()
        steps = (len(settings) + 2 * batches) * len(CONNECTIONS) + 2
        self._share = seconds / steps
        with progress("measuring", steps * TURNS) as self._advance:
            self._measure(settings)
            best = result.best.setting
            for curve in result.curves:
                if curve.setting != best:
                    self._running[curve.setting.name][1].close()
                    curve.beaten = True
            if batches:
                batching = choice.batching(best, SERVER_BATCH)
                self._start(batching)
                self._measure([best, batching])
            self._choose_slots(result.best)
        result.complete = True

    def _start(self, setting: Setting) -> Address:
        server = self._all.enter_context(ExitStack())
        at = server.enter_context(self._subject.started(setting.variables, self._stopped))
        self._running[setting.name] = at, server
        if self._result.example is None:
            self._result.example = example.of_model(at, self._subject.title)
        example.check(at, self._result.example, self._subject.title)
        return at

    def _server_batches(self) -> bool:
        """Whether the server's own batching may help; it fails all rows for an invalid image."""
        plan, sent = self._result.plan, self._result.example
        if not plan.real:
            self._result.notes.append("batch size: not measured; the embedded server has none")
        elif sent and sent.content_type != example.JSON:
            self._result.notes.append("batch size: that of the export (petbox export --batch)")
        else:
            return True
        return False

    def _measure(self, settings: Sequence[Setting]) -> None:
        curves = [self._curve(setting) for setting in settings]
        measured: list[list[Level]] = [[] for _ in settings]
        for at, connections in enumerate(CONNECTIONS):
            levels = self._side_by_side(settings, connections)
            for curve, new, level in zip(curves, measured, levels, strict=True):
                new.append(level)
                curve.levels = new
            if self._stopped():
                raise Stopped
            if max(level.p50 for level in levels) > 1000 * LONGEST * self._share:
                left = len(CONNECTIONS) - at - 1
                self._advance(left * len(settings) * TURNS, "")
                return

    def _curve(self, setting: Setting) -> Curve:
        """A new one, or that of a setting that is measured again, beside another one."""
        for curve in self._result.curves:
            if curve.setting == setting:
                return curve
        self._result.curves.append(Curve(setting))
        return self._result.curves[-1]

    def _side_by_side(self, settings: Sequence[Setting], connections: int) -> list[Level]:
        """The level of each setting; Stopped if one has no response yet."""
        sent = self._result.example
        assert sent
        samples = [Sample() for _ in settings]
        for turn in range(TURNS):
            pairs = list(zip(settings, samples, strict=True))
            for setting, sample in pairs if turn % 2 else reversed(pairs):
                at = self._running[setting.name][0]
                share = self._share / TURNS
                sample.add(load.send(at, sent, connections, share, self._stopped))
                self._advance(1, f"{connections} connections")
                if self._stopped():
                    if not all(one.seconds for one in samples):
                        raise Stopped
                    return [Level.of(connections, one) for one in samples]
        return [Level.of(connections, one) for one in samples]

    def _choose_slots(self, best: Curve) -> None:
        """As few as get the whole throughput, if they do so at the most connections too."""
        slots = choice.saturating(best.levels)
        most = best.levels[-1].connections
        if slots >= most:
            self._advance(2 * TURNS, "")
            return
        fewer = choice.with_slots(best.setting, slots)
        self._start(fewer)
        with_all, with_fewer = self._side_by_side([best.setting, fewer], most)
        if choice.fewer_slots_do(with_fewer, with_all):
            self._result.slots = slots
        self._result.notes.append(
            f"{most} connections: {with_fewer.rate:.1f} requests/s with {slots} slots, "
            f"p99 {with_fewer.p99:.0f} ms; {with_all.rate:.1f} with {MOST_SLOTS}, "
            f"p99 {with_all.p99:.0f} ms"
        )

    def _stopped(self) -> bool:
        return bool(self._stop.code)
