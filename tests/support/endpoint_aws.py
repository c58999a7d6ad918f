"""AWS for the tests of endpoints: moto, and before it a proxy whose responses a test may replace.

Moto's endpoints are in service at once and never fail, it answers UpdateEndpoint with 500, and
rejects instances newer than ml.g4dn. The proxy returns the responses that a test states instead,
and passes everything else to moto unchanged.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from support import permissions
from support.aws import REGION, Aws, moto, settings
from support.inference_components import Components, with_copies, without_copies
from support.peer import Response

from petbox.aws.image import DOCKER
from petbox.cli.main import main

CHECKOUT = Path(__file__).resolve().parents[2]
REPOSITORY = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/petbox"
IMAGE = f"{REPOSITORY}@sha256:{'0' * 64}"
ROLE = "arn:aws:iam::123456789012:role/service-role/SageMaker"
SOON = ("--every", "0.1")
UP = ("--image", IMAGE, "--role", ROLE, *SOON)

Request = dict[str, Any]
Instead = Callable[[Request], Any]  # a response; None passes the request on to moto
Amended = Callable[[Any], Any]  # moto's response, changed


@dataclass(frozen=True)
class AwsProxy(Aws):
    """Moto's address, and the calls made there: operations with their requests, in order.

    The operations of `instead` may be patterns.
    """

    calls: list[tuple[str, Request]] = field(default_factory=list)
    instead: dict[str, Instead] = field(default_factory=dict)
    amended: dict[str, Amended] = field(default_factory=dict)
    components: Components = field(default_factory=Components)

    def names(self, *prefixes: str) -> list[str]:
        """The operations called, or those that begin with one of the prefixes."""
        return [name for name, _ in self.calls if not prefixes or name.startswith(prefixes)]

    def changes(self) -> list[str]:
        verbs = ("Create", "Update", "Delete", "Add", "Put", "Register", "Deregister", "Stop")
        return self.names(*verbs)

    def requests(self, operation: str) -> list[Request]:
        return [request for name, request in self.calls if name == operation]


@contextmanager
def aws_proxy() -> Iterator[AwsProxy]:
    with moto() as behind:
        # Moto's state goes with the process, and other tests were in this one before.
        requests.post(f"{behind.url}/moto-api/reset", timeout=60).raise_for_status()
        calls: list[tuple[str, Request]] = []
        instead: dict[str, Instead] = {}
        amended: dict[str, Amended] = {}
        standard: dict[str, Instead] = {}
        seen = permissions.Seen()
        to = urlsplit(behind.url).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # else headers and body are two packets, and the second waits 40 ms

            def _respond(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                name, request = _operation(self.command, self.path, self.headers, body)
                calls.append((name, request))
                self._record(name)
                matching = (act for one, act in instead.items() if fnmatchcase(name, one))
                respond = next(matching, standard.get(name))
                replaced = respond(request) if respond else None
                if replaced is None:
                    self._pass_on(name, body)
                elif isinstance(replaced, Response):
                    self._reply(replaced.status, replaced.body)
                else:
                    self._reply(200, json.dumps(replaced).encode())

            def _record(self, name: str) -> None:
                action = permissions.action(name, self.command, self.path, self.headers)
                if action:
                    seen.add(action, self.headers.get("User-Agent", ""))

            # Whatever the method, and as http.server calls them.
            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _respond  # noqa: N815

            def _pass_on(self, name: str, body: bytes) -> None:
                connection = http.client.HTTPConnection(to, timeout=60)
                body, headers = without_copies(body), dict(self.headers)
                if "Content-Length" in headers:
                    headers["Content-Length"] = str(len(body))
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = with_copies(response.read())
                if response.status == 200 and name in amended:
                    content = json.dumps(amended[name](json.loads(content))).encode()
                kept = {k: v for k, v in response.getheaders() if k.lower() not in OURS}
                self._reply(response.status, content, kept)
                connection.close()

            def _reply(
                self, status: int, body: bytes, headers: dict[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for key, value in (headers or {"Content-Type": "application/json"}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_expect_100(self) -> bool:
                """At once, or S3's clients wait a second for each upload."""
                expected = super().handle_expect_100()
                self.wfile.flush()
                return expected

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        # ECR, of which moto has no download of configurations
        standard["GetDownloadUrlForLayer"] = lambda _: {"downloadUrl": f"{url}/config"}
        standard["GetProducts"] = price_list
        describe_image(standard)
        components = Components()
        standard |= components.responses(behind.client("sagemaker"))
        try:
            yield AwsProxy(url, settings(url), calls, instead, amended, components)
            seen.check()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def price_list(request: Request) -> Request:
    """AWS's Price List of one instance type: what hosting costs, and what training does."""
    wanted = {one["Field"]: one["Value"] for one in request["Filters"]}
    if wanted != {"regionCode": REGION, "instanceName": "ml.m5.xlarge"}:
        return {"PriceList": []}
    products = []
    for usage, price in (("Train", "0.99"), ("Host", "0.2300000000")):
        attributes = {**wanted, "usagetype": f"USE1-{usage}:ml.m5.xlarge"}
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
        term = {"priceDimensions": {"JDZQJFUVUR8SUWHS.JRTCKXETXF.6YS6EN2CT7": dimension}}
        products.append(
            {
                "product": {"productFamily": "ML Instance", "attributes": attributes},
                "terms": {"OnDemand": {"JDZQJFUVUR8SUWHS.JRTCKXETXF": term}},
            }
        )
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(one) for one in products]}


