"""Runs an image on this machine the way SageMaker does.

Starts the container with `serve`, mounts the model and checks /ping. The
container's log goes to stderr. Once /ping returns 200, the line for boto3 is
printed to stdout; if it never does, the cause is reported. Ctrl-C stops the
container as SageMaker does and removes it. Needs Docker.

examples:
  petbox local petbox
  petbox local my-image --model model.tar.gz \\
      --env SAGEMAKER_TFS_ENABLE_BATCHING=true
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving import docker
from petbox.serving.conform.diagnosis import diagnose
from petbox.serving.conform.ping import PERIOD, TIMEOUT, Ping, pings, wait_until_healthy
from petbox.serving.docker import LOOPBACK, STOP_LIMIT, Container, Image
from petbox.serving.http_client import Address, NoResponse, request
from petbox.serving.requirements import check_port_free

ENDPOINT = "local"  # any name works


@dataclass(frozen=True, kw_only=True)
class LocalOptions(docker.ContainerOptions):
    image: Annotated[str, "the image to run", POSITIONAL]
    port: Annotated[int, "port of this machine; 0 for any free one"] = 8080

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port < 2**16:
            raise ValueError(f"argument --port: {self.port} is not from 0 to 65535")


def local(options: LocalOptions) -> None:
    """Serves until Ctrl-C or SIGTERM, or until the container exits."""
    if options.port:
        check_port_free(LOOPBACK, options.port)
    image = docker.find_image(options.image)
    with (
        options.spec(options.image, options.port or None) as spec,
        docker.running(spec) as container,
    ):
        started = time.monotonic()
        try:
            with container.log_on_stderr():
                _start(container, image, started, options.start_seconds)
                _watch(container, started)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C and SIGTERM
            _stop(container)


def _start(container: Container, image: Image, started: float, limit: float) -> None:
    attempts = wait_until_healthy(container, started, limit, _report_unhealthy)
    if not (attempts and attempts[-1].healthy):
        why = diagnose(container, image, attempts)
        name = container.spec.image
        raise ServiceError(f"{name}: did not pass the ping health check: {why}")
    seconds = attempts[-1].at + attempts[-1].seconds
    say(f"local: healthy after {seconds:.1f} s; Ctrl-C stops it")
    print(_client_line(container.at), flush=True)


def _client_line(at: Address) -> str:
    """The line for boto3, whose route is not the one that SageMaker calls in the container."""
    try:
        path = f"/endpoints/{ENDPOINT}/invocations"
        has_route = request(at, "GET", path, seconds=TIMEOUT).status != 404
    except NoResponse:
        has_route = False
    if has_route:
        return f'boto3.client("sagemaker-runtime", endpoint_url="{at}")'
    say("local: it has no route /endpoints/NAME/invocations, so boto3 cannot call it; use curl")
    return f"{at}/invocations"


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
        raise ServiceError(f"{container.spec.image}: ignored SIGTERM for 30 s and was killed")
    say(f"local: exited after {time.monotonic() - start:.1f} s with code {code}")
