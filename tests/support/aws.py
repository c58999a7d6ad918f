"""AWS for tests: moto's server over real HTTP, and a peer that responds as SageMaker does.

In moto every training job completes at once. Other outcomes are stated as responses of the peer, in
the format of SageMaker and CloudWatch (AWS JSON 1.1).
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from support import permissions
from support.peer import Request, Response, peer

REGION = "us-east-1"

# Each session of boto3 reads megabytes of JSON about SageMaker; those of a process share them.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


@dataclass(frozen=True)
class Aws:
    """A server that stands for AWS, and the settings with which programs find it."""

    url: str
    env: dict[str, str]

    def client(self, service: str) -> Any:
        return _client(self.url, service)


@functools.cache
def _client(url: str, service: str) -> Any:
    """One for all tests: boto3 takes longer to make a client than moto to respond."""
    import boto3

    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(user_agent_appid="tests"),  # whatever run it is made in
    )


def settings(url: str) -> dict[str, str]:
    """An environment in which nothing of the real AWS can be found."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        **no_credentials(Path("/nonexistent")),
    }


def no_credentials(home: Path) -> dict[str, str]:
    """An environment without credentials."""
    return {
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextmanager
def moto(around: Callable[[Any], Any] = lambda app: app) -> Iterator[Aws]:
    """Moto's server on a free port; what is in it goes with the process, not with the server.

    `around` makes of its WSGI application the one that responds.
    """
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    seen = permissions.Seen()
    app = observed(one_put_at_a_time(server._server.app), seen)  # type: ignore[union-attr]
    server._server.app = around(app)  # type: ignore[union-attr]
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        yield Aws(url, settings(url))
        seen.check()
    finally:
        server.stop()


def observed(app: Any, seen: permissions.Seen) -> Any:
    def respond(environ: dict[str, Any], start: Any) -> Any:
        names = ("User-Agent", "X-Amz-Target", "Authorization")
        headers = {one: environ.get(f"HTTP_{one}".upper().replace("-", "_"), "") for one in names}
        path = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        name = headers["X-Amz-Target"].rpartition(".")[2]
        if action := permissions.action(name, environ["REQUEST_METHOD"], path, headers):
            seen.add(action, headers["User-Agent"])
        return app(environ, start)

    return respond


def one_put_at_a_time(app: Any) -> Any:
    """S3 checks a condition and writes in one step; moto in two."""
    lock = threading.Lock()

    def respond(environ: dict[str, Any], start: Any) -> Any:
        with lock if environ["REQUEST_METHOD"] == "PUT" else nullcontext():
            return app(environ, start)

    return respond


# What moto does not simulate

Call = Callable[[dict[str, Any]], Any]  # of a request, the response, or an Response with its status


@dataclass(frozen=True)
class Recorded(Aws):
    calls: list[tuple[str, dict[str, Any]]]  # operations and their requests, in order

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@contextmanager
def recorded(**operations: Call) -> Iterator[Recorded]:
    """Responds to SageMaker's and CloudWatch's operations as stated; rejects all others."""
    calls: list[tuple[str, dict[str, Any]]] = []
    seen = permissions.Seen()

    def respond(received: Request) -> Response:
        operation = received.headers["X-Amz-Target"].split(".")[1]
        request = json.loads(received.body)
        calls.append((operation, request))
        seen.add(operation, received.headers["User-Agent"])
        if operation not in operations:
            return rejection("AccessDeniedException", f"not allowed to call {operation}")
        response = operations[operation](request)
        if isinstance(response, Response):
            return response
        return Response(200, json.dumps(response).encode())

    with peer(respond) as server:
        yield Recorded(server.url, settings(server.url), calls)
        seen.check()


def rejection(code: str, text: str, status: int = 400) -> Response:
    return Response(status, json.dumps({"__type": code, "message": text}).encode())


def in_turn(*responses: Any) -> Call:
    """The responses one after the other, the last one for good."""
    left = list(responses)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
