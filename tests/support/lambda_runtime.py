"""Lambda for tests: its Runtime API over HTTP, and functions that serve it, each in a process.

A function is a real zip, unpacked, in a Python that sees nothing else but boto3: as in Lambda's
own runtime, boto3 and what it needs lie beside it. `RUNTIME` stands for what Lambda's images and
runtimes have of AWS: it imports the handler and takes one event after the other. How the two
speak: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
EVENTS = Path(__file__).parents[1] / "events"
BESIDE = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
LONG = 120.0  # seconds, more than any start or response takes

# Only the standard library, for it runs where there is nothing else.
RUNTIME = """
import http.client, importlib, json, os, sys, traceback

connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def call(method, path, body=None):
    connection.request(method, "/2018-06-01/runtime/" + path, body)
    response = connection.getresponse()
    return response.headers, response.read()


def failure(error):
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    print("".join(lines), file=sys.stderr)
    details = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": lines}
    return json.dumps(details).encode()


class Context:
    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "function")
    function_version = "$LATEST"
    memory_limit_in_mb = 1024

    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]


module, _, name = os.environ["_HANDLER"].rpartition(".")
try:
    handler = getattr(importlib.import_module(module), name)
except BaseException as error:
    call("POST", "init/error", failure(error))
    sys.exit(1)
if "TEST_MODULES" in os.environ:
    with open(os.environ["TEST_MODULES"], "w") as file:
        json.dump(sorted(sys.modules), file)
while True:
    headers, event = call("GET", "invocation/next")
    context = Context(headers)
    invocation = "invocation/" + context.aws_request_id
    try:
        response = json.dumps(handler(json.loads(event), context)).encode()
    except Exception as error:
        call("POST", invocation + "/error", failure(error))
    else:
        call("POST", invocation + "/response", response)
"""


def event(name: str) -> dict[str, Any]:
    """A real event, as its source sends it."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


# Lambda's side


class ContainerDied(Exception):
    """A function's process ended while it had an event."""


