"""Deploys a model to an endpoint, or updates it, and waits until it is in service.

Run it again to change options: SageMaker starts the new instances before it
stops the old ones, and petbox deletes what was replaced. With the same options
it changes nothing. After Ctrl-C or a failure, the same command continues. An
endpoint costs money until `petbox endpoint down`, or until the expiry set by
--ttl: an EventBridge schedule, whose role (--ttl-role, or else --role) must
trust scheduler.amazonaws.com and allow sagemaker:DeleteEndpoint.

examples:
  petbox endpoint up pets --ttl 2h \\
      --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/petbox@sha256:… \\
      --role arn:aws:iam::123456789012:role/SageMaker
  petbox endpoint up pets … --serverless 4096,5
  petbox endpoint up pets … --autoscale 1..4 --target 100
  petbox endpoint up pets … --async s3://bucket/answers \\
      --autoscale 0..4 --target 2
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
