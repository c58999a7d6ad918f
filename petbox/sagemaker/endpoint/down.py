"""Deletes an endpoint and everything that petbox made for it.

Deletes its scaling, the endpoint, its configurations, its models and its
schedule. Lists them and asks first, unless --yes is given. Reports what it
keeps: data in S3, the log, the image.

examples:
  petbox endpoint down pets
  petbox endpoint down pets --yes
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.checks import EVERY, check_all
from petbox.sagemaker.endpoint.found import Clients, Found, look
from petbox.sagemaker.endpoint.plan import Call, removal
from petbox.sagemaker.endpoint.up import show


@dataclass(frozen=True)
class DownOptions:
    name: Annotated[str, "of the endpoint", POSITIONAL]
    yes: Annotated[bool, "do not ask"] = False
    every: Annotated[float, "seconds between two looks at the endpoint", "S"] = 5.0
    dry_run: Annotated[bool, "print the calls as JSON; look, but change nothing"] = False

    def __post_init__(self) -> None:
        check_all(self, {"name": names.check, "every": EVERY})


def down(options: DownOptions) -> None:
    name = options.name
    clients: Clients = cache(Account().client)
    found = look(clients, name)
    steps = removal(name, found)
    if options.dry_run:
        show(steps)
        return
    if not steps:
        say(f"{name}: nothing of it is there")
    else:
        going = dict.fromkeys(step.what for step in steps if isinstance(step, Call))
        if not options.yes:
            _ask(name, list(going))
        apply = Apply(clients, name, lambda: time.sleep(options.every))
        apply.all(steps)
    for line in _left(clients, name, found):
        say(line)


def _ask(name: str, going: list[str]) -> None:
    if not sys.stdin.isatty():
        raise ServiceError(f"endpoint {name}: nobody is there to be asked; give --yes")
    for what in going:
        say(f"  {what}")
    print("remove all this? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ServiceError(f"endpoint {name}: nothing was removed")


def _left(clients: Clients, name: str, found: Found) -> list[str]:
    """What is not removed: people's data, and what could not be looked at."""
    lines = [f"{why}; whether some is left is not known" for why in found.unseen]
    group = names.log_group(name)
    if _has_log(clients, group):
        lines.append(f"left: its log; aws logs delete-log-group --log-group-name {group}")
    kept = dict.fromkeys(_kept(found))
    return lines + [f"left: {what}" for what in kept]


def _has_log(clients: Clients, group: str) -> bool:
    try:
        with session.calling(f"log group {group}"):
            groups = clients("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    except session.Refused:  # who may not look may not remove it, either
        return False
    return any(one["logGroupName"] == group for one in groups)


def _kept(found: Found) -> list[str]:
    """What the endpoint read and wrote, as far as its configuration says."""
    config = found.config or {}
    container = (found.model or {}).get("PrimaryContainer", {})
    told = config.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    capture = config.get("DataCaptureConfig", {})
    places = {
        "captured requests and answers in": capture.get("DestinationS3Uri"),
        "answers in": told.get("S3OutputPath"),
        "failures in": told.get("S3FailurePath"),
        "the model": container.get("ModelDataUrl"),
        "the image": container.get("Image"),
    }
    return [f"{what} {place}" for what, place in places.items() if place]
