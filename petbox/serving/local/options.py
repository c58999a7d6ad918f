"""`petbox local`: an image on this machine as it would run behind a SageMaker endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.serving.conform.options import refuse_bad_words
from petbox.serving.conform.ping import START_LIMIT


@dataclass(frozen=True)
class LocalOptions:
    """What is run, and where it is to be found."""

    image: Annotated[str, "the image to run", POSITIONAL]
    model: Annotated[
        Path | None, "model to mount at /opt/ml/model: a folder or a model.tar.gz", "PATH"
    ] = None
    env: Annotated[tuple[str, ...], "variables for the container", "K=V"] = ()
    docker: Annotated[str, "more options of docker run, as in --docker='--gpus all'", "OPTIONS"] = (
        ""
    )
    port: Annotated[int, "port of this machine; 0 is any free one"] = 8080
    start_seconds: Annotated[float, "how long the container may take to start", "S"] = START_LIMIT

    def __post_init__(self) -> None:
        refuse_bad_words(self.env, self.docker)
        if not 0 <= self.port < 2**16:
            raise ValueError(f"argument --port: {self.port} is not from 0 to 65535")
        if self.start_seconds <= 0:
            raise ValueError(f"argument --start-seconds: {self.start_seconds:g} is not above 0")
