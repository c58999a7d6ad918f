"""Serves a SavedModel on this machine behind the same gateway as in the container.

Prints the address once the model is ready: a page for trying it out, and the
API. Ctrl-C stops it.

examples:
  petbox serve model/toy
  petbox serve model/toy --port 9000
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli import browser, signals
from petbox.cli.child import Child
from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.cli.sizes import MIB
from petbox.data import labels
from petbox.errors import MissingExtra, ServiceError
from petbox.export.model_folder import newest_version
from petbox.serving.http_client import Address, NoResponse, request

# A link to container/ in the checkout, a copy of it in a wheel.
GATEWAY = Path(__file__).parent.parent / "container"
NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")  # as loaded by container/nginx.conf
MODEL = "model"  # its name in the gateway's requests
MAX_IN_FLIGHT = 32  # requests at the model server at the same time; later ones queue
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.05
KEPT_BYTES = 32 * MIB  # freed memory that each nginx worker keeps


@dataclass(frozen=True)
class ServeOptions:
    model: Annotated[Path, "a SavedModel, or a folder with numbered versions", POSITIONAL]
    port: Annotated[int, "port to listen on"] = 8080
    host: Annotated[str, "address to listen on; 0.0.0.0 for all interfaces"] = "127.0.0.1"
    open: Annotated[bool, "open the page in a browser (only from a desktop terminal)"] = True


def serve(options: ServeOptions) -> None:
    """Serves until Ctrl-C or SIGTERM; prints the address on stdout when the model is ready."""
    version = newest_version(options.model)
    nginx, server = find_nginx(), model_server_command()
    check_port_free(options.host, options.port)
    say(f"serving {version} by {model_server_name(server)}")

    events: queue.SimpleQueue[Child | None] = queue.SimpleQueue()  # a dead child; None: stop
    # nohup ignores SIGHUP, and a shell ignores SIGINT for a command in the background.
    signal_numbers = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    # Handled only until the stop begins, so that a second Ctrl-C ends it at once.
    with ExitStack() as stack, signals.heard(signal_numbers, lambda: events.put(None)):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petbox-serve-")))
        server_port = free_port()
        write_run_folder(folder, version, f"{options.host}:{options.port}", server_port)
        # Stopped in reverse order: the gateway drains first.
        server += model_server_flags(folder, server_port)
        stack.enter_context(_running("the model server", server, signal.SIGTERM, events))
        gateway = nginx_command(nginx, folder)
        stack.enter_context(_running("nginx", gateway, signal.SIGQUIT, events))
        _until_stopped(options, server_port, events)
        say("stopping after the requests in flight")


def find_nginx() -> str:
    # On Debian it is not on an ordinary user's PATH.
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    missing = "nginx" if nginx is None else "nginx's njs module" if not NJS.exists() else None
    if nginx is None or missing:
        raise ServiceError(
            f"{missing} is not installed; type: sudo apt-get install nginx libnginx-mod-http-js"
        )
    return nginx


def model_server_command() -> list[str]:
    """TensorFlow Serving if it is installed, else the embedded server."""
    real = shutil.which("tensorflow_model_server")
    if real:  # some threads are left for status requests
        return [real, f"--rest_api_num_threads={MAX_IN_FLIGHT + 4}"]
    if importlib.util.find_spec("tensorflow") is None:  # faster than importing it
        raise MissingExtra(
            "tensorflow is not installed; in the petbox checkout type: pip install './[tf]'"
        )
    return [sys.executable, "-m", "petbox.serving.model_server"]


def model_server_name(command: list[str]) -> str:
    """Which of the two it is, for the log."""
    if command[0] == sys.executable:
        return "the embedded model server (there is no tensorflow_model_server on PATH)"
    return f"TensorFlow Serving ({command[0]})"


def model_server_flags(folder: Path, port: int) -> list[str]:
    """The same for both model servers."""
    return [
        f"--rest_api_port={port}",
        f"--port={free_port()}",  # gRPC cannot be switched off
        f"--model_name={MODEL}",
        f"--model_base_path={folder / 'models'}",
        "--rest_api_timeout_in_ms=60000",  # the gateway's limit
        "--max_num_load_retries=0",  # report a failed load at once, not after five minutes
    ]


def check_port_free(host: str, port: int) -> None:
    if not 0 < port < 2**16:
        raise ServiceError(f"port {port}: must be from 1 to 65535; choose one with --port")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ServiceError(
            f"port {port} on {host}: {error.strerror}; choose another with --port or --host"
        ) from error


def nginx_command(nginx: str, folder: Path) -> list[str]:
    """Starts nginx in a run folder. As in the image, its workers keep the memory of a large
    request: getting it from the kernel again costs more than copying the request."""
    keep = [f"MALLOC_TRIM_THRESHOLD_={KEPT_BYTES}", f"MALLOC_MMAP_THRESHOLD_={KEPT_BYTES}"]
    command = ["env", *keep, nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    command += ["-e", "stderr"]
    if os.geteuid() == 0:  # the user nobody may not read in root's TMPDIR
        command += ["-g", "user root;"]
    return command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_run_folder(folder: Path, version: Path, address: str, server_port: int) -> None:
    """The files that nginx reads, and the model at the path that the model server loads."""
    folder.chmod(0o755)  # nginx's workers do not run as root
    for path in (GATEWAY / "nginx.conf", *GATEWAY.glob("*.js")):
        shutil.copy(path, folder / path.name)
    settings = (GATEWAY / "settings.conf").read_text()
    settings = settings.replace("$page { default 0; }", "$page { default 1; }")
    (folder / "settings.conf").write_text(settings)
    _write_page(folder / "page", version)
    (folder / "listen.conf").write_text(f"listen {address};\n")
    (folder / "engine.conf").write_text(
        "upstream engine {\n"
        "    zone engine 64k;\n"
        "    least_conn;\n"
        f"    server 127.0.0.1:{server_port} max_conns={MAX_IN_FLIGHT} max_fails=0;\n"
        "    keepalive 32;\n"
        "}\n"
    )
    (folder / "models").mkdir()
    number = version.name if re.fullmatch(r"[0-9]+", version.name) else "1"
    (folder / "models" / number).symlink_to(version.resolve())


def _write_page(folder: Path, version: Path) -> None:
    """The page, and the names of the model's classes if the model has them."""
    # Copied with a new time, which is the ETag: two releases may have files of the same time.
    shutil.copytree(GATEWAY / "page", folder, copy_function=shutil.copy)
    names = version / "assets" / labels.FILE_NAME
    (folder / labels.FILE_NAME).write_bytes(names.read_bytes() if names.is_file() else b"")


def _until_stopped(
    options: ServeOptions, server_port: int, events: queue.SimpleQueue[Child | None]
) -> None:
    """Returns when asked to stop, raises when a child dies, prints the address once ready."""
    ready = False
    while True:
        try:
            died = events.get(timeout=None if ready else POLL_SECONDS)
        except queue.Empty:
            # The model server opens its port when the model is ready; this check is not logged.
            ready = _is_open(server_port) and _answers_ping(options)
            if ready:
                host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104
                address = f"http://{host}:{options.port}/"
                print(address, flush=True)
                if options.open:
                    browser.show(address)
            continue
        if died is None:
            return
        raise ServiceError(died.exit_reason())


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers_ping(options: ServeOptions) -> bool:
    host = "127.0.0.1" if options.host == "0.0.0.0" else options.host  # noqa: S104
    try:
        return request(Address(host, options.port), "GET", "/ping", seconds=5).status == 200
    except NoResponse:
        return False


@contextmanager
def _running(
    name: str,
    command: list[str],
    stop_signal: signal.Signals,
    events: queue.SimpleQueue[Child | None],
) -> Iterator[None]:
    child = Child(name, command, events.put)
    try:
        yield
    finally:
        child.stop(stop_signal, DRAIN_SECONDS)
