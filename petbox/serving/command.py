"""Serves a model on this machine behind the same gateway as in the container.

Prints the address once the model is ready: a page for trying it out, and the
API. Ctrl-C stops it.

A SavedModel is served by TensorFlow Serving if it is installed, else by
petbox's own model server on TensorFlow; a detector of petbox convert without
TensorFlow. Without nginx such a detector is served too, with the page and
/invocations alone.

With --check it serves nothing: it finds the model and validates the environment
variables. With --check --load it also loads the model and prints its signatures
with an example request for each; exit code 1 if the model cannot be loaded.

examples:
  petbox serve model/toy
  petbox serve model/toy --port 9000
  petbox serve model/toy-litert
  petbox serve model/toy --check --load
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from petbox.cli import browser, signals
from petbox.cli.child import Child
from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.litert import bundle
from petbox.serving import in_process, requirements
from petbox.serving.http_client import Address, NoResponse, request

# A link to container/ in the checkout, a copy of it in a wheel.
SUPERVISOR = Path(__file__).parent.parent / "container" / "serve"
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ServeOptions:
    model: Annotated[
        Path, "a SavedModel, LiteRT or OpenVINO, or a folder with numbered versions", POSITIONAL
    ]
    port: Annotated[int, "port to listen on"] = 8080
    host: Annotated[str, "address to listen on; 0.0.0.0 for all interfaces"] = "127.0.0.1"
    open: Annotated[bool, "open the page in a browser (only from a desktop terminal)"] = True
    check: Annotated[bool, "find the model, print what would be served, and exit"] = False
    load: Annotated[bool, "with --check: also load the model, and print its signatures"] = False

    def __post_init__(self) -> None:
        if self.load and not self.check:
            raise ValueError("argument --load: needs --check")


def serve(options: ServeOptions, fragment: str = "") -> None:
    """Serves until Ctrl-C or SIGTERM; prints the address on stdout when the model is ready.

    The `fragment` is for the page: what it shows first.
    """
    version = in_process.find_model(options.model)
    if bundle.is_there(version) and not (options.check or requirements.has_gateway()):
        _serve_reduced(options, version, fragment)
        return
    requirements.check_platform()
    requirements.find_nginx()
    if not options.check:
        requirements.check_port_free(options.host, options.port)
    server_port = requirements.free_port()
    env = environment(options, version, server_port)
    if options.check:
        words = ["check", *["--load"] * options.load]
        sys.exit(subprocess.run(["bash", str(SUPERVISOR), *words], env=env, check=False).returncode)
    # The model server opens its port when the model is ready; this check is not logged.
    is_open = partial(_is_open, server_port)
    _run(options, ["bash", str(SUPERVISOR)], env, is_open, fragment)


def _serve_reduced(options: ServeOptions, version: Path, fragment: str) -> None:
    """Without nginx, by a program of ours that has a part of what the gateway has."""
    requirements.check_lite(version)
    requirements.check_port_free(options.host, options.port)
    say(
        "nginx with Lua is not installed, so petbox itself serves the page, /ping, and "
        "/invocations for JSON and images, without queue, limits, metrics and the other formats"
    )
    words = [str(version.absolute()), options.host, str(options.port)]
    command = [*requirements.PYTHON, "-m", "petbox.serving.reduced_gateway", *words]
    _run(options, command, dict(os.environ), lambda: True, fragment)


def _run(
    options: ServeOptions,
    command: list[str],
    env: Mapping[str, str],
    is_open: Callable[[], bool],
    fragment: str,
) -> None:
    events: queue.SimpleQueue[signal.Signals | None] = queue.SimpleQueue()  # None: it has exited
    # nohup ignores SIGHUP, and a shell ignores SIGINT for a command in the background.
    numbers = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    with (
        signals.handled(numbers, events.put),
        Child(command, env, lambda: events.put(None)) as supervisor,
    ):
        _until_exit(options, is_open, fragment, supervisor, events)
        code = supervisor.exit_code()
    if code:  # its last line says why
        sys.exit(code)


def environment(options: ServeOptions, version: Path, server_port: int) -> dict[str, str]:
    """Ours for container/serve; the user may set the other variables of docs/contract.md."""
    is_lite = bundle.is_there(version)
    needed = requirements
    server = needed.lite_server_command(version) if is_lite else needed.model_server_command()
    ours = {name: text for name, text in os.environ.items() if not name.startswith("PETBOX_TEST_")}
    return ours | {
        "PETBOX_HOST": options.host,
        "PETBOX_MODELS": _escaped(str(version.absolute())),
        "PETBOX_MODEL_SERVER": " ".join(map(_escaped, server)),
        "PETBOX_PAGE": "true",
        "PETBOX_PYTHON": os.environ.get("PETBOX_PYTHON", sys.executable),
        "SAGEMAKER_BIND_TO_PORT": str(options.port),
        "SAGEMAKER_SAFE_PORT_RANGE": f"{server_port}-65535",
    }


def _escaped(word: str) -> str:
    """As container/serve reads paths: separated by spaces, a backslash before those inside."""
    return word.replace("\\", "\\\\").replace(" ", "\\ ")


def _until_exit(
    options: ServeOptions,
    is_open: Callable[[], bool],
    fragment: str,
    supervisor: Child,
    events: queue.SimpleQueue[signal.Signals | None],
) -> None:
    """Passes signals on, and prints the address once the model is ready."""
    ready = False
    while True:
        try:
            event = events.get(timeout=None if ready else POLL_SECONDS)
        except queue.Empty:
            ready = is_open() and _answers_ping(options)
            if ready:
                host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104
                address = f"http://{host}:{options.port}/{fragment}"
                print(address, flush=True)
                if options.open:
                    browser.show(address)
            continue
        if event is None:
            return
        supervisor.send(signal.SIGINT if event == signal.SIGHUP else event)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers_ping(options: ServeOptions) -> bool:
    host = "127.0.0.1" if options.host == "0.0.0.0" else options.host  # noqa: S104
    try:
        return request(Address(host, options.port), "GET", "/ping", seconds=5).status == 200
    except NoResponse:
        return False
