"""What `petbox serve` needs of this machine: each function finds it, or says how to get it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from petbox.cli.program import say
from petbox.errors import INSTALLED_AS, MissingExtra, ServiceError
from petbox.litert import bundle

INSTALL_NGINX = (
    "type: sudo apt-get install nginx libnginx-mod-http-lua lua-cjson, or install OpenResty"
)
# The user's files and folders are no modules, whatever their names (Python 3.10 imports them).
PYTHON = [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]
SERVER = [*PYTHON, "-m", "petbox.serving.model_server"]
LUA = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")  # as in container/modules.conf


def check_platform() -> None:
    if not is_linux():
        raise ServiceError(
            "petbox serve needs Linux (or WSL); use the image (make image, then petbox local "
            'petbox), or call the model in Python: petbox.Detector(model="model/toy")'
        )


def is_linux() -> bool:
    return sys.platform == "linux"


def find_nginx() -> str:
    nginx, missing = _nginx()
    if missing:
        raise ServiceError(f"{missing} is not installed; {INSTALL_NGINX}")
    return nginx


def has_gateway() -> bool:
    """Whether the container's gateway runs on this machine."""
    return is_linux() and not _nginx()[1]


def _nginx() -> tuple[str, str]:
    """The path of nginx, and what is missing."""
    # On Debian it is not on an ordinary user's PATH.
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nginx is None:
        return "", "nginx"
    return nginx, "" if LUA.exists() or _has_lua(nginx) else "nginx's Lua module"


def _has_lua(nginx: str) -> bool:
    """Whether Lua is built in, as in OpenResty."""
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False)
    return "ngx_lua" in done.stderr


def lite_server_command(folder: Path) -> list[str]:
    """The embedded server: TensorFlow Serving cannot run what `petbox convert` makes."""
    check_lite(folder)
    return SERVER


def check_lite(folder: Path) -> None:
    is_openvino = bundle.network(folder).name == bundle.OPENVINO
    engine, extra = ("openvino", "openvino") if is_openvino else ("ai_edge_litert", "serve")
    for module in (engine, "numpy", "PIL"):
        if importlib.util.find_spec(module) is None:
            name = INSTALLED_AS.get(module, module)
            raise MissingExtra(
                f"{name} is not installed; in the petbox checkout type: pip install './[{extra}]'"
            )


def check_tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:  # faster than importing it
        raise MissingExtra(
            "tensorflow is not installed; in the petbox checkout type: pip install './[tf]'"
        )


def model_server_command() -> list[str]:
    """TensorFlow Serving if it is installed, else the embedded server."""
    real = shutil.which("tensorflow_model_server")
    if real:
        return [real]
    check_tensorflow()
    say("there is no tensorflow_model_server on PATH; the embedded model server replaces it")
    return SERVER


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


def free_port() -> int:
    """Below those that the kernel gives to connections, one of which could take it meanwhile."""
    while True:
        port = 22_000 + secrets.randbelow(10_000)  # whatever seed the process has
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