class Invocations:
    """The Runtime API for one container: hands out events, takes responses."""

    def __init__(self) -> None:
        self.came = threading.Event()  # to get its first event
        self.failed_to_start = ""
        self._events: queue.SimpleQueue[tuple[str, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[str, str, Any] | None] = queue.SimpleQueue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                assert self.path == "/2018-06-01/runtime/invocation/next", self.path
                api.came.set()
                given = api._events.get()
                if given is None:  # it is over
                    self.close_connection = True
                    return
                name, event = given
                self.respond(200, json.dumps(event).encode(), name)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                *_, name, kind = self.path.split("/")
                if (name, kind) == ("init", "error"):
                    api.failed_to_start = body["errorMessage"]
                    api.came.set()
                else:
                    api._answers.put((name, kind, body))
                self.respond(202, b'{"status": "OK"}')

            def respond(self, status: int, body: bytes, name: str = "") -> None:
                self.send_response(status)
                headers = {"Content-Length": str(len(body))}
                if name:
                    headers |= {
                        "Lambda-Runtime-Aws-Request-Id": name,
                        "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + LONG))),
                        "Lambda-Runtime-Invoked-Function-Arn": (
                            "arn:aws:lambda:us-east-1:123456789012:function:front"
                        ),
                    }
                for header, value in headers.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # of a function that was ended

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> Invocations:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def end(self) -> None:
        """Nothing responds any more."""
        self._answers.put(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def give(self, event: Mapping[str, Any]) -> Any:
        """What the function makes of an event; of an error its type and text."""
        expected = str(uuid.uuid4())
        self._events.put((expected, event))
        answer = self._answers.get(timeout=LONG)
        if answer is None:
            raise ContainerDied("the function was ended while it processed an event")
        name, kind, body = answer
        assert name == expected
        return (
            {key: body[key] for key in ("errorType", "errorMessage")} if kind == "error" else body
        )


class Function:
    """A started container of a function."""

    def __init__(self, api: Invocations, process: subprocess.Popen[str], folder: Path) -> None:
        self._api, self._process, self._folder = api, process, folder
        give_up = time.monotonic() + LONG
        while not api.came.wait(0.02):
            assert process.poll() is None and time.monotonic() < give_up, self.log()
        assert not api.failed_to_start, f"{api.failed_to_start}\n{self.log()}"

    def __call__(self, event: Mapping[str, Any]) -> Any:
        return self._api.give(event)

    @property
    def modules(self) -> list[str]:
        """What it had imported when it was ready for its first event."""
        found: list[str] = json.loads((self._folder / "modules").read_text())
        return found

    def kill(self) -> None:
        """As Lambda does with one that uses too much memory; the event in progress is lost."""
        self._process.kill()
        self._process.wait()
        self._api.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        return (self._folder / "log").read_text()


@contextmanager
def started(command: list[str], folder: Path, env: Mapping[str, str]) -> Iterator[Function]:
    """What the command starts, which serves the Runtime API; it writes its log into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with Invocations() as api, (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "TEST_MODULES": str(folder / "modules"),
                **env,
            },
        )
        try:
            yield Function(api, process, folder)
        finally:
            process.kill()  # as Lambda ends them, or nearly so
            process.wait()


# Zips


def build(folder: Path, *words: str | Path) -> dict[str, Path]:
    """The zips, built for the Python that runs the tests."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    machine = "arm64" if os.uname().machine == "aarch64" else "x86_64"
    script = [CHECKOUT / "scripts" / "package_lambda.sh", "--python", version]
    done = subprocess.run(
        [*script, "--architecture", machine, "--out", folder, *words],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return {Path(line).stem: Path(line) for line in done.stdout.splitlines()}


class Zips(dict[str, Path]):
    """The zips by the names of their functions, each built when it is first used.

    The detector's has a model in it, which `model` gives.
    """

    def __init__(self, folder: Path, model: Callable[[], Path]) -> None:
        super().__init__()
        self._folder, self._model = folder, model

    def __missing__(self, name: str) -> Path:
        model = ("--model", self._model()) if name == "detector" else ()
        self.update(build(self._folder, *model, name))
        return self[name]


class Unpacked(dict[str, Path]):
    """The same, unpacked."""

    def __init__(self, zips: Mapping[str, Path], folder: Path) -> None:
        super().__init__()
        self._zips, self._folder = zips, folder

    def __missing__(self, name: str) -> Path:
        with zipfile.ZipFile(self._zips[name]) as archive:
            archive.extractall(self._folder / name)
        self[name] = self._folder / name
        return self[name]


@pytest.fixture(scope="session")
def zips(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Path]:
    return Zips(tmp_path_factory.mktemp("zips"), lambda: request.getfixturevalue("lite_model"))


@pytest.fixture(scope="session")
def fronts(zips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return unpacked(zips, tmp_path_factory.mktemp("lambda"))


def unpacked(zips: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """The zips unpacked, and `boto3` for what Lambda has itself."""
    beside = folder / "boto3"
    beside.mkdir()
    for name in BESIDE:
        found = importlib.util.find_spec(name)
        assert found and found.origin, name
        origin = Path(found.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (beside / source.name).symlink_to(source)
    fronts = Unpacked(zips, folder)
    fronts["boto3"] = beside
    return fronts


@contextmanager
def running(
    fronts: Mapping[str, Path], front: str, folder: Path, env: Mapping[str, str]
) -> Iterator[Function]:
    """The function, started once, with nothing importable but its zip and boto3."""
    path = [str(fronts[front]), str(fronts["boto3"])]
    code = f"import sys; sys.path[:0] = {path!r}\n{RUNTIME}"
    command = [sys.executable, "-I", "-S", "-c", code]
    where = {"AWS_REGION": "us-east-1", "LAMBDA_TASK_ROOT": str(fronts[front])}
    env = {**where, "_HANDLER": f"{front}.handler", **env}
    with started(command, folder, env) as function:
        yield function
