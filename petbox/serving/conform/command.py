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
  petbox conform my-image --junit conform.xml --badge badge.json
  petbox conform my-image --multi-model models/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.errors import ModelError, PetboxError, ServiceError
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
    junit: Annotated[Path | None, "write the results as JUnit XML, for CI", "FILE"] = None
    badge: Annotated[
        Path | None, "write SageMaker's requirements as JSON for a badge of shields.io", "FILE"
    ] = None

    @property
    def is_address(self) -> bool:
        return "://" in self.target

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.junit is not None and self.junit == self.badge:
            raise ValueError(f"--junit and --badge are both {self.badge}; name two files")
        if self.is_address:
            address(self.target)
            if self.model or self.env or self.docker or self.engine:
                options = "--model, --env, --docker and --engine"
                raise ValueError(f"{options} are for an image, not an address")


def conform(options: ConformOptions) -> None:
    """Prints the result of every line; fails if one of SageMaker's requirements does."""
    for file in (options.junit, options.badge):
        if file:
            _prepare(file)
    with options.library(None if options.is_address else MOUNT) as models:
        sent = payload(options.request, options.content_type)
        results = dict(_check(options, sent, models))
    shown = {
        line.name: results.get(line.name) or not_tried(_why_not(line, options))
        for line in CONTRACT
        if (line.name in results or line.multi_model == bool(models))
        and (line.level == "sagemaker" or not options.sagemaker_only)
    }
    if options.junit:
        options.junit.write_bytes(report.as_junit(options.target, shown))
    if options.badge:
        options.badge.write_text(report.as_badge(shown))
    text = report.as_json(options.target, shown) if options.json else report.table(shown)
    print(text, flush=True)
    if bad := [line.name for line in report.failed("sagemaker", shown)]:
        raise ServiceError(f"{options.target}: breaks SageMaker's contract: {', '.join(bad)}")


def _prepare(file: Path) -> None:
    """Fails before the checks, which take minutes; and no older result outlives a failed run."""
    try:
        file.write_bytes(b"")
        if file.is_file() and not file.is_symlink():  # as /dev/stdout is
            file.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PetboxError(f"{file}: cannot be written ({reason}); name another file") from error


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
