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

import shlex
import time

from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving import docker
from petbox.serving.command import refuse_port_in_use
from petbox.serving.conform.cause import cause
from petbox.serving.conform.http import Address, NoAnswer, ask
from petbox.serving.conform.ping import LIMIT, PERIOD, Ping, pings
from petbox.serving.conform.start import watch
from petbox.serving.docker import LOOPBACK, Container, Image, Wanted
from petbox.serving.local.options import LocalOptions

STOPS_WITHIN = 30.0  # seconds that SageMaker gives between TERM and KILL
ENDPOINT = "local"  # any name will do


def local(options: LocalOptions) -> None:
    """Serves until Ctrl-C or TERM, or until the container ends."""
    if options.port:
        refuse_port_in_use(LOOPBACK, options.port)
    image = docker.find(options.image)
    with docker.model_folder(options.model) as model:
        flags = tuple(shlex.split(options.docker))
        port = options.port or None
        wanted = Wanted(options.image, model, options.env, flags=flags, host_port=port)
        with docker.running(wanted) as container:
            started = time.monotonic()
            try:
                with container.log_on_stderr():
                    _until_healthy(container, image, started, options.start_seconds)
                    _serve(container, started)
            except (KeyboardInterrupt, SystemExit):  # Ctrl-C and TERM
                _stop(container)


def _until_healthy(container: Container, image: Image, started: float, limit: float) -> None:
    attempts = watch(container, started, limit, _tell)
    if not (attempts and attempts[-1].healthy):
        why = cause(container, image, attempts)
        name = container.wanted.image
        raise ServiceError(f"{name}: did not pass the ping health check: {why}")
    seconds = attempts[-1].at + attempts[-1].seconds
    say(f"local: healthy after {seconds:.1f} s; Ctrl-C ends it")
    print(_how_to_ask(container.at), flush=True)


def _how_to_ask(at: Address) -> str:
    """The line for boto3, which asks another route than SageMaker asks the container."""
    try:
        routed = ask(at, "GET", f"/endpoints/{ENDPOINT}/invocations", seconds=LIMIT).status != 404
    except NoAnswer:
        routed = False
    if routed:
        return f'boto3.client("sagemaker-runtime", endpoint_url="{at}")'
    say("local: it has no route /endpoints/NAME/invocations, so boto3 cannot ask it; curl can")
    return f"{at}/invocations"


def _serve(container: Container, started: float) -> None:
    """Asks on as SageMaker does, and says what it would make of the answers."""
    healthy = True
    for attempt in pings(container.at, started, PERIOD):
        if attempt.healthy != healthy:
            healthy = attempt.healthy
            if healthy:
                say("local: /ping is 200 again")
            else:
                _tell(attempt)
        state = container.state()
        if not state.running:
            raise ServiceError(
                f"{container.wanted.image}: ended by itself with exit code {state.exit_code}; "
                "its last lines say why"
            )


def _tell(attempt: Ping) -> None:
    say(f"local: not healthy at {attempt.at:.0f} s, /ping: {attempt}; SageMaker sends it nothing")


def _stop(container: Container) -> None:
    """As SageMaker stops it; a second Ctrl-C does not wait."""
    say("local: sent TERM; it has 30 s")
    asked = time.monotonic()
    container.signal("TERM")
    code = container.ended(STOPS_WITHIN)
    if code is None:
        raise ServiceError(f"{container.wanted.image}: ignores TERM, and was killed after 30 s")
    say(f"local: ended after {time.monotonic() - asked:.1f} s with exit code {code}")
