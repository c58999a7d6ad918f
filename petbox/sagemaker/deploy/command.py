"""Deploys the endpoint that a file describes: image, model and endpoint.

Prints what is added (+), changed (~) and removed (-), as --dry-run does, and
makes it so. A key that is not in the file stays as it is at AWS; `false`
removes it, which needs --yes. `ttl` counts from each deploy.

examples:
  petbox deploy --init
  petbox deploy --init --name pets --model model/toy --image build --role ARN
  petbox deploy --dry-run
  petbox deploy other.toml --yes
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from petbox.aws.prices import Prices
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Json, check, flag
from petbox.cli.program import say
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.deploy import file, init
from petbox.sagemaker.deploy.image_build import Build
from petbox.sagemaker.endpoint import package
from petbox.sagemaker.endpoint.change import Change, carry_out, prepare, warn_without_digest
from petbox.sagemaker.endpoint.cost import Cost, PricePerHour, described
from petbox.sagemaker.endpoint.up import report
from petbox.sagemaker.setup import made

# Until the plan is confirmed no image is built; this one has its place.
NOT_BUILT = "000000000000.dkr.ecr.{}.amazonaws.com/petbox:not-built"
NOT_BUILT_YET = re.compile(NOT_BUILT.format("[a-z0-9-]+"))


@dataclass(frozen=True)
class DeployOptions:
    file: Annotated[Path, "the endpoint's description", POSITIONAL] = Path("pets.toml")
    dry_run: Annotated[bool, "print what would be changed, and change nothing"] = False
    yes: Annotated[bool, "remove what the file removes without asking"] = False
    price_per_hour: PricePerHour = ()
    every: shared.Every = 10.0
    json: Json = False
    init: Annotated[bool, "write FILE, from the flags below and from questions"] = False
    name: Annotated[str | None, "with --init: name of the endpoint", "NAME"] = None
    model: Annotated[str | None, "with --init: folder of the model", "DIR"] = None
    image: Annotated[str | None, "with --init: image in ECR, or build", "URI"] = None
    bucket: Annotated[str | None, "with --init: s3://… for the model's archive", "S3"] = None
    role: Annotated[str | None, "with --init: role of the container", "ARN"] = None
    ttl: Annotated[str | None, "with --init: time until it is deleted", "TIME"] = None

    def __post_init__(self) -> None:
        check(self)
        for name in init.QUESTIONS:
            if getattr(self, name) is not None and not self.init:
                raise ValueError(f"{flag(self, name)} requires --init")
        for one in fields(self):
            if self.init and one.name in ("dry_run", "yes", "json") and getattr(self, one.name):
                raise ValueError(f"{flag(self, one.name)} and --init exclude each other")


def deploy(options: DeployOptions) -> None:
    """Prints the endpoint's name, once it is in service."""
    if options.init:
        init.write(options.file, {name: getattr(options, name) for name in init.QUESTIONS})
        return
    stated = file.read(options.file)
    with stated.named():
        _deploy(options, stated)


def _deploy(options: DeployOptions, stated: file.DeployFile) -> None:
    wanted, model, build, address = stated.options, stated.model, stated.build, ""
    if model is not None:
        package.check_served(model)
    account = Account()
    account.client("sagemaker")  # fails if there is no region
    if build:
        wanted = replace(wanted, image=NOT_BUILT.format(account.region), model_data=False)
    elif model is not None:
        bucket = stated.bucket or made.models(account, wanted.role)
        address = package.address_of(model, bucket)
        wanted = replace(wanted, model_data=address)
    change = prepare(account, wanted, built=build.image if build else None, uploaded=not address)
    found = change.cost(Prices(account, options.price_per_hour or wanted.price_per_hour))
    if options.dry_run and options.json:
        facts = _facts(change, found, build)
        print(json.dumps(facts, indent=2, default=str))
        return
    text = change.text
    text += f"\nprice: {described(found, change.instances)}"
    if build:
        text = NOT_BUILT_YET.sub(f"(to be built with {model})", text)
        text += f"\nbuild: {shlex.join(build.command(change.spec))}"
    if options.dry_run:
        print(text)
        return
    say(text)
    change.confirm_removals(str(options.file), yes=options.yes)
    if build:
        pushed = build.push(change.spec)
        kind = change.spec.instance_type  # as it was confirmed
        change = prepare(account, replace(change.wanted, image=pushed, instance_type=kind))
    if address and model is not None:
        published = package.publish(model, address, account.client("s3"))
        change = change.with_archive(published["sha256"])
    warn_without_digest(str(change.spec.image))
    report(change, carry_out(account, change, options.every), as_json=options.json)


def _facts(change: Change, found: Cost | None, build: Build | None) -> dict[str, Any]:
    return {
        "build": build and build.command(change.spec),
        "changes": [one.shown() for one in change.differences],
        "price": found and found.facts(),
        "calls": [step.shown() for step in change.steps],
    }
