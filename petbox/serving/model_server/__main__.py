"""petbox-model-server: TensorFlow Serving's REST API over the tensorflow package.

    petbox-model-server --rest_api_port=8501 --model_name=pets --model_base_path=/models/pets
    petbox-model-server --rest_api_port=8501 --model_config_file=/models/models.config

It takes the flags of tensorflow_model_server and can be started in its place, for development.
The port, on the loopback interface, opens when every model has a version that is loaded and
warmed up. New versions are served as they appear. TERM: requests in flight are finished, exit 0;
what cannot be started leaves with 255, as the original does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn, cast

from petbox.cli import signals
from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.serving.model_server import config
from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.flags import Flags, parse
from petbox.serving.model_server.listener import Listener
from petbox.serving.model_server.refusal import Refusal
from petbox.serving.model_server.rest import Answer, Model, respond, with_cors
from petbox.serving.model_server.servables import Servables
from petbox.serving.model_server.shelf import Load, Patience

DRAIN_SECONDS = 25.0
FAILED = 255


def main() -> NoReturn:
    code = _run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may be in the middle of a load; Python would end it there, and TensorFlow abort.
    os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        flags, remarks = parse(arguments)
        for remark in remarks:
            say(remark)
        return _version() if flags.version else serve(flags)
    except (Refusal, PetboxError) as error:
        say(f"Failed to start server. Error: {error}")
        return FAILED


def _version() -> int:
    from importlib.metadata import version

    print(f"petbox's model server, as TensorFlow ModelServer: {version('tensorflow')}")
    return 0


def serve(flags: Flags) -> int:
    configs = _configs(flags)
    listener = _listener(flags)
    # TensorFlow loads whichever Keras it finds, for seconds; it does without one that is barred.
    for keras in ("keras", "tf_keras"):
        sys.modules.setdefault(keras, cast(ModuleType, None))
    stop = threading.Event()
    servables = Servables(_loader(flags), _patience(flags))

    def leave() -> None:
        servables.stop()
        stop.set()

    with signals.heard((signal.SIGTERM, signal.SIGINT), leave):
        return _serve(flags, configs, servables, listener, stop)


def _serve(
    flags: Flags,
    configs: list[ModelConfig],
    servables: Servables,
    listener: Listener,
    stop: threading.Event,
) -> int:
    servables.configure(configs)
    if not servables.wait(configs):
        return 0
    servables.label(configs, flags.allow_version_labels_for_unavailable_models)

    def answer(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        given = respond(servables, method, path, headers, body)
        return with_cors(given) if flags.rest_api_enable_cors_support else given

    threading.Thread(target=listener.serve, args=(answer,), daemon=True).start()
    say(f"Exporting HTTP/REST API at:localhost:{listener.server_port} ...")
    while not stop.wait(_config_seconds(flags)):
        _configure_anew(servables, flags)
    return 0 if listener.drain(DRAIN_SECONDS) else 1


def _configs(flags: Flags) -> list[ModelConfig]:
    """The models to serve; whatever cannot be meant is refused before anything is loaded."""
    if flags.batching_parameters_file and not flags.enable_batching:
        raise Refusal(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    if flags.batching_parameters_file and not Path(flags.batching_parameters_file).is_file():
        raise Refusal(f"{flags.batching_parameters_file}; No such file or directory", "NOT_FOUND")
    if flags.model_config_file:
        return config.read(Path(flags.model_config_file))
    if not flags.model_base_path:
        raise Refusal(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    configs = [ModelConfig(flags.model_name, Path(flags.model_base_path))]
    config.refuse_nonsense(configs)
    return configs


def _listener(flags: Flags) -> Listener:
    port = flags.rest_api_port
    if not 0 < port < 2**16:
        raise Refusal(f"--rest_api_port={port}: name a port; there is no gRPC here")
    if port == flags.port:
        raise Refusal(f"--rest_api_port={port}: --port names it already; use another")
    try:
        return Listener(port)
    except OSError as error:
        raise Refusal(f"port {port}: {error.strerror}; name another", "UNAVAILABLE") from error


def _loader(flags: Flags) -> Load:
    """Imports TensorFlow, which takes seconds, so only once there is something to load."""
    from petbox.serving.model_server.model import Running
    from petbox.serving.model_server.model import load as load_graph
    from petbox.serving.model_server.warmup import warm_up

    threads = flags.tensorflow_session_parallelism
    running = Running(
        timeout_ms=flags.rest_api_timeout_in_ms,
        tags=tuple(flags.saved_model_tags.split(",")),
        inter_op_threads=flags.tensorflow_inter_op_parallelism or threads,
        intra_op_threads=flags.tensorflow_intra_op_parallelism or threads,
    )

    def load(name: str, version: int, folder: Path) -> Model:
        model = load_graph(name, version, folder, running)
        times = flags.num_request_iterations_for_warmup if flags.enable_model_warmup else 0
        warmed = warm_up(model, folder, times)
        say(f"version {version} of {name} is ready ({warmed} warm-up requests)")
        return model

    return load


def _patience(flags: Flags) -> Patience:
    return Patience(
        poll_seconds=flags.file_system_poll_wait_seconds,
        retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
    )


def _config_seconds(flags: Flags) -> float | None:
    seconds = flags.model_config_file_poll_wait_seconds
    return seconds if flags.model_config_file and seconds > 0 else None


def _configure_anew(servables: Servables, flags: Flags) -> None:
    """What the file says now; if it says nothing sensible all stays as it was."""
    same = "the models"
    try:
        configs = config.read(Path(flags.model_config_file))
        servables.configure(configs)
        same = "the labels"
        servables.label(configs, flags.allow_version_labels_for_unavailable_models)
    except Refusal as refusal:
        say(f"{flags.model_config_file}: {refusal}; {same} stay as they are")


if __name__ == "__main__":
    main()
