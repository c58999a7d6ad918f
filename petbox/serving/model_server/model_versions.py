"""The versions of one model: a thread scans its folder, loads new versions and unloads old ones.

A version is unloaded after the last request that uses it, and then its memory is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.rest import Model, VersionStatus
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.version_policy import State, Step, next_step, on_disk

Load = Callable[[str, int, Path], Model]


@dataclass(frozen=True)
class LoadOptions:
    poll_seconds: float = 1.0  # 0 scans once, negative never
    retries: int = 5
    retry_seconds: float = 60.0


class VersionRecord(NamedTuple):
    state: State
    error: StatusError | None = None
    model: Model | None = None

    def status(self, version: int) -> VersionStatus:
        if self.error is None:
            return VersionStatus(version, self.state)
        return VersionStatus(version, self.state, self.error.code, self.error.message)


ENDED = VersionRecord("END")
POLL_SECONDS = 0.1


def free_memory() -> None:
    """Returns what unloaded models leave behind to the system."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc keeps freed memory
        ctypes.CDLL(None).malloc_trim(0)


class _FailedLoad(NamedTuple):
    """A failed load that will be retried."""

    times: int
    due: float  # when, by the monotonic clock
    error: StatusError


class ModelVersions:
    """The versions of one model. `changed` is notified whenever one of them changes."""

    def __init__(
        self, config: ModelConfig, load: Load, options: LoadOptions, changed: threading.Condition
    ) -> None:
        self.name = config.name
        self.labels: dict[str, int] = {}
        self._config: ModelConfig | None = config
        self._load = load
        self._options = options
        self._changed = changed
        self._versions: dict[int, VersionRecord] = {}
        self._desired: dict[int, Path] = {}
        self._failed: dict[int, _FailedLoad] = {}
        self._wake_up = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._start()

    # For requests, from any thread

    def versions(self) -> Mapping[int, VersionRecord]:
        with self._changed:
            return dict(self._versions)

    def model(self, version: int | None) -> Model | None:
        """This version, or the newest; None if it is not available."""
        with self._changed:
            available = {n: s.model for n, s in self._versions.items() if s.model is not None}
        if version is None:
            version = max(available, default=None)
        return None if version is None else available.get(version)

    # For changes of the configuration

    def configure(self, config: ModelConfig | None) -> None:
        """None unloads all versions, and then ends the thread."""
        with self._changed:
            if config == self._config:
                return
            self._config = config
            self._wake_up.set()
            if self._thread is None:
                self._start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake_up.set()

    # The thread

    def _start(self) -> None:
        name = f"versions of {self.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake_up.clear()
            self._scan()
            while not self._stopping.is_set() and self._step():
                pass
            with self._changed:
                if self._config is None and not self._wake_up.is_set():
                    self._thread = None
                    return
            self._wake_up.wait(self._seconds_to_wait())

    def _scan(self) -> None:
        config = self._config
        if config is None:
            self._set_desired({})
            return
        try:
            found = on_disk(config.base_path)
        except OSError as error:  # a network folder may come back; loaded versions keep serving
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
        self._set_desired({version: found[version] for version in config.policy.desired(found)})

    def _set_desired(self, desired: dict[int, Path]) -> None:
        """A new version starts at START, even if it failed or was unloaded before."""
        for version in desired.keys() - self._desired.keys():
            if self._versions.get(version, ENDED).state == "END":
                self._set(version, VersionRecord("START"))
        self._desired = desired
        for version, record in self.versions().items():
            if version not in desired and record.state in ("START", "LOADING"):
                attempt = self._failed.pop(version, None)
                self._set(version, VersionRecord("END", attempt and attempt.error))

    def _step(self) -> bool:
        states = {version: record.state for version, record in self._versions.items()}
        step = next_step(states, self._desired) or self._retry()
        if step is None:
            return False
        if step.action == "load":
            self._load_version(step.version)
        else:
            self._unload_version(step.version)
        return True

    def _unload_version(self, version: int) -> None:
        model, released = self._versions[version].model, threading.Event()
        assert model
        loaded = model.loaded
        weakref.finalize(model, released.set)
        del model
        self._set(version, VersionRecord("UNLOADING"))
        while not released.wait(POLL_SECONDS):  # for requests that still use it
            if self._stopping.is_set():
                return
        del loaded  # the last reference: the engine frees it here, before the version has ended
        free_memory()
        self._set(version, ENDED)
        say(f"version {version} of {self.name} is unloaded")

    def _load_version(self, version: int) -> None:
        self._set(version, VersionRecord("LOADING"))
        before = self._failed.pop(version, None)
        try:
            model = self._load(self.name, version, self._desired[version])
        except StatusError as error:
            self._load_failed(version, before.times + 1 if before else 1, error)
        except PetboxError as error:  # of the installation, so that another try is of no use
            say(f"loading version {version} of {self.name} failed: {error}")
            self._set(version, VersionRecord("END", StatusError(str(error), "INTERNAL")))
        except Exception as error:  # a bug of ours; the other versions keep working
            traceback.print_exc()
            self._set(version, VersionRecord("END", StatusError(repr(error), "INTERNAL")))
        else:
            self._set(version, VersionRecord("AVAILABLE", model=model))

    def _load_failed(self, version: int, times: int, error: StatusError) -> None:
        say(f"loading version {version} of {self.name} failed: {error}")
        if times > self._options.retries:
            self._set(version, VersionRecord("END", error))
        else:
            due = time.monotonic() + self._options.retry_seconds
            self._failed[version] = _FailedLoad(times, due, error)

    def _retry(self) -> Step | None:
        due = [n for n, attempt in self._failed.items() if attempt.due <= time.monotonic()]
        return Step("load", due[0]) if due else None

    def _seconds_to_wait(self) -> float | None:
        poll = self._options.poll_seconds
        waits = [max(attempt.due - time.monotonic(), 0) for attempt in self._failed.values()]
        return min([*waits, *([poll] if poll > 0 else [])], default=None)

    def _set(self, version: int, record: VersionRecord) -> None:
        with self._changed:
            self._versions[version] = record
            self._changed.notify_all()
