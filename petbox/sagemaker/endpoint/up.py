"""`petbox endpoint up`: makes an endpoint be as it is wanted, whatever there is of it already.

Looks, plans, then acts: `--dry-run` is the plan, printed. Typed twice it does nothing the second
time, and typed again after an interruption it goes on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache

from petbox.aws import names as aws_names
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.errors import PetboxError, ServiceError
from petbox.sagemaker.endpoint import ttl as endpoint_ttl
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.found import Clients, look
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import Step, plan
from petbox.sagemaker.endpoint.wanted import wanted


def up(options: UpOptions) -> None:
    """Prints the endpoint's name, once it is in service."""
    account = Account()
    refuse_other_region(options.image, account.region)
    clients: Clients = cache(account.client)
    name, wish = options.name, wanted(options, datetime.now(timezone.utc))
    found = look(clients, name)
    for why in found.unseen:
        say(f"{why}; taken as not there")
    steps = plan(wish, found)
    if options.dry_run:
        show(steps)
        return
    _tell_moving_tag(options.image)
    apply = Apply(clients, name, lambda: time.sleep(options.every))
    with _going_on(name, apply):
        apply.all(steps)
    if wish.schedule is not None:
        say(f"{name} is deleted at {endpoint_ttl.end_of(wish.schedule)}")
    say(
        f"{name} is {'in service' if apply.done else 'as wanted already'}; "
        f"ask it: petbox detect --endpoint {name} PICTURE, "
        f"remove it: petbox endpoint down {name}"
    )
    print(name)


def show(steps: list[Step]) -> None:
    print(json.dumps([step.shown() for step in steps], indent=2))


def refuse_other_region(image: str, region: str | None) -> None:
    lies_in = aws_names.region_of_image(image)
    if region is not None and region != lies_in:
        raise ServiceError(
            f"{image}: lies in {lies_in}, and would run in {region}; "
            f"set AWS_REGION={lies_in}, or push the image there as well"
        )


def _tell_moving_tag(image: str) -> None:
    if "@sha256:" not in image:
        say(
            f"{image}: has no digest, so that a newer image under the same tag goes unseen; "
            "scripts/push_ecr.sh prints the address with it"
        )


@contextmanager
def _going_on(name: str, apply: Apply) -> Iterator[None]:
    """Says, when the work breaks off, what there is and how it goes on."""
    try:
        yield
    except PetboxError:
        if made := apply.made():
            say(f"made so far: {', '.join(made)}")
        raise
    except (KeyboardInterrupt, SystemExit) as interruption:
        there = f"made so far: {', '.join(apply.made()) or 'nothing'}"
        say(
            f"interrupted here, not there; {there}; an endpoint costs money while it exists; "
            f"go on: the same command, look: petbox endpoint status {name}, "
            f"remove: petbox endpoint down {name}"
        )
        sys.exit(130 if isinstance(interruption, KeyboardInterrupt) else interruption.code)
