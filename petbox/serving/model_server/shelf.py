"""One model's versions: found on disk, loaded, served, and taken away, by a thread of its own.

The thread looks at the model's folder every so often and does one step after another until what
serves is what is wanted. A request that has got hold of a version keeps it until it is answered;
TensorFlow frees a version when its last request lets go.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from petbox.cli.program import say
from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.refusal import Refusal
from petbox.serving.model_server.rest import Model
from petbox.serving.model_server.versions import State, Step, next_step, on_disk

Load = Callable[[str, int, Path], Model]


@dataclass(frozen=True)
class Patience:
    """How often to look, and how often to try."""

    poll_seconds: float = 1.0  # 0 looks once, less never looks
    retries: int = 5
    retry_seconds: float = 60.0


class Standing(NamedTuple):
    """What is known of a version."""

    state: State
    error: Refusal | None = None
    model: Model | None = None


ENDED = Standing("END")


class _Attempt(NamedTuple):
    """A load that failed and is to be tried again."""

    times: int
    due: float  # on the monotonic clock
    error: Refusal


class Shelf:
    """The versions of one model. `changed` is notified whenever one of them changes."""

    def __init__(
        self, config: ModelConfig, load: Load, patience: Patience, changed: threading.Condition
    ) -> None:
        self.name = config.name
        self.labels: dict[str, int] = {}
        self._config: ModelConfig | None = config
        self._load = load
        self._patience = patience
        self._changed = changed
        self._versions: dict[int, Standing] = {}
        self._wanted: dict[int, Path] = {}
        self._failed: dict[int, _Attempt] = {}
        self._look_again = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, name=f"shelf of {self.name}", daemon=True
        )
        self._thread.start()

    # For requests, from any thread

    def versions(self) -> Mapping[int, Standing]:
        with self._changed:
            return dict(self._versions)

    def model(self, version: int | None) -> Model | None:
        """The one asked for, or the newest there is; none if it does not serve."""
        with self._changed:
            serving = {n: s.model for n, s in self._versions.items() if s.model is not None}
        if version is None:
            version = max(serving, default=None)
        return None if version is None else serving.get(version)

    # For whoever changes the configuration

    def configure(self, config: ModelConfig | None) -> None:
        """None takes all versions away."""
        if config != self._config:
            self._config = config
            self._look_again.set()

    def stop(self) -> None:
        self._stopping.set()
        self._look_again.set()

    # The thread

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._look_again.clear()
            self._look()
            while not self._stopping.is_set() and self._step():
                pass
            self._look_again.wait(self._seconds_to_wait())

    def _look(self) -> None:
        config = self._config
        if config is None:
            self._want({})
            return
        try:
            found = on_disk(config.base_path)
        except OSError as error:  # a network folder may come back; what serves goes on serving
            say(
                f"Could not find base path {config.base_path} for servable {self.name}: "
                f"{error.strerror}"
            )
            return
        if not found:
            say(
                f"No versions of servable {self.name} found under base path {config.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        self._want({version: found[version] for version in config.policy.wanted(found)})

    def _want(self, wanted: dict[int, Path]) -> None:
        """A version newly wanted starts afresh, even if it failed or was taken away before."""
        for version in wanted.keys() - self._wanted.keys():
            if self._versions.get(version, ENDED).state == "END":
                self._put(version, Standing("START"))
        self._wanted = wanted
        for version, standing in self.versions().items():
            if version not in wanted and standing.state in ("START", "LOADING"):
                attempt = self._failed.pop(version, None)
                self._put(version, Standing("END", attempt and attempt.error))

    def _step(self) -> bool:
        states = {version: standing.state for version, standing in self._versions.items()}
        step = next_step(states, self._wanted) or self._retry()
        if step is None:
            return False
        if step.verb == "load":
            self._try_to_load(step.version)
        else:
            self._put(step.version, ENDED)
            say(f"version {step.version} of {self.name} is unloaded")
        return True

    def _try_to_load(self, version: int) -> None:
        self._put(version, Standing("LOADING"))
        before = self._failed.pop(version, None)
        try:
            model = self._load(self.name, version, self._wanted[version])
        except Refusal as error:
            self._note_failure(version, before.times + 1 if before else 1, error)
        except Exception as error:  # ours to mend; the other versions go on meanwhile
            traceback.print_exc()
            self._put(version, Standing("END", Refusal(repr(error), "INTERNAL")))
        else:
            self._put(version, Standing("AVAILABLE", model=model))

    def _note_failure(self, version: int, times: int, error: Refusal) -> None:
        say(f"loading version {version} of {self.name} failed: {error}")
        if times > self._patience.retries:
            self._put(version, Standing("END", error))
        else:
            due = time.monotonic() + self._patience.retry_seconds
            self._failed[version] = _Attempt(times, due, error)

    def _retry(self) -> Step | None:
        due = [n for n, attempt in self._failed.items() if attempt.due <= time.monotonic()]
        return Step("load", due[0]) if due else None

    def _seconds_to_wait(self) -> float | None:
        poll = self._patience.poll_seconds
        waits = [max(attempt.due - time.monotonic(), 0) for attempt in self._failed.values()]
        return min([*waits, *([poll] if poll > 0 else [])], default=None)

    def _put(self, version: int, standing: Standing) -> None:
        with self._changed:
            self._versions[version] = standing
            self._changed.notify_all()
