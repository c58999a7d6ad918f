"""Runs an image on this machine the way SageMaker does.

Starts the container with `serve`, mounts the model and checks /ping. The
container's log goes to stderr. Once /ping returns 200, the line for boto3 is
printed to stdout; if it never does, the cause is reported. Ctrl-C stops the
container as SageMaker does and removes it. Needs Docker.

With --multi-model it plays SageMaker's part of a multi-model endpoint: models
in DIR are loaded when boto3's TargetModel names them, and evicted.

examples:
  petbox local petbox
  petbox local my-image --model model.tar.gz \\
      --env SAGEMAKER_TFS_ENABLE_BATCHING=true
  petbox local petbox --multi-model models/ --max-loaded 5
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from petbox.cli.options import POSITIONAL, Value, at_least, between, check
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving import docker
from petbox.serving.conform.diagnosis import diagnose
from petbox.serving.conform.ping import PERIOD, TIMEOUT, Ping, pings, wait_until_healthy
from petbox.serving.docker import LOOPBACK, STOP_LIMIT, Container, Image
from petbox.serving.http_client import Address, NoResponse, request
from petbox.serving.multi_model.endpoint import endpoint
from petbox.serving.multi_model.library import Library
from petbox.serving.multi_model.loaded import LoadedModels
from petbox.serving.requirements import check_port_free

ENDPOINT = "local"  # any name works
LOAD_SECONDS = 60.0  # as on SageMaker, before ModelNotReadyException
BOTO3 = 'boto3.client("sagemaker-runtime", endpoint_url="{}")'
NO_LABEL = f"it has no label {docker.MULTI_MODEL}=true, without which SageMaker rejects it"


@dataclass(frozen=True, kw_only=True)
class LocalOptions(docker.ContainerOptions):
    image: Annotated[str, "the image to run", POSITIONAL]
    port: Annotated[int, "port of this machine; 0 for any free one"] = 8080
    max_loaded: Annotated[
        int | None,
        "models of --multi-model loaded at once (default: as many as the container takes)",
        Value("N", at_least(1)),
    ] = None
    load_seconds: Annotated[
        float, "how long a request waits for its model to load", Value("S", between(0, 360))
    ] = LOAD_SECONDS

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self)
        if not self.multi_model and (self.max_loaded, self.load_seconds) != (None, LOAD_SECONDS):
            raise ValueError("arguments --max-loaded and --load-seconds need --multi-model")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"argument --port: {self.port} is not from 0 to 65535")


def local(options: LocalOptions) -> None:
    """Serves until Ctrl-C or SIGTERM, or until the container exits."""
    if options.port:
        check_port_free(LOOPBACK, options.port)
    image = docker.find_image(options.image)
    with (
        options.library() as models,
        options.spec(options.image, None if models else options.port or None, models) as spec,
        docker.running(spec) as container,
    ):
        if models and not image.serves_many_models:
            say(f"local: {NO_LABEL}")
        started = time.monotonic()
        try:
            with container.log_on_stderr():
                _await_healthy(container, image, started, options.start_seconds)
                with _client_line(container.at, models, options) as line:
                    print(line, flush=True)
                    _watch(container, started)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C and SIGTERM
            _stop(container)


def _await_healthy(container: Container, image: Image, started: float, limit: float) -> None:
    attempts = wait_until_healthy(container, started, limit, _report_unhealthy)
    if not (attempts and attempts[-1].healthy):
        why = diagnose(container, image, attempts)
        name = container.spec.image
        raise ServiceError(f"{name}: did not pass the ping health check: {why}")
    seconds = attempts[-1].at + attempts[-1].seconds
    say(f"local: healthy after {seconds:.1f} s; Ctrl-C stops it")


@contextlib.contextmanager
def _client_line(at: Address, models: Library | None, options: LocalOptions) -> Iterator[str]:
    """The line for boto3, whose route is not the one that SageMaker calls in the container."""
    if models:
        loaded = LoadedModels(at, models, options.max_loaded, options.load_seconds)
        with endpoint(options.port, at, loaded) as served:
            yield BOTO3.format(served)
    elif _has_route(at):
        yield BOTO3.format(at)
    else:
        say("local: it has no route /endpoints/NAME/invocations, so boto3 cannot call it; use curl")
        yield f"{at}/invocations"


def _has_route(at: Address) -> bool:
    try:
        path = f"/endpoints/{ENDPOINT}/invocations"
        return request(at, "GET", path, seconds=TIMEOUT).status != 404
    except NoResponse:
        return False


def _watch(container: Container, started: float) -> None:
    """Pings it as SageMaker does, and reports when its health changes."""
    healthy = True
    for attempt in pings(container.at, started, PERIOD):
        if attempt.healthy != healthy:
            healthy = attempt.healthy
            if healthy:
                say("local: /ping returns 200 again")
            else:
                _report_unhealthy(attempt)
        state = container.state()
        if not state.running:
            raise ServiceError(
                f"{container.spec.image}: exited with code {state.exit_code}; see its log"
            )


def _report_unhealthy(attempt: Ping) -> None:
    say(
        f"local: not healthy at {attempt.at:.0f} s, /ping: {attempt}; "
        "SageMaker would send it no requests"
    )


def _stop(container: Container) -> None:
    """Stops it as SageMaker does; a second Ctrl-C stops it at once."""
    say(f"local: sent SIGTERM; it has {STOP_LIMIT:.0f} s to exit")
    start = time.monotonic()
    container.signal("TERM")
    code = container.wait(STOP_LIMIT)
    if code is None:
        raise ServiceError(
            f"{container.spec.image}: ignored SIGTERM for 30 s and was killed; PID 1 must handle "
            "it: a script should end in exec, or trap it"
        )
    say(f"local: exited after {time.monotonic() - start:.1f} s with code {code}")
