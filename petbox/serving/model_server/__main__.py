"""petbox-model-server: TensorFlow Serving's REST API on the tensorflow package's C library.

    petbox-model-server --rest_api_port=8501 --model_name=pets --model_base_path=/models/pets
    petbox-model-server --rest_api_port=8501 --model_config_file=/models/models.config

It accepts the flags of tensorflow_model_server and can replace it for development. The port, on
the loopback interface, opens once every model has a loaded and warmed-up version. New versions are
served as they appear. On SIGTERM requests in flight are completed, exit code 0; if it cannot start
it exits with 255, as the original does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NoReturn

from petbox.cli import signals
from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.litert import bundle
from petbox.serving.model_server import config, metrics
from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.engine import Engine, EngineOptions
from petbox.serving.model_server.flags import Flags, parse
from petbox.serving.model_server.http_server import HttpServer
from petbox.serving.model_server.model_versions import Load, LoadOptions
from petbox.serving.model_server.rest import Model, Response, respond, with_cors
from petbox.serving.model_server.served_models import ServedModels
from petbox.serving.model_server.status import StatusError

DRAIN_SECONDS = 25.0
LOOK_SECONDS = 0.1  # between two looks at whether the configuration has changed
FAILED = 255


def main() -> NoReturn:
    code = _run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may be loading a model: if Python ended it there, TensorFlow would abort.
    os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        flags, warnings = parse(arguments)
        for warning in warnings:
            say(warning)
        return _version() if flags.version else serve(flags)
    except (StatusError, PetboxError) as error:
        say(f"Failed to start server. Error: {error}")
        return FAILED


def _version() -> int:
    from importlib.metadata import version

    print(f"petbox's model server, as TensorFlow ModelServer: {version('tensorflow')}")
    return 0


def serve(flags: Flags) -> int:
    configs = _configs(flags)
    server = _server(flags)
    stop = threading.Event()
    load = _loader(flags, is_asked=lambda: bool(models.loaded()))
    models = ServedModels(load, _load_options(flags))

    def shut_down(_signal: signal.Signals) -> None:
        models.stop()
        stop.set()

    with signals.handled(signals.STOP, shut_down):
        return _serve(flags, configs, models, server, stop)


def _serve(
    flags: Flags,
    configs: list[ModelConfig],
    models: ServedModels,
    server: HttpServer,
    stop: threading.Event,
) -> int:
    if not configs:
        _read_tensorflow()
    models.configure(configs)
    if not models.wait(configs):
        return 0
    models.label(configs, flags.allow_version_labels_for_unavailable_models)

    def handle(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        if path == metrics.PATH:
            return metrics.respond(models.loaded())
        response = respond(models, method, path, headers, body)
        return with_cors(response) if flags.rest_api_enable_cors_support else response

    try:
        server.server_activate()
    except OSError as error:  # another program has bound the port as well, and was faster
        raise _port_error(server.port, error) from error
    threading.Thread(target=server.serve, args=(handle,), daemon=True).start()
    say(f"Exporting HTTP/REST API at:localhost:{server.port} ...")
    _follow_config(models, flags, stop)
    return 0 if server.drain(DRAIN_SECONDS) else 1


def _configs(flags: Flags) -> list[ModelConfig]:
    """The models to serve; invalid settings are rejected before anything is loaded."""
    if flags.batching_parameters_file and not flags.enable_batching:
        raise StatusError(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    if flags.batching_parameters_file and not Path(flags.batching_parameters_file).is_file():
        raise StatusError(
            f"{flags.batching_parameters_file}; No such file or directory", "NOT_FOUND"
        )
    if flags.model_config_file:
        return config.read(Path(flags.model_config_file))
    if not flags.model_base_path:
        raise StatusError(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    configs = [ModelConfig(flags.model_name, Path(flags.model_base_path))]
    config.check(configs)
    return configs


def _server(flags: Flags) -> HttpServer:
    port = flags.rest_api_port
    if not 0 < port < 2**16:
        raise StatusError(f"--rest_api_port={port}: give a port; this server has no gRPC")
    if port == flags.port:
        raise StatusError(f"--rest_api_port={port}: also given as --port; use another")
    try:
        return HttpServer(port)
    except OSError as error:
        raise _port_error(port, error) from error


def _port_error(port: int, error: OSError) -> StatusError:
    return StatusError(f"port {port}: {error.strerror}; give another", "UNAVAILABLE")


def _loader(flags: Flags, is_asked: Callable[[], bool]) -> Load:
    """Each engine is imported for the first of its models: TensorFlow takes a second."""
    from petbox.serving.model_server.model import load as load_model

    saved_models = cache(partial(_saved_models, flags, is_asked))

    def load(name: str, version: int, folder: Path) -> Model:
        if (folder / "saved_model.pb").exists() or not bundle.is_there(folder):
            return saved_models()(name, version, folder)
        from petbox.serving.model_server.litert_engine import LiteRT

        model = load_model(name, version, folder, LiteRT.of(folder, _engine_options(flags)))
        say(f"version {version} of {name} is ready on {model.engine}")
        return model

    return load


def _engine_options(flags: Flags) -> EngineOptions:
    threads = flags.tensorflow_session_parallelism
    return EngineOptions(
        timeout_ms=flags.rest_api_timeout_in_ms,
        tags=tuple(flags.saved_model_tags.split(",")),
        inter_op_threads=flags.tensorflow_inter_op_parallelism or threads,
        intra_op_threads=flags.tensorflow_intra_op_parallelism or threads,
    )


def _read_tensorflow() -> None:
    """Before the first model asks for it: a thread that starts while a library is read waits for
    that, and the others for the thread. No ping of a server without models would be answered.
    """
    from petbox.serving.model_server.tensorflow_library import library

    with contextlib.suppress(PetboxError):  # a model that needs it says so
        library()


def _saved_models(flags: Flags, is_asked: Callable[[], bool]) -> Load:
    from petbox.serving.model_server.model import load as load_model
    from petbox.serving.model_server.tensorflow_engine import TensorFlow
    from petbox.serving.model_server.warmup import warm_up

    engine: Engine = TensorFlow(_engine_options(flags))

    def load(name: str, version: int, folder: Path) -> Model:
        model = load_model(name, version, folder, engine)
        times = flags.num_request_iterations_for_warmup if flags.enable_model_warmup else 0
        warmed = warm_up(model, folder, times, yields=is_asked())
        say(f"version {version} of {name} is ready on {model.engine} ({warmed} warm-up requests)")
        return model

    return load


def _load_options(flags: Flags) -> LoadOptions:
    return LoadOptions(
        poll_seconds=flags.file_system_poll_wait_seconds,
        retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
    )


def _follow_config(models: ServedModels, flags: Flags, stop: threading.Event) -> None:
    """Applies the file at each poll, as the original does, and as soon as it changes."""
    poll, file = flags.model_config_file_poll_wait_seconds, Path(flags.model_config_file)
    if not flags.model_config_file or poll <= 0:
        stop.wait()
    applied, due = _identity(file), 0.0
    while not stop.wait(LOOK_SECONDS):
        if (seen := _identity(file)) != applied or time.monotonic() >= due:
            applied, due = seen, time.monotonic() + poll
            _reload_config(models, flags)


def _identity(file: Path) -> tuple[int, ...]:
    """Differs from before once the file has changed; empty if it cannot be read."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _reload_config(models: ServedModels, flags: Flags) -> None:
    """Applies the file as it is now; an invalid one changes nothing."""
    unchanged = "the models"
    try:
        configs = config.read(Path(flags.model_config_file))
        models.configure(configs)
        unchanged = "the labels"
        models.label(configs, flags.allow_version_labels_for_unavailable_models)
    except StatusError as error:
        say(f"{flags.model_config_file}: {error}; {unchanged} are unchanged")


if __name__ == "__main__":
    main()
