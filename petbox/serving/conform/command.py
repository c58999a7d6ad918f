"""Checks any container against SageMaker's contract, line by line.

The first part lists what SageMaker requires of every container, the second what
petbox guarantees beyond that. Lines that cannot be tested are reported as not
tried. An image is run several times the way SageMaker runs it (needs Docker);
with an address, only what is visible from outside is tested. Exit code 1 if
any of SageMaker's requirements fails, else 0.

With --multi-model the routes of multi-model endpoints are tested, and nothing
else. A server at an address must then run on this machine, since it reads the
models from a temporary folder.

examples:
  petbox conform petbox
  petbox conform my-image --model model/toy --sagemaker-only
  petbox conform my-image --request rows.csv --content-type text/csv
  petbox conform http://localhost:8080 --json
  petbox conform my-image --multi-model models/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.errors import ModelError, ServiceError
from petbox.serving import docker
from petbox.serving.conform import report
from petbox.serving.conform.address import TESTABLE, check_address, check_models
from petbox.serving.conform.contract import CONTRACT, Line, Results, not_tried
from petbox.serving.conform.image import Target, check_image, check_multi_model_image
from petbox.serving.conform.payload import Payload, payload
from petbox.serving.http_client import address
from petbox.serving.multi_model.library import MOUNT, Library


@dataclass(frozen=True, kw_only=True)
class ConformOptions(docker.ContainerOptions):
    target: Annotated[str, "an image, or the address of a running container", POSITIONAL]
    request: Annotated[
        Path | None, "body of a request that the model accepts (default: a drawn image)", "FILE"
    ] = None
    content_type: Annotated[str, "content type of --request", "TYPE"] = "application/json"
    engine: Annotated[
        str | None, "process that holds the model (default: a known one, or the largest)", "NAME"
    ] = None
    sagemaker_only: Annotated[bool, "check SageMaker's requirements only"] = False
    json: Annotated[bool, "print JSON"] = False

    @property
    def is_address(self) -> bool:
        return "://" in self.target

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_address:
            address(self.target)
            if self.model or self.env or self.docker or self.engine:
                options = "--model, --env, --docker and --engine"
                raise ValueError(f"{options} are for an image, not an address")


def conform(options: ConformOptions) -> None:
    """Prints the result of every line; fails if one of SageMaker's requirements does."""
    with options.library(None if options.is_address else MOUNT) as models:
        sent = payload(options.request, options.content_type)
        results = dict(_check(options, sent, models))
    shown = {
        line.name: results.get(line.name) or not_tried(_why_not(line, options))
        for line in CONTRACT
        if (line.name in results or line.multi_model == bool(models))
        and (line.level == "sagemaker" or not options.sagemaker_only)
    }
    text = report.as_json(options.target, shown) if options.json else report.table(shown)
    print(text, flush=True)
    if bad := [line.name for line in report.failed("sagemaker", shown)]:
        raise ServiceError(f"{options.target}: breaks SageMaker's contract: {', '.join(bad)}")


def _check(options: ConformOptions, sent: Payload, library: Library | None) -> Results:
    if library and not library.names():
        raise ModelError(f"{library.folder}: has no model; put an archive or a folder there")
    only = options.sagemaker_only
    if options.is_address:
        at = address(options.target)
        if library:
            yield from check_models(at, library, sent, sagemaker_only=only)
        else:
            yield from check_address(at, sent, sagemaker_only=only)
        return
    image = docker.find_image(options.target)
    with options.spec(options.target, models=library) as spec:
        target = Target(spec, image, sent, options.start_seconds, options.engine)
        if library:
            yield from check_multi_model_image(target, library, sagemaker_only=only)
        else:
            yield from check_image(target, sagemaker_only=only)


def _why_not(line: Line, options: ConformOptions) -> str:
    if options.is_address and line.name not in TESTABLE:
        return "only testable on an image: petbox conform IMAGE"
    return "an earlier failure prevented this check; fix the failures above"
