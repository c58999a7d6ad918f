"""Deploys a model to an endpoint, or updates it, and waits until it is in service.

Run it again with the flags that change; what no flag names stays as it is, and
--no-FLAG removes it, after a question or with --yes. SageMaker starts the new
instances before it stops the old ones; then petbox deletes what was replaced or
removed. With the same options it changes nothing. After Ctrl-C or a failure,
the same command continues. An endpoint costs money until `petbox endpoint
down`, or until the expiry set by --ttl: an EventBridge schedule, whose role
(--ttl-role) must trust scheduler.amazonaws.com and allow
sagemaker:DeleteEndpoint.

examples:
  petbox endpoint up pets --ttl 2h \\
      --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/petbox@sha256:… \\
      --role arn:aws:iam::123456789012:role/SageMaker
  petbox endpoint up pets --instance-type ml.g5.xlarge --canary 10% \\
      --alarms 2000
  petbox endpoint up pets --no-ttl --yes
  petbox endpoint up pets … --serverless 4096,5
  petbox endpoint up pets … --autoscale 1..4 --target 100
  petbox endpoint up pets … --async s3://bucket/answers \\
      --autoscale 0..4 --target 2
"""

from __future__ import annotations

import json

from petbox.aws.prices import Prices
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.sagemaker.endpoint import cost, expiry
from petbox.sagemaker.endpoint.change import Change, carry_out, prepare, warn_without_digest
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.steps import Step


def up(options: UpOptions) -> None:
    """Prints the endpoint's name, once it is in service."""
    account = Account()
    change = prepare(account, options)
    if options.dry_run:
        say(change.text)
        found = change.cost(Prices(account, options.price_per_hour))
        say(f"price: {cost.described(found, change.instances)}")
        show(change.steps)
        return
    if change.removed and not options.yes:
        say(change.text)
    change.confirm_removals(f"endpoint {change.name}", yes=options.yes)
    warn_without_digest(str(change.spec.image))
    report(change, carry_out(account, change, options.every), as_json=options.json)


def report(change: Change, changed: bool, *, as_json: bool) -> None:
    name, schedule = change.name, change.schedule
    expires = None if schedule is None else expiry.end_of(schedule)
    if expires:
        say(f"{name} expires at {expires} and is deleted then")
    say(
        f"{name} is {'in service' if changed else 'unchanged'}; "
        f"use it: petbox detect --endpoint {name} IMAGE, "
        f"delete it: petbox endpoint down {name}"
    )
    facts = {"endpoint": name, "changed": changed, "expires": expires}
    print(json.dumps(facts) if as_json else name)


def show(steps: list[Step]) -> None:
    print(json.dumps([step.shown() for step in steps], indent=2, default=str))
