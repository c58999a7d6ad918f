"""The models that a container has loaded: loaded on first use, the least recently used evicted.

Loads and unloads happen one after another, in a thread of their own. Requests to loaded models do
not wait for them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from petbox.cli.program import say
from petbox.serving.http_client import Address, Response
from petbox.serving.multi_model import routes
from petbox.serving.multi_model.library import Library

NOT_FOUND = 404
ALREADY_LOADED = 409
NO_RESOURCES = 507


class LoadFailed(Exception):
    """The container did not load, or not unload, a model."""

    def __init__(self, response: Response) -> None:
        super().__init__(str(response))
        self.response = response


class StillLoading(Exception):
    """The model is not loaded yet; the load goes on."""


@dataclass
class _Model:
    loading: Future[str]  # its result is the model's id
    users: int = 0  # requests that wait for it, or are being answered by it

    @property
    def is_loaded(self) -> bool:
        return self.loading.done() and self.loading.exception() is None


class LoadedModels:
    """What the container at `at` has loaded of `library`."""

    def __init__(
        self, at: Address, library: Library, most: int | None = None, seconds: float = 60.0
    ) -> None:
        self._at, self._library, self._most, self._seconds = at, library, most, seconds
        self._models: dict[str, _Model] = {}  # by name, the most recently used last
        self._changed = threading.Condition()
        self._loader = ThreadPoolExecutor(1, "loader")

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[str]:
        """The model's id; it is loaded first, and not evicted while the context lasts."""
        self._library.find(name)  # an unknown name does not wait for other loads
        with self._changed:
            model = self._models.pop(name, None) or _Model(self._loader.submit(self._load, name))
            self._models[name] = model
            model.users += 1
        try:
            try:
                model_id = model.loading.result(self._seconds)
            except FutureTimeout as error:
                raise StillLoading(name) from error
            yield model_id
        finally:
            with self._changed:
                model.users -= 1
                self._changed.notify_all()

    def make_room(self, keep: str) -> bool:
        """Evicts a model other than `keep`; False if there is none.

        Not within `using`: two callers would wait for each other's models.
        """
        return self._loader.submit(self._evict, keep).result()

    # In the loader's thread

    def _load(self, name: str) -> str:
        try:
            model_id = self._library.add(name)
            while self._most and self._count() >= self._most and self._evict(name):
                pass
            response = routes.load(self._at, model_id, self._library.url(model_id))
            while response.status == NO_RESOURCES and self._evict(name):
                response = routes.load(self._at, model_id, self._library.url(model_id))
            if response.status >= 300 and response.status != ALREADY_LOADED:
                raise LoadFailed(response)
        except BaseException:
            self._library.remove(self._library.model_id(name))
            with self._changed:
                del self._models[name]  # the next request tries again
            raise
        say(f"local: loaded {name}")
        return model_id

    def _count(self) -> int:
        with self._changed:
            return sum(model.is_loaded for model in self._models.values())

    def _evict(self, keep: str) -> bool:
        """Unloads the least recently used model, an idle one if there is one."""
        with self._changed:
            loaded = [
                name for name, model in self._models.items() if model.is_loaded and name != keep
            ]
            if not loaded:
                return False
            name = next((name for name in loaded if not self._models[name].users), loaded[0])
            model = self._models.pop(name)  # new requests load it again
            self._changed.wait_for(lambda: not model.users)
        model_id = model.loading.result()
        response = routes.unload(self._at, model_id)
        if response.status >= 300 and response.status != NOT_FOUND:
            raise LoadFailed(response)
        self._library.remove(model_id)
        say(f"local: unloaded {name}")
        return True
