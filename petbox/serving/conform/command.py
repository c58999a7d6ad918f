"""Checks any container against SageMaker's contract, line by line.

The first part lists what SageMaker requires of every container, the second what
petbox guarantees beyond that. Lines that cannot be tested are reported as not
tried. An image is run several times the way SageMaker runs it (needs Docker);
with an address, only what is visible from outside is tested. Exit code 1 if
any of SageMaker's requirements fails, else 0.

examples:
  petbox conform petbox
  petbox conform my-image --model model/toy --sagemaker-only
  petbox conform my-image --request rows.csv --content-type text/csv
  petbox conform http://localhost:8080 --json
"""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Iterator

from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.serving import docker
from petbox.serving.conform import address as conform_address
from petbox.serving.conform import image as conform_image
from petbox.serving.conform import report as conform_report
from petbox.serving.conform.cause import of_answers
from petbox.serving.conform.contract import CONTRACT, Line
from petbox.serving.conform.finding import Finding, fails, holds, not_tried
from petbox.serving.conform.http import Address, address
from petbox.serving.conform.options import ConformOptions, is_address
from petbox.serving.conform.payload import Payload, payload
from petbox.serving.conform.ping import PATIENCE, ping
from petbox.serving.conform.trial import Trial
from petbox.serving.docker import Wanted

Found = Iterator[tuple[str, Finding]]


def conform(options: ConformOptions) -> None:
    """Prints what holds and what does not; fails where SageMaker's own contract does."""
    asked = payload(options.request, options.content_type)
    examine = _of_address if is_address(options.target) else _of_image
    seen = dict(examine(options, asked))
    found = {
        line.name: seen.get(line.name) or not_tried(_why_not(line, options.target))
        for line in CONTRACT
        if line.level == "sagemaker" or not options.sagemaker_only
    }
    as_json = conform_report.as_json(options.target, found)
    print(as_json if options.json else conform_report.table(found), flush=True)
    if bad := [line.name for line in conform_report.failed("sagemaker", found)]:
        raise ServiceError(f"{options.target}: breaks SageMaker's contract: {', '.join(bad)}")


def _why_not(line: Line, target: str) -> str:
    if is_address(target) and line.needs_image:
        return "only an image shows it: petbox conform IMAGE"
    return "it does not get that far; mend what fails above"


def _of_address(options: ConformOptions, asked: Payload) -> Found:
    at = address(options.target)
    _refuse_nobody(at)
    first = ping(at, time.monotonic(), PATIENCE)
    if first.healthy:
        yield "ping", holds(f"{first} after {first.seconds * 1000:.0f} ms")
    else:
        why = of_answers([first])
        yield (why.line, fails(str(why))) if why else ("ping", fails(str(first)))
    found = dict(conform_address.demands(at, asked))
    yield from found.items()
    if first.healthy and found["invocations"].outcome == "holds":
        yield from conform_address.under_load(at, asked)
    if not options.sagemaker_only:
        say("conform: trying what petbox promises")
        yield from conform_address.promises(at, asked)


def _refuse_nobody(at: Address) -> None:
    try:
        socket.create_connection((at.host, at.port), timeout=10).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceError(f"{at}: nobody is there ({reason}); start the container") from error


def _of_image(options: ConformOptions, asked: Payload) -> Found:
    image = docker.find(options.target)
    with docker.model_folder(options.model) as model:
        flags = tuple(shlex.split(options.docker))
        wanted = Wanted(options.target, model, options.env, flags=flags)
        trial = Trial(wanted, image, asked, options.start_seconds, options.engine)
        yield from conform_image.tried(trial, promises=not options.sagemaker_only)
