"""The contract, line by line, and the result of checking a line.

SageMaker's requirements come first, then what petbox guarantees beyond them. The checks are in the
other files; every line has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, ParamSpec

from petbox.serving.http_client import NoResponse

P = ParamSpec("P")
Level = Literal["sagemaker", "petbox"]
Outcome = Literal["holds", "fails", "not tried"]

TITLES: dict[Level, str] = {
    "sagemaker": "SageMaker's requirements",
    "petbox": "petbox's guarantees beyond them",
}

GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg"
HOSTING = f"{GUIDE}/your-algorithms-inference-code.html"
# Pages of SageMaker's developer guide for what the page about hosting does not state.
_OTHER_PAGES = {
    "architecture": f"{GUIDE}/realtime-endpoints-graviton.html",
    "bind-to-port": f"{GUIDE}/inference-pipeline-real-time.html",
    "no-network": f"{GUIDE}/mkt-algo-model-internet-free.html",
}
MULTI_MODEL = f"{GUIDE}/mms-container-apis.html"
# Sections of petbox's own contract.
ROUTES = "docs/contract.md#routes"
HEADERS = "docs/contract.md#headers-of-a-request"
STATUSES = "docs/contract.md#statuses"
LIMITS = "docs/contract.md#limits"
START = "docs/contract.md#start-and-stop"
MODELS = "docs/contract.md#multi-model-endpoints"

_SAGEMAKER = {
    "architecture": "the image is for linux/amd64, or linux/arm64 for Graviton",
    "serve": "`docker run IMAGE serve` starts a server that keeps running",
    "port": "it listens on port 8080 on all interfaces",
    "model-found": "the model in /opt/ml/model is found and served",
    "model-read-only": "it starts with a read-only /opt/ml/model",
    "ping": "GET /ping returns 200 within 8 minutes of the start",
    "ping-in-time": "every GET /ping is answered within 2 s, also under load",
    "ping-at-start": "/ping does not return 200 before /invocations works",
    "ping-on-hang": "/ping does not return 200 while the model server hangs",
    "ping-on-death": "when the model server dies, /ping stops returning 200 or the container exits",
    "invocations": "POST /invocations returns 200 within 60 s",
    "headers": "SageMaker's headers and unknown headers are accepted",
    "bind-to-port": "with the label accept-bind-to-port it listens on SAGEMAKER_BIND_TO_PORT",
    "no-network": "it starts and serves without a network",
    "term": "it exits within 30 s of SIGTERM",
    "term-loses-none": "a request in flight at SIGTERM is completed",
}

_PETBOX = {
    "ping-empty": ("a healthy /ping has an empty body", ROUTES),
    "ping-head": ("HEAD /ping returns 200", ROUTES),
    "ping-under-load": ("each /ping takes at most 0.5 s while the model is busy", LIMITS),
    "many-connections": ("/ping works beside 300 idle connections", LIMITS),
    "unknown-path": ("an unknown path returns 404 as JSON", ROUTES),
    "wrong-method": ("a wrong method returns 405 as JSON, with Allow", STATUSES),
    "head": ("HEAD keeps the connection usable", STATUSES),
    "unknown-type": ("an unknown content type returns 415 as JSON", HEADERS),
    "no-body": ("a request without a body returns 400 as JSON", STATUSES),
    "broken-json": ("invalid JSON returns 400 as JSON", STATUSES),
    "empty-batch": ("a request with zero rows gets a response within 5 s", LIMITS),
    "too-large": ("a Content-Length of 1 GB returns 413 as JSON before the body is sent", STATUSES),
    "long-header": ("a header of 64 kB returns 431 as JSON", STATUSES),
    "long-address": ("a URL of 64 kB returns 414 as JSON", STATUSES),
    "malformed": ("malformed HTTP returns 400 as JSON", STATUSES),
    "no-banner": ("no response contains the server's version", STATUSES),
    "large-body": ("a body of 25 MB is accepted", LIMITS),
    "chunked": ("a chunked body works, also with chunk extensions", ROUTES),
    "gzip": ("Content-Encoding: gzip works for JSON", HEADERS),
    "query-string": ("a query string is ignored", ROUTES),
    "conditional": ("If-Match and similar headers do not crash a worker", HEADERS),
    "type-spelling": ("the content type may have parameters and any case", HEADERS),
    "no-type": ("a request without a content type is read as JSON", ROUTES),
    "endpoint-route": ("POST /endpoints/NAME/invocations works like /invocations", ROUTES),
    "picture": ("a bare image gets the same response as its JSON", ROUTES),
    "picture-drawn": (
        "with Accept: image/jpeg the response is the image with its boxes drawn",
        ROUTES,
    ),
    "built-in-form": (
        "application/x-image returns the format of SageMaker's built-in detector",
        ROUTES,
    ),
    "json-lines": ("JSON Lines are answered in order, one line per record", ROUTES),
    "json-lines-bad": ("a bad record fails only its own line", ROUTES),
    "json-lines-type": ("application/jsons is JSON Lines as well", ROUTES),
    "json-lines-text": ("a string in JSON Lines reaches a text model as it is", ROUTES),
    "csv": ("rows as CSV get the same response as the rows as JSON", ROUTES),
    "csv-malformed": ("a malformed cell of CSV returns 400 and names its line", ROUTES),
    "npy": ("an array as application/x-npy gets the same response as JSON, or an array", ROUTES),
    "bare-json": ("one instance as JSON, without `instances`, gets the same response", ROUTES),
    "accept-rows": ("with Accept: application/jsonlines or text/csv each row has a line", ROUTES),
    "attributes": ("tfs-method in Custom-Attributes works in any case, with spaces", HEADERS),
    "bad-attributes": ("an unknown version or method, or a path as version, is rejected", HEADERS),
    "execution-parameters": ("GET /execution-parameters has Batch Transform's three keys", ROUTES),
    "metrics": ("GET /metrics, if there is one, is Prometheus text without an error", ROUTES),
    "metrics-under-load": (
        "GET /metrics is answered while many clients wait for the model",
        ROUTES,
    ),
    "queue-answered": (
        "up to 96 clients at once get a response to every request, and no 503",
        LIMITS,
    ),
    "queue-fair": ("no client gets more than 4 times as many responses as another", LIMITS),
    "leavers-not-computed": ("a request whose client leaves the queue is not computed", LIMITS),
    "leavers-free-slots": ("clients that leave take no slot with them", LIMITS),
    "long-call": ("a long call is answered, or rejected with 504 as JSON, never cut off", STATUSES),
    "no-argument": ("`docker run IMAGE` works like `docker run IMAGE serve`", START),
    "unknown-argument": ("an unknown argument prints the usage and exits with 2", START),
    "listens-at-once": ("/ping responds within 5 s of the start, ready or not", START),
    "any-user": ("it runs as any user", START),
    "read-only-root": ("it runs on a read-only file system, except for /tmp", START),
    "no-capabilities": ("it runs without any Linux capability", START),
    "term-under-load": ("of 200 requests in flight at SIGTERM none is lost", START),
    "term-serves-on": (
        "requests that begin after SIGTERM are answered, while /ping returns 503",
        START,
    ),
    "term-exits-0": ("it exits with 0 on SIGTERM", START),
    "death-ends-it": (
        "when the model server dies, it exits non-zero within 2 s and reports why",
        START,
    ),
}

# With --multi-model.
_MULTI_MODEL = {
    "models-label": "the image has the label multi-models",
    "models-load": "POST /models loads a model and returns 200",
    "models-invoke": "POST /models/NAME/invoke returns the model's response",
    "models-headers": "SageMaker's headers are accepted, with a target model of any characters",
    "models-load-again": "POST /models for a loaded model returns 409",
    "models-list": "GET /models lists the loaded models, each with modelName and modelUrl",
    "models-describe": "GET /models/NAME returns the model's modelName and modelUrl",
    "models-describe-unknown": "GET /models/NAME returns 404 for a model that is not loaded",
    "models-invoke-unknown": "POST /models/NAME/invoke returns 404 for a model that is not loaded",
    "models-unload": "DELETE /models/NAME returns 200, and the model is gone",
    "models-unload-unknown": "DELETE /models/NAME returns 404 for a model that is not loaded",
    "models-load-broken": "POST /models for a broken model returns an error other than 409 and 507",
    "models-ping": "/ping returns 200 with no model loaded, and while models come and go",
}

_PETBOX_MULTI_MODEL = {
    "models-errors": ("errors of these routes are JSON", STATUSES),
    "models-broken-gone": ("a load that failed leaves nothing behind", MODELS),
    "models-repaired": ("a model whose load failed can be loaded once its files are valid", MODELS),
    "models-load-together": (
        "of simultaneous loads of one model, one returns 200, the others 409",
        MODELS,
    ),
    "models-others": ("requests to a model are answered while others come and go", MODELS),
    "models-unload-waits": (
        "requests in flight are answered before their model is unloaded",
        MODELS,
    ),
    "models-memory": ("memory does not grow as models come and go", MODELS),
}


@dataclass(frozen=True)
class Line:
    level: Level
    name: str
    says: str
    reference: str  # an address of AWS's documentation, or a section of ours
    multi_model: bool = False


CONTRACT = (
    *(Line("sagemaker", n, says, _OTHER_PAGES.get(n, HOSTING)) for n, says in _SAGEMAKER.items()),
    *(Line("petbox", name, *stated) for name, stated in _PETBOX.items()),
    *(Line("sagemaker", name, says, MULTI_MODEL, True) for name, says in _MULTI_MODEL.items()),
    *(Line("petbox", name, *stated, True) for name, stated in _PETBOX_MULTI_MODEL.items()),
)


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    detail: str  # what was observed, or why the line could not be tested


Results = Iterator[tuple[str, Result]]  # by the line's name


def holds(detail: str) -> Result:
    return Result("holds", detail)


def fails(detail: str) -> Result:
    return Result("fails", detail)


def not_tried(why: str) -> Result:
    return Result("not tried", why)


def holds_if(condition: bool, detail: str) -> Result:
    return holds(detail) if condition else fails(detail)


# A check is a function that returns what it observed if the line holds, and raises if not.


class Failed(Exception):
    """The line does not hold; the message is what was observed."""


class NotTried(Exception):
    """The line cannot be tested; the message says why."""


def require(condition: bool, detail: object) -> str:
    """The detail; Failed if the condition does not hold."""
    if not condition:
        raise Failed(detail)
    return str(detail)


def result_of(check: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> Result:
    try:
        return holds(check(*args, **kwargs))
    except (Failed, NoResponse) as error:
        return fails(str(error))
    except NotTried as error:
        return not_tried(str(error))
