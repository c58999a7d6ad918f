"""The routes of a multi-model container: models are loaded, listed, invoked and unloaded.

Every model of the user's folder is loaded and invoked once. The other lines use copies of the first
one, each under an id of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from petbox.serving.conform.contract import Failed, Result, Results, require, result_of
from petbox.serving.conform.invocations import HEADERS, succeeded
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import Ping, ping
from petbox.serving.http_client import Address, NoResponse, Response
from petbox.serving.multi_model import routes
from petbox.serving.multi_model.library import Library

# As boto3 sends it: spaces and, in UTF-8, any letters.
TARGET = "Bär, 猫 & co.tar.gz".encode().decode("latin-1")
PING_PAUSE = 0.05
UNKNOWN = "0" * 32
BROKEN = b"this is not a protobuf\xff\xff\xff"


@dataclass(frozen=True)
class Models:
    """The container's routes, and the models that can be loaded."""

    at: Address
    library: Library
    payload: Payload

    def copy(self, number: int) -> str:
        """The id of a copy of the first model, whose files are there."""
        return self.library.add(self.library.names()[0], copy=str(number))

    def broken(self) -> str:
        """The id of a model that cannot be loaded."""
        model_id = self.library.model_id("broken")
        folder = self.library.path(model_id) / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_bytes(BROKEN)
        return model_id

    def load(self, model_id: str) -> Response:
        return routes.load(self.at, model_id, self.library.url(model_id))

    def loaded(self, number: int) -> str:
        """The id of a copy that is loaded now."""
        model_id = self.copy(number)
        response = self.load(model_id)
        require(response.status == 200, f"a copy of the model was not loaded: {response}")
        return model_id

    def unloaded(self, model_id: str) -> None:
        response = routes.unload(self.at, model_id)
        require(response.status == 200, f"the model was not unloaded: {response}")
        self.library.remove(model_id)

    def invoke(self, model_id: str, headers: Mapping[str, str] | None = None) -> Response:
        sent = {"Content-Type": self.payload.content_type, **(headers or {})}
        return routes.invoke(self.at, model_id, self.payload.body, sent)

    def tried(self, model_id: str) -> Response | NoResponse:
        try:
            return self.invoke(model_id)
        except NoResponse as error:
            return error

    def listed(self) -> dict[object, object]:
        """URLs by name; whatever has another form is left out."""
        _, models = routes.list_models(self.at)
        rows = [model for model in models if isinstance(model, dict)]
        return {model.get("modelName"): model.get("modelUrl") for model in rows}


def requirements(models: Models) -> Results:
    """SageMaker's; without a load that works there is nothing else to see."""
    with pinging(models.at) as ping_line:
        loaded = result_of(load_each, models)
        yield "models-load", loaded
        if loaded.outcome == "holds":
            for name, check in CHECKS.items():
                yield name, result_of(check, models)
    yield "models-ping", ping_line()


@contextlib.contextmanager
def pinging(at: Address) -> Iterator[Callable[[], Result]]:
    """Pings all the time; what it yields, called, is the result."""
    over, attempts = threading.Event(), list[Ping]()

    def client() -> None:
        while True:
            attempts.append(ping(at, start))
            if not attempts[-1].healthy or over.wait(PING_PAUSE):
                return

    def seen() -> str:
        last = attempts[-1]
        return require(last.healthy, f"/ping after {last.at:.1f} s: {last}") and (
            f"{len(attempts)} pings, each 200"
        )

    start = time.monotonic()
    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    try:
        yield lambda: result_of(seen)
    finally:
        over.set()
        thread.join()


def load_each(models: Models) -> str:
    names = models.library.names()
    for name in names:
        response = models.load(models.library.add(name))
        require(response.status == 200, f"{name}: {response}")
    return f"{len(names)} loaded"


def invoked(models: Models) -> str:
    for name in models.library.names():
        response = models.invoke(models.library.model_id(name))
        advice = "; give a request that every model accepts: --request FILE --content-type TYPE"
        fix = advice if 400 <= response.status < 500 else ""
        require(response.status == 200, f"{name}: {response}{fix}")
    return f"200 after {response.seconds * 1000:.0f} ms"


def with_headers(models: Models) -> str:
    headers = {**HEADERS, "X-Amzn-SageMaker-Target-Model": TARGET}
    response = models.invoke(_first(models), headers)
    require(response.status == 200, f"with {', '.join(headers)}: {response}")
    return f"200 with {len(headers)} of them"


def load_again(models: Models) -> str:
    response = models.load(_first(models))
    return require(response.status == 409, f"the second load returned {response}")


def listed(models: Models) -> str:
    page, rows = routes.list_models(models.at)
    found = models.listed()
    for name in models.library.names():
        model_id = models.library.model_id(name)
        if found.get(model_id) != models.library.url(model_id):
            url = models.library.url(model_id)
            raise Failed(f'no {{"modelName": "{model_id}", "modelUrl": "{url}"}} in {page}')
    return f"{len(rows)} listed"


def described(models: Models) -> str:
    model_id = _first(models)
    response = routes.describe(models.at, model_id)
    document = response.json()
    expected = {"modelName": model_id, "modelUrl": models.library.url(model_id)}
    same = isinstance(document, dict) and expected.items() <= document.items()
    require(response.status == 200 and same, f"expected {expected}, got {response}")
    return "200 with both"


def describe_unknown(models: Models) -> str:
    response = routes.describe(models.at, UNKNOWN)
    return require(response.status == 404, response)


def invoke_unknown(models: Models) -> str:
    response = models.invoke(UNKNOWN)
    return require(response.status == 404, response)


def unload_unknown(models: Models) -> str:
    response = routes.unload(models.at, UNKNOWN)
    return require(response.status == 404, response)


def unload(models: Models) -> str:
    model_id = models.loaded(1)
    models.unloaded(model_id)
    return gone(models, model_id)


def gone(models: Models, model_id: str) -> str:
    """No route knows the model."""
    require(model_id not in models.listed(), "GET /models still lists it")
    response = routes.describe(models.at, model_id)
    require(response.status == 404, f"GET /models/NAME: {response}")
    response = models.invoke(model_id)
    require(response.status == 404, f"POST /models/NAME/invoke: {response}")
    return "it is neither listed nor described nor invoked any more"


def load_broken(models: Models) -> str:
    model_id = models.broken()
    response = models.load(model_id)
    models.library.remove(model_id)
    fine = response.status >= 400 and response.status not in (409, 507)
    return require(fine, f"a saved_model.pb that is no model: {response}")


def _first(models: Models) -> str:
    """The id of a model that `load_each` has loaded."""
    return models.library.model_id(models.library.names()[0])


CHECKS: dict[str, Callable[[Models], str]] = {
    "models-invoke": invoked,
    "models-headers": with_headers,
    "models-load-again": load_again,
    "models-list": listed,
    "models-describe": described,
    "models-describe-unknown": describe_unknown,
    "models-invoke-unknown": invoke_unknown,
    "models-unload": unload,
    "models-unload-unknown": unload_unknown,
    "models-load-broken": load_broken,
}


def works(model_id: str, models: Models) -> str:
    response = models.tried(model_id)
    require(succeeded(response), f"POST /models/NAME/invoke: {response}")
    return "it can be invoked"
