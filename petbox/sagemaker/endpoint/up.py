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
from dataclasses import replace
from datetime import datetime, timezone

from petbox.aws import image
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.sagemaker.endpoint import expiry, fit
from petbox.sagemaker.endpoint.actual import describe
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.desired import desired
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import Step, plan


def up(options: UpOptions) -> None:
    """Prints the endpoint's name, once it is in service."""
    account = Account()
    account.check_image_region(options.image)
    clients, name = account.client, options.name
    actual = describe(clients, name)
    options = _fitting(options, image.read(clients("ecr"), options.image))
    target = desired(options, datetime.now(timezone.utc))
    for why in actual.unseen:
        say(f"{why}; assuming that there is none")
    steps = plan(target, actual)
    if options.dry_run:
        show(steps)
        return
    _warn_without_digest(options.image)
    apply = Apply(clients, name, lambda: time.sleep(options.every))
    with _reporting_progress(name, apply):
        apply.all(steps)
    expires = None if target.schedule is None else expiry.end_of(target.schedule)
    if expires:
        say(f"{name} expires at {expires} and is deleted then")
    say(
        f"{name} is {'in service' if apply.done else 'unchanged'}; "
        f"use it: petbox detect --endpoint {name} IMAGE, "
        f"delete it: petbox endpoint down {name}"
    )
    facts = {"endpoint": name, "changed": bool(apply.done), "expires": expires}
    print(json.dumps(facts) if options.json else name)


def _fitting(options: UpOptions, found: image.Image | None) -> UpOptions:
    instance_type = options.instance_type
    if options.serverless is None and instance_type is None:
        instance_type = fit.default_instance(found)
    fit.check(options.image, found, instance_type)
    return replace(options, instance_type=instance_type)


def show(steps: list[Step]) -> None:
    print(json.dumps([step.shown() for step in steps], indent=2))


def _warn_without_digest(image: str) -> None:
    if "@sha256:" not in image:
        say(
            f"{image}: no digest, so a newer image under the same tag is not noticed; "
            "scripts/push_ecr.sh prints the address with its digest"
        )


@contextmanager
def _reporting_progress(name: str, apply: Apply) -> Iterator[None]:
    """On an interruption or failure, reports what was created and how to continue."""
    try:
        yield
    except PetboxError:
        if made := apply.made():
            say(f"created so far: {', '.join(made)}")
        raise
    except (KeyboardInterrupt, SystemExit) as interruption:
        created = ", ".join(apply.made()) or "nothing"
        say(
            f"interrupted here; SageMaker continues; created so far: {created}; an endpoint costs "
            f"money while it exists; continue: the same command, "
            f"see: petbox endpoint status {name}, delete: petbox endpoint down {name}"
        )
        sys.exit(130 if isinstance(interruption, KeyboardInterrupt) else interruption.code)
