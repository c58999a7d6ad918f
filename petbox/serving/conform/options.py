"""`petbox conform`'s options: what is examined, and with which request."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.serving.conform.http import address
from petbox.serving.conform.ping import START_LIMIT


@dataclass(frozen=True)
class ConformOptions:
    """What is examined, and what it is asked."""

    target: Annotated[str, "an image, or the address of a running container", POSITIONAL]
    request: Annotated[
        Path | None, "body of a request that the model answers (default: a drawn picture)", "FILE"
    ] = None
    content_type: Annotated[str, "content type of --request", "TYPE"] = "application/json"
    model: Annotated[
        Path | None, "model to mount at /opt/ml/model: a folder or a model.tar.gz", "PATH"
    ] = None
    env: Annotated[tuple[str, ...], "variables for the container", "K=V"] = ()
    docker: Annotated[str, "more options of docker run, as in --docker='--gpus all'", "OPTIONS"] = (
        ""
    )
    start_seconds: Annotated[float, "how long the container may take to start", "S"] = START_LIMIT
    engine: Annotated[
        str | None, "process that holds the model (default: a known one, or the largest)", "NAME"
    ] = None
    sagemaker_only: Annotated[bool, "leave out what only petbox promises"] = False
    json: Annotated[bool, "print JSON"] = False

    def __post_init__(self) -> None:
        if is_address(self.target):
            address(self.target)
            if self.model or self.env or self.docker or self.engine:
                options = "--model, --env, --docker and --engine"
                raise ValueError(f"{options} are for an image, not an address")
        if self.start_seconds <= 0:
            raise ValueError(f"argument --start-seconds: {self.start_seconds:g} is not above 0")
        refuse_bad_words(self.env, self.docker)


def refuse_bad_words(env: tuple[str, ...], docker: str) -> None:
    """ValueError where these are no pairs, or no options as a shell would take them."""
    try:
        shlex.split(docker)
    except ValueError as error:
        raise ValueError(f"argument --docker: {docker}: {error}".lower()) from error
    for pair in env:
        if "=" not in pair.lstrip("="):
            raise ValueError(f"argument --env: {pair}: write it as NAME=VALUE")


def is_address(target: str) -> bool:
    return "://" in target
