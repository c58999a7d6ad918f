"""The contract, line by line: what SageMaker demands, and what petbox promises beyond it.

States the lines and their order; the checks are elsewhere, and every line has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["sagemaker", "petbox"]

TITLES: dict[Level, str] = {
    "sagemaker": "What SageMaker demands",
    "petbox": "What petbox promises beyond it",
}


@dataclass(frozen=True)
class Line:
    """One line of the contract. `needs_image`: an address alone does not let us try it."""

    level: Level
    name: str
    says: str
    needs_image: bool = False


# SageMaker's developer guide: "Custom Inference Code with Hosting Services", "Use your own
# inference code with batch transform", "Run inference in network isolation"; the API's limits.
_SAGEMAKER = (
    Line("sagemaker", "architecture", "the image is for linux/amd64, or arm64 for Graviton", True),
    Line("sagemaker", "serve", "`docker run IMAGE serve` starts a server that stays up", True),
    Line("sagemaker", "port", "it listens on port 8080, on every address", True),
    Line("sagemaker", "model-found", "the model in /opt/ml/model is found and served", True),
    Line("sagemaker", "model-read-only", "it starts although /opt/ml/model is read-only", True),
    Line("sagemaker", "ping", "GET /ping is answered 200 within 8 minutes of the start"),
    Line("sagemaker", "ping-in-time", "each GET /ping is answered within 2 s, under load too"),
    Line("sagemaker", "ping-at-start", "/ping is not 200 before /invocations works", True),
    Line("sagemaker", "ping-on-hang", "/ping is not 200 while the engine hangs", True),
    Line(
        "sagemaker",
        "ping-on-death",
        "/ping is not 200, or the container ends, once the engine died",
        True,
    ),
    Line("sagemaker", "invocations", "POST /invocations is answered 200 within 60 s"),
    Line("sagemaker", "headers", "SageMaker's own headers, and ones never heard of, do no harm"),
    Line(
        "sagemaker",
        "bind-to-port",
        "with the label accept-bind-to-port it listens on SAGEMAKER_BIND_TO_PORT",
        True,
    ),
    Line("sagemaker", "no-network", "it starts and answers without a network", True),
    Line("sagemaker", "term", "TERM ends it within 30 s", True),
    Line("sagemaker", "term-loses-none", "a request in flight at TERM is answered", True),
)

_PETBOX = (
    Line("petbox", "ping-empty", "a healthy /ping has an empty body"),
    Line("petbox", "ping-under-load", "each /ping takes at most 0.5 s while the model is busy"),
    Line("petbox", "many-connections", "300 silent connections do not keep /ping from answering"),
    Line("petbox", "unknown-path", "another path is 404 as JSON"),
    Line("petbox", "wrong-method", "another method is 405 as JSON, with Allow"),
    Line("petbox", "head", "HEAD leaves the connection in step"),
    Line("petbox", "unknown-type", "another content type is 415 as JSON"),
    Line("petbox", "no-body", "a request without a body is 400 as JSON"),
    Line("petbox", "broken-json", "broken JSON is 400 as JSON"),
    Line("petbox", "empty-batch", "a request for nothing is answered, and soon"),
    Line("petbox", "too-large", "a body said to be 1 GB is 413 as JSON before it is sent"),
    Line("petbox", "long-header", "a header of 64 kB is 431 as JSON"),
    Line("petbox", "long-address", "an address of 64 kB is 414 as JSON"),
    Line("petbox", "malformed", "what is no HTTP is 400 as JSON"),
    Line("petbox", "no-banner", "no answer tells the version of the server"),
    Line("petbox", "large-body", "a body of 25 MB is taken"),
    Line("petbox", "chunked", "a body in chunks is as good, with chunk extensions too"),
    Line("petbox", "gzip", "Content-Encoding: gzip is understood for JSON"),
    Line("petbox", "query-string", "a query string changes nothing"),
    Line("petbox", "conditional", "If-Match and its like are answered, and break no connection"),
    Line("petbox", "type-spelling", "the content type may have parameters and any case"),
    Line(
        "petbox", "endpoint-route", "POST /endpoints/NAME/invocations is the same as /invocations"
    ),
    Line("petbox", "picture", "a bare picture is answered as its JSON"),
    Line(
        "petbox", "picture-drawn", "with Accept: image/jpeg the answer is the picture, boxes drawn"
    ),
    Line(
        "petbox",
        "built-in-form",
        "application/x-image is answered as SageMaker's own detector does",
    ),
    Line("petbox", "json-lines", "JSON Lines are answered in order, one line a record"),
    Line("petbox", "json-lines-bad", "a bad record costs only its own line"),
    Line("petbox", "attributes", "tfs-method in Custom-Attributes works in any case, with spaces"),
    Line("petbox", "bad-attributes", "an unknown version or method, or a path as one, is refused"),
    Line(
        "petbox",
        "execution-parameters",
        "GET /execution-parameters has Batch Transform's three keys",
    ),
    Line("petbox", "no-argument", "`docker run IMAGE` is the same as with serve", True),
    Line("petbox", "unknown-argument", "an unknown argument prints the usage and exits 2", True),
    Line(
        "petbox", "listens-at-once", "/ping is answered within 5 s of the start, ready or not", True
    ),
    Line("petbox", "any-user", "it runs as any user", True),
    Line("petbox", "read-only-root", "it runs on a read-only file system, but for /tmp", True),
    Line("petbox", "no-capabilities", "it runs without any capability", True),
    Line("petbox", "term-under-load", "of 200 requests in flight at TERM none is lost", True),
    Line("petbox", "term-exits-0", "TERM ends it with exit code 0", True),
    Line(
        "petbox",
        "death-ends-it",
        "when the engine dies it exits non-zero within 2 s and says so",
        True,
    ),
)

CONTRACT = (*_SAGEMAKER, *_PETBOX)
NAMES = frozenset(line.name for line in CONTRACT)
