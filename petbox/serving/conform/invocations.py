"""POST /invocations: one request, requests under load, and what SageMaker requires of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from petbox.serving.conform.contract import Failed, NotTried, require
from petbox.serving.conform.invalid_requests import rejected
from petbox.serving.conform.payload import Payload
from petbox.serving.http_client import Address, NoResponse, Response, request

TIMEOUT = 60.0
NO_ROUTE = (404, 405, 501)
NO_MODEL_SERVER = (502, 503, 504)
RETRY_SECONDS = 20.0  # how long failing invocations are repeated after the first healthy ping
RETRY_PAUSE = 0.1
LONG_CALL = 5.0  # seconds that a long call should take at the model's usual speed
MAX_ROWS = 64  # of a long call, so that it needs little memory

# Headers that SageMaker may send, and an unknown one.
HEADERS = {
    "Accept": "application/json",
    "Host": "model.aws.local:8080",
    "X-Amzn-SageMaker-Custom-Attributes": "trace=petbox-conform",
    "X-Amzn-SageMaker-Inference-Id": "petbox-conform-1",
    "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
    "X-Amzn-SageMaker-Enable-Explanations": "`false`",
    "X-Amzn-SageMaker-Session-Id": "petbox-conform",
    "X-Never-Heard-Of": "yes",
}


def invoke(at: Address, payload: Payload, seconds: float = TIMEOUT) -> Response | NoResponse:
    headers = {"Content-Type": payload.content_type}
    try:
        return request(at, "POST", "/invocations", payload.body, headers, seconds)
    except NoResponse as error:
        return error


def succeeded(response: Response | NoResponse) -> bool:
    return isinstance(response, Response) and response.status == 200


@contextlib.contextmanager
def load(at: Address, payload: Payload, clients: int) -> Iterator[None]:
    """Keeps `clients` threads sending one request after another while the context lasts."""
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            if isinstance(invoke(at, payload), NoResponse):
                over.wait(0.05)  # the server is gone: do not spin

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def answered(at: Address, payload: Payload) -> str:
    response = invoke(at, payload)
    if isinstance(response, NoResponse):
        raise Failed(f"POST /invocations: {response}")
    if response.status == 200:
        return require(response.seconds < TIMEOUT, f"200 after {response.seconds * 1000:.0f} ms")
    if response.status in NO_ROUTE:
        raise Failed(f"there is no POST /invocations: {response}")
    if response.status < 500:
        advice = "give a request that the model accepts: --request FILE --content-type TYPE"
        raise Failed(f"{response}; {advice}")
    raise Failed(f"POST /invocations: {response}")


def with_headers(at: Address, payload: Payload) -> str:
    headers = {**HEADERS, "Content-Type": payload.content_type}
    response = request(at, "POST", "/invocations", payload.body, headers)
    require(response.status == 200, f"with {', '.join(HEADERS)}: {response}")
    return f"200 with {len(HEADERS)} of them"


def long_call(at: Address, payload: Payload) -> str:
    """A request with many rows, which keeps the model busy for some seconds."""
    records, (one, _) = payload.instances(), (invoke(at, payload) for _ in range(2))
    seconds = max(0.001, one.seconds) if isinstance(one, Response) else LONG_CALL
    rows = max(2, min(MAX_ROWS, int(LONG_CALL / seconds)))
    many = replace(payload, body=json.dumps({"instances": (records * rows)[:rows]}).encode())
    response = invoke(at, many, TIMEOUT + 5)
    detail = f"{rows} rows: {response}"
    if isinstance(response, NoResponse):
        raise Failed(detail)
    if response.status == 504:
        return rejected(response, 504, sent=f"{rows} rows: ")
    if response.status in (400, 413):
        raise NotTried(f"the model rejects so many rows; {detail}")
    return require(response.status == 200, f"{detail} after {response.seconds:.1f} s")


def first_and_last(
    at: Address, payload: Payload
) -> tuple[Response | NoResponse, Response | NoResponse]:
    """What is returned at first, and once the model server works."""
    first = last = invoke(at, payload)
    give_up = time.monotonic() + RETRY_SECONDS
    while not succeeded(last) and time.monotonic() < give_up:
        if isinstance(last, Response) and last.status not in (*NO_MODEL_SERVER, *NO_ROUTE):
            break  # the model server works and rejects the request
        time.sleep(RETRY_PAUSE)
        last = invoke(at, payload)
    return first, last


def works_once_healthy(at: Address, payload: Payload, start: float) -> str:
    """Whether /invocations works at the first healthy ping."""
    healthy_at = time.monotonic() - start
    first, last = first_and_last(at, payload)
    if succeeded(first):
        return f"healthy after {healthy_at:.1f} s, and the model responded at once"
    if succeeded(last):
        seconds = time.monotonic() - start
        raise Failed(
            f"/ping returned 200 at {healthy_at:.1f} s while /invocations returned: {first}; "
            f"it works since {seconds:.1f} s"
        )
    if isinstance(last, NoResponse) or last.status in NO_MODEL_SERVER:
        raise Failed(f"/ping returns 200, and /invocations never works: {last}")
    raise NotTried(f"/invocations rejects the request: {last}")
