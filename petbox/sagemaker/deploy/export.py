"""Prints what a file says, or what an endpoint has, as a template for other tools.

Terraform's is in its JSON syntax. The expiry is left out: an endpoint that
deletes itself does not suit a stack. The resources have no tag of petbox's, so
`petbox endpoint` leaves them alone.

examples:
  petbox endpoint export > endpoint.json
  petbox endpoint export other.toml --format terraform > endpoint.tf.json
  petbox endpoint export --endpoint pets
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from petbox.aws import image
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Checked, Value
from petbox.cli.program import say
from petbox.errors import DataError
from petbox.sagemaker.deploy import file, templates
from petbox.sagemaker.endpoint import fit, names, package
from petbox.sagemaker.endpoint.actual import describe
from petbox.sagemaker.endpoint.change import deployment_of
from petbox.sagemaker.endpoint.desired import Desired, desired
from petbox.sagemaker.endpoint.kept import kept
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import reject_foreign
from petbox.sagemaker.endpoint.spec import EndpointSpec, merged, with_instance_type
from petbox.sagemaker.endpoint.status import absent
from petbox.sagemaker.setup import made


@dataclass(frozen=True)
class ExportOptions(Checked):
    file: Annotated[Path, "the endpoint's description", POSITIONAL] = Path("pets.toml")
    format: Annotated[Literal["cloudformation", "terraform"], "of the template"] = "cloudformation"
    endpoint: Annotated[
        str | None, "what this endpoint has, instead of a file", Value("NAME", names.check)
    ] = None


def export(options: ExportOptions) -> None:
    state = _of_endpoint(options.endpoint) if options.endpoint else _of_file(options.file)
    template = getattr(templates, options.format)(state)
    print(json.dumps(template, indent=2))


def _of_file(path: Path) -> Desired:
    described = file.read(path)
    wanted = described.options
    if described.build:
        raise DataError(
            f"{path}: image: push it first (scripts/push_ecr.sh), and write its address"
        )
    if wanted.role is None:
        wanted = replace(wanted, role=made.role(Account()))
    if (model := described.model) is not None:
        bucket = described.bucket or made.models(Account(), wanted.role)
        wanted = replace(wanted, model_data=package.address_of(model, bucket))
        say(f"upload the model as well: petbox endpoint package {model} {bucket}")
    if wanted.ttl:
        say("the expiry is not part of the template")
    whole = merged(replace(wanted, ttl=None, ttl_role=None, ttl_dead_letters=None), None)
    if not whole.serverless and whole.instance_type is None:
        found = image.read(Account().client("ecr"), str(whole.image))
        whole = with_instance_type(whole, fit.default_instance(found))
    return _desired(whole, wanted)


def _of_endpoint(name: str) -> Desired:
    actual = describe(Account().client, name)
    reject_foreign(name, actual)
    spec = kept(name, actual)
    if spec is None:
        raise absent(name, actual)
    return _desired(spec, UpOptions(name))


def _desired(spec: EndpointSpec, how: UpOptions) -> Desired:
    deployment = deployment_of(spec, how)
    return desired(spec, datetime.now(timezone.utc), deployment=deployment)
