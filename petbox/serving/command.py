"""Serves a SavedModel on this machine behind the same gateway as in the container.

Prints the address once the model is ready: a page for trying it out, and the
API. Ctrl-C stops it.

examples:
  petbox serve model/toy
  petbox serve model/toy --port 9000
"""

from __future__ import annotations

import http.client
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
from petbox.data import labels
from petbox.errors import MissingExtra, ServiceError
from petbox.export.model_folder import newest_version

FRONT = (
    Path(__file__).parent.parent / "container"
)  # a link to the one in the checkout, a copy in a wheel
NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")  # as container/nginx.conf loads it
MODEL = "model"  # the name under which the front asks for it
PLACES = 32  # requests that the engine is given at once; who comes later waits for one
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.05
KEPT_BYTES = 32 * 2**20  # of freed memory, by each of nginx's workers


@dataclass(frozen=True)
class ServeOptions:
    """Where the model is and where it is to be found."""

    model: Annotated[Path, "a SavedModel, or a folder with numbered versions", POSITIONAL]
    port: Annotated[int, "port to listen on"] = 8080
    host: Annotated[str, "address to listen on; 0.0.0.0 for all interfaces"] = "127.0.0.1"
    open: Annotated[bool, "open the page in a browser (only from a desktop terminal)"] = True


def serve(options: ServeOptions) -> None:
    """Serves until Ctrl-C or TERM; prints the address on stdout when the model is ready."""
    version = newest_version(options.model)
    nginx, engine = find_nginx(), engine_command()
    refuse_port_in_use(options.host, options.port)
    say(f"serving {version} by {engine_name(engine)}")

    events: queue.SimpleQueue[Child | None] = queue.SimpleQueue()  # who died; None: we are to stop
    # nohup wants a closed terminal ignored.
    asking = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    # Heard until all is to end: then a second Ctrl-C waits for nobody.
    with ExitStack() as stack, signals.heard(asking, lambda: events.put(None)):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petbox-serve-")))
        engine_port = free_port()
        write_run_folder(folder, version, f"{options.host}:{options.port}", engine_port)
        # Left in reverse order: the front drains first, then the engine goes.
        start = [*engine, *engine_flags(folder, engine_port)]
        stack.enter_context(_running("the model server", start, signal.SIGTERM, events))
        front = nginx_command(nginx, folder)
        stack.enter_context(_running("nginx", front, signal.SIGQUIT, events))
        _until_stopped(options, engine_port, events)
        say("stopping: requests in flight are finished first")


def find_nginx() -> str:
    # Debian keeps it from the PATH of ordinary users.
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    missing = "nginx" if nginx is None else "nginx's njs module" if not NJS.exists() else None
    if nginx is None or missing:
        raise ServiceError(
            f"{missing} is not installed; type: sudo apt-get install nginx libnginx-mod-http-js"
        )
    return nginx


def engine_command() -> list[str]:
    """TensorFlow Serving itself where it is installed, else the embedded server."""
    real = shutil.which("tensorflow_model_server")
    if real:  # threads so that some are left to say how it is
        return [real, f"--rest_api_num_threads={PLACES + 4}"]
    if importlib.util.find_spec("tensorflow") is None:  # found without the seconds of an import
        raise MissingExtra(
            "tensorflow is not installed; in the petbox checkout type: pip install './[tf]'"
        )
    return [sys.executable, "-m", "petbox.serving.model_server"]


def engine_name(engine: list[str]) -> str:
    """Which of the two it is, for the log."""
    if engine[0] == sys.executable:
        return "the embedded model server (there is no tensorflow_model_server on PATH)"
    return f"TensorFlow Serving ({engine[0]})"


