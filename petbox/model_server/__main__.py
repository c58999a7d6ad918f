"""Serves one SavedModel on a loopback port, under the flag names of tensorflow_model_server.

    python -m petbox.model_server --rest_api_port 8501 --model_name model --model_base_path DIR

DIR holds numbered versions; the newest is served. The port opens when the model is loaded and
warmed up. TERM: requests in flight are finished, exit 0.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import threading
from pathlib import Path

from petbox.errors import PetboxError, ServiceError
from petbox.model_server.listener import Listener
from petbox.model_server.rest import respond
from petbox.program import say

DRAIN_SECONDS = 25.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m petbox.model_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rest_api_port", type=int, required=True, metavar="PORT")
    parser.add_argument("--model_name", default="default", metavar="NAME")
    parser.add_argument("--model_base_path", type=Path, required=True, metavar="DIR")
    flags = parser.parse_args()
    try:
        return serve(flags.rest_api_port, flags.model_name, flags.model_base_path)
    except PetboxError as error:
        say(f"model server: error: {error}")
        return 1


def serve(port: int, name: str, base_path: Path) -> int:
    try:
        listener = Listener(port)
    except OSError as error:
        raise ServiceError(f"port {port}: {error.strerror}; name another") from error
    # Keras is not needed to serve and takes a third of the start; this keeps it from being loaded.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from petbox.model_server.model import load
    from petbox.model_server.warmup import warm_up

    model, folder = load(name, base_path)
    warmed = warm_up(model, folder)
    say(f"model server: version {model.version} of {name} is ready ({warmed} warm-up requests)")

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    answer = functools.partial(respond, model)
    threading.Thread(target=listener.serve, args=(answer,), daemon=True).start()
    stop.wait()
    return 0 if listener.drain(DRAIN_SECONDS) else 1


if __name__ == "__main__":
    sys.exit(main())
