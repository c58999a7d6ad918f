"""The arguments of run.py."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from petbox_hooks import requirements


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py")
    parser.add_argument("verb", choices=("check", "serve"))
    parser.add_argument("code", type=Path)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--rest", help="HOST:PORT of the model server's REST API")
    parser.add_argument("--grpc", help="path of the model server's gRPC socket")
    parser.add_argument("--grpc-port", type=int, help="for handlers; 0 for none")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=int, help="that a request may take")
    options = parser.parse_args()
    if problems := requirements.problems(options.code):
        give_up(f"{options.code}: {'; '.join(problems)}")
    if options.verb == "serve":
        serve(options)


def serve(options: argparse.Namespace) -> None:
    from petbox_hooks import grpc_relay, handlers, invocations, unix_server, watch
    from petbox_hooks.tensorflow_serving import ModelServer

    server = ModelServer(options.rest, options.seconds, options.threads)
    try:
        handle = handlers.load(options.code, server)
    except BaseException as error:
        traceback.print_exc()
        give_up(f"{options.code}/inference.py: {handlers.describe(error, options.code)}")
    channel = grpc_relay.channel(options.grpc)
    port = options.grpc_port if channel else 0
    if port:
        grpc_relay.listen(port, options.grpc)
    engine = invocations.Engine(options.rest, str(port) if port else None, channel)
    running = watch.Running(options.seconds, options.socket)
    respond = invocations.Invocations(handle, engine, options.code, options.threads, running)
    unix_server.serve(options.socket, respond)


def give_up(reason: str) -> None:
    """The supervisor reports a line that begins with `hooks:` as the reason of the exit."""
    print(f"hooks: {' '.join(reason.split())}", file=sys.stderr, flush=True)
    sys.exit(1)