def digest_of(identity: Request) -> str:
    """Of an image in ECR, which is another one for each tag."""
    tagged = hashlib.sha256(identity.get("imageTag", "").encode()).hexdigest()
    return str(identity.get("imageDigest", f"sha256:{tagged}"))


def by_digest(tag: str) -> str:
    return f"{REPOSITORY}@{digest_of({'imageTag': tag})}"


def describe_image(
    into: dict[str, Instead],
    base: str = "tensorflow/serving:2.20.0",
    architecture: str = "amd64",
    env: tuple[str, ...] = (),
    media_type: str = DOCKER,
) -> None:
    """Every image in ECR is as the arguments say."""
    labels = {"org.opencontainers.image.base.name": base}
    config = {"architecture": architecture, "config": {"Labels": labels, "Env": list(env)}}
    manifest = {"mediaType": media_type, "config": {"digest": f"sha256:{'1' * 64}"}}
    into["BatchGetImage"] = lambda request: {
        "images": [
            {
                "imageId": {"imageDigest": digest_of(request["imageIds"][0])},
                "imageManifest": json.dumps(manifest),
            }
        ]
    }
    into["GET /config"] = lambda _: config


OURS = ("content-length", "connection", "date", "server", "transfer-encoding")


def _operation(method: str, path: str, headers: Any, body: bytes) -> tuple[str, Request]:
    """Of AWS's JSON services by header; of EventBridge Scheduler by method and path."""
    if target := headers.get("X-Amz-Target"):
        return target.split(".")[1], json.loads(body)
    if "/operation/" in path:  # of CloudWatch, as CBOR
        return path.rsplit("/", 1)[1], {}
    if headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):  # of IAM
        form = dict(parse_qsl(body.decode()))
        return form.pop("Action"), form
    if path.partition("?")[0] == "/schedules":
        return "ListSchedules", {}
    if path.startswith("/schedules/"):
        return f"{permissions.SCHEDULES[method]}Schedule", json.loads(body) if body else {}
    path, _, query = path.partition("?")
    if path.count("/") == 1 and (action := permissions.OF_BUCKETS.get(f"{method} {query}".strip())):
        return action, {}
    return f"{method} {path}", {}


# petbox, as it is typed

Done = subprocess.CompletedProcess[str]


def command(env: dict[str, str], *words: str | Path) -> dict[str, Any]:
    """What makes a process of its own of it."""
    return {
        "args": [sys.executable, "-m", "petbox", *map(str, words)],
        "env": {**_without_aws(), "PYTHONPATH": str(CHECKOUT), **env, **_run(env, words)},
        "text": True,
    }


def petbox(env: dict[str, str], *words: str | Path) -> Done:
    """The same within this process, which has boto3 already."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before = dict(os.environ)
    _set_environment({**_without_aws(), **env, **_run(env, words)})
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        _set_environment(before)
    output = [bytes(stream.buffer.getvalue()).decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(list(words), code, *output)


def _run(env: dict[str, str], words: Sequence[str | Path]) -> dict[str, str]:
    return permissions.begin([*map(str, words)], env)


def _without_aws() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}


def _set_environment(env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)


def done(result: Done) -> Done:
    """One that went well."""
    assert result.returncode == 0, result.stderr
    return result


def failed(result: Done) -> str:
    """The last line of one that failed as it should."""
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def shown(result: Done) -> list[tuple[str, Any]]:
    """The calls of a dry run, or None where it would wait, by name."""
    return [
        (step.get("call", step.get("wait")), step.get("request"))
        for step in json.loads(done(result).stdout)
    ]