def engine_flags(folder: Path, port: int) -> list[str]:
    """The same for both engines."""
    return [
        f"--rest_api_port={port}",
        f"--port={free_port()}",  # gRPC cannot be switched off
        f"--model_name={MODEL}",
        f"--model_base_path={folder / 'models'}",
        "--rest_api_timeout_in_ms=60000",  # the front's own limit
        "--max_num_load_retries=0",  # what cannot be loaded now is told of now, not in five minutes
    ]


def refuse_port_in_use(host: str, port: int) -> None:
    if not 0 < port < 2**16:
        raise ServiceError(f"port {port}: there are 1 to 65535; choose one by --port")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ServiceError(
            f"port {port} on {host}: {error.strerror}; choose another by --port or --host"
        ) from error


def nginx_command(nginx: str, folder: Path) -> list[str]:
    """Starts nginx on a run folder. Its workers keep the memory that a large picture took, as in
    the image: asking the kernel for it anew costs more than copying the picture."""
    keep = [f"MALLOC_TRIM_THRESHOLD_={KEPT_BYTES}", f"MALLOC_MMAP_THRESHOLD_={KEPT_BYTES}"]
    command = ["env", *keep, nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    command += ["-e", "stderr"]
    if os.geteuid() == 0:  # its workers would be nobody, who may not read in root's TMPDIR
        command += ["-g", "user root;"]
    return command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_run_folder(folder: Path, version: Path, address: str, engine_port: int) -> None:
    """All that nginx reads and writes, and the model under the path the engines look for it."""
    folder.chmod(0o755)  # nginx's workers are not root when their master is
    for path in (FRONT / "nginx.conf", *FRONT.glob("*.js")):
        shutil.copy(path, folder / path.name)
    settings = (FRONT / "settings.conf").read_text()
    settings = settings.replace("$page { default 0; }", "$page { default 1; }")
    (folder / "settings.conf").write_text(settings)
    _write_page(folder / "page", version)
    (folder / "listen.conf").write_text(f"listen {address};\n")
    (folder / "engine.conf").write_text(
        "upstream engine {\n"
        "    zone engine 64k;\n"
        "    least_conn;\n"
        f"    server 127.0.0.1:{engine_port} max_conns={PLACES} max_fails=0;\n"
        "    keepalive 32;\n"
        "}\n"
    )
    (folder / "models").mkdir()
    number = version.name if re.fullmatch(r"[0-9]+", version.name) else "1"
    (folder / "models" / number).symlink_to(version.resolve())


def _write_page(folder: Path, version: Path) -> None:
    """The page, and beside it the names of the model's classes, where it brings them."""
    # Each file as of now: its time is its ETag, and those of two releases may be the same.
    shutil.copytree(FRONT / "page", folder, copy_function=shutil.copy)
    names = version / "assets" / labels.FILE_NAME
    (folder / labels.FILE_NAME).write_bytes(names.read_bytes() if names.is_file() else b"")


def _until_stopped(
    options: ServeOptions, engine_port: int, events: queue.SimpleQueue[Child | None]
) -> None:
    """Returns when asked to stop; raises when a child dies. Says once when all is ready."""
    ready = False
    while True:
        try:
            died = events.get(timeout=None if ready else POLL_SECONDS)
        except queue.Empty:
            # The engine's port opens when its model is ready; asking it leaves no line in a log.
            ready = _is_open(engine_port) and _answers_ping(options)
            if ready:
                host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104
                address = f"http://{host}:{options.port}/"
                print(address, flush=True)
                if options.open:
                    browser.show(address)
            continue
        if died is None:
            return
        raise ServiceError(died.obituary())


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers_ping(options: ServeOptions) -> bool:
    host = "127.0.0.1" if options.host == "0.0.0.0" else options.host  # noqa: S104
    connection = http.client.HTTPConnection(host, options.port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _running(
    name: str, command: list[str], farewell: signal.Signals, events: queue.SimpleQueue[Child | None]
) -> Iterator[None]:
    child = Child(name, command, events.put)
    try:
        yield
    finally:
        child.stop(farewell, DRAIN_SECONDS)
