"""petbox's guarantees for multi-model containers: failed loads, many clients, models that go."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from petbox.serving.conform.contract import NotTried, Results, require, result_of
from petbox.serving.conform.failures import processes
from petbox.serving.conform.invalid_requests import rejected
from petbox.serving.conform.invocations import TIMEOUT, succeeded
from petbox.serving.conform.multi_model import UNKNOWN, Models, gone, works
from petbox.serving.docker import Container
from petbox.serving.http_client import NoResponse, Response, request
from petbox.serving.multi_model import routes

TOGETHER = 4  # simultaneous loads
CLIENTS = 4
CYCLES = 3  # loads and unloads beside which a model is invoked
ROWS = 16  # of a request that should still be at the model when it is unloaded
WARM_CYCLES = 2  # before memory is measured; each loads and unloads several models
MEASURED_CYCLES = 3
MOST_GROWTH = 1.2  # times the memory of before
PAGE = 4096


def guarantees(models: Models, container: Container | None) -> Results:
    for name, check in CHECKS.items():
        yield name, result_of(check, models)
    if container:
        yield "models-memory", result_of(memory, models, container)


def errors(models: Models) -> str:
    with _loaded(models, 2) as model_id:
        rejected(models.load(model_id), 409, sent="a second load: ")
    rejected(routes.describe(models.at, UNKNOWN), 404, sent="GET of an unknown model: ")
    rejected(routes.unload(models.at, UNKNOWN), 404, sent="DELETE of an unknown model: ")
    rejected(models.invoke(UNKNOWN), 404, sent="invoke of an unknown model: ")
    response = request(models.at, "POST", "/models", b"{}", routes.JSON, TIMEOUT)
    rejected(response, 400, sent="a load without name and url: ")
    return "5 errors, each JSON"


def broken_gone(models: Models) -> str:
    model_id = models.broken()
    response = models.load(model_id)
    require(response.status >= 400, f"a broken model was loaded: {response}")
    seen = gone(models, model_id)
    response = routes.unload(models.at, model_id)
    require(response.status == 404, f"DELETE /models/NAME: {response}")
    return seen


def repaired(models: Models) -> str:
    model_id = models.broken()
    response = models.load(model_id)
    require(response.status >= 400, f"a broken model was loaded: {response}")
    models.library.remove(model_id)
    valid = models.copy(3)
    models.library.path(valid).parent.rename(models.library.path(model_id).parent)
    response = models.load(model_id)
    require(response.status == 200, f"with valid files: {response}")
    seen = works(model_id, models)
    models.unloaded(model_id)
    return seen


def load_together(models: Models) -> str:
    model_id = models.copy(4)
    with ThreadPoolExecutor(TOGETHER) as pool:
        responses = list(pool.map(models.load, [model_id] * TOGETHER))
    statuses = sorted(response.status for response in responses)
    works(model_id, models)
    models.unloaded(model_id)
    counts = f"of {TOGETHER} loads {statuses.count(200)} returned 200, {statuses.count(409)} 409"
    return require(statuses == [200, *[409] * (TOGETHER - 1)], counts)


def others(models: Models) -> str:
    """Requests to one model; each client begins before anything else is loaded."""
    with _loaded(models, 5) as model_id:
        with _clients(models, model_id) as responses:
            for _ in range(CYCLES):
                models.unloaded(models.loaded(6))
        lost = [response for response in responses if not succeeded(response)]
        count = f"{len(responses)} requests beside {CYCLES} loads and unloads"
        return require(not lost, f"{count}, {_failed(lost)}")


def unload_waits(models: Models) -> str:
    """Each response is the model's, or 404 for a request that came too late."""
    model_id = models.loaded(7)
    longer = _with_rows(models)
    models = longer if succeeded(longer.tried(model_id)) else models
    with _clients(models, model_id) as responses:
        models.unloaded(model_id)
    late = [r for r in responses if isinstance(r, Response) and r.status == 404]
    lost = [r for r in responses if not succeeded(r) and r not in late]
    count = f"{len(responses)} requests, {len(late)} of them too late"
    return require(not lost, f"{count}, {_failed(lost)}")


def _failed(lost: Sequence[Response | NoResponse]) -> str:
    return f"{len(lost)} failed: {lost[0]}" if lost else "none failed"


def memory(models: Models, container: Container) -> str:
    for _ in range(WARM_CYCLES):
        _cycle(models)
    before = _resident(container)
    for _ in range(MEASURED_CYCLES):
        _cycle(models)
    after = _resident(container)
    count = MEASURED_CYCLES * TOGETHER
    detail = f"{before >> 20} MiB, and {after >> 20} MiB after {count} more models"
    return require(after <= before * MOST_GROWTH, detail)


def _cycle(models: Models) -> None:
    with ThreadPoolExecutor(TOGETHER) as pool:
        model_ids = list(pool.map(models.loaded, range(8, 8 + TOGETHER)))
        for model_id in model_ids:
            works(model_id, models)
        list(pool.map(models.unloaded, model_ids))


def _resident(container: Container) -> int:
    """Bytes of all its processes."""
    running = processes(container)
    if running is None:
        raise NotTried("the image has no shell to list its processes with")
    return sum(process.pages for process in running) * PAGE


@contextlib.contextmanager
def _loaded(models: Models, number: int) -> Iterator[str]:
    model_id = models.loaded(number)
    yield model_id
    models.unloaded(model_id)


@contextlib.contextmanager
def _clients(models: Models, model_id: str) -> Iterator[list[Response | NoResponse]]:
    """Clients that send requests until the context ends, or until one fails."""
    over, started = threading.Event(), threading.Semaphore(0)
    responses: list[Response | NoResponse] = []

    def client() -> None:
        while True:
            responses.append(models.tried(model_id))
            started.release()
            if over.is_set() or not succeeded(responses[-1]):
                return

    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(CLIENTS):
            pool.submit(client)
        for _ in range(CLIENTS):
            started.acquire()
        try:
            yield responses
        finally:
            over.set()


def _with_rows(models: Models) -> Models:
    """The same with a request of many rows, if that can be made."""
    try:
        rows = (models.payload.instances() * ROWS)[:ROWS]
    except NotTried:
        return models
    body = json.dumps({"instances": rows}).encode()
    return replace(models, payload=replace(models.payload, body=body))


CHECKS: dict[str, Callable[[Models], str]] = {
    "models-errors": errors,
    "models-broken-gone": broken_gone,
    "models-repaired": repaired,
    "models-load-together": load_together,
    "models-others": others,
    "models-unload-waits": unload_waits,
}
