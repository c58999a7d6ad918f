"""Checks whether an endpoint can be deployed, and says how to fix what is wrong.

Checks credentials, region, the roles and whom they trust, where buckets and
image are, whether the image runs on the instance type, and the quota for it.
It takes them from pets.toml, if there is one, and from flags. Changes nothing.
Exit code 1 if something is wrong; `?` is what you have no permission to see.

examples:
  petbox doctor
  petbox doctor other.toml --region eu-west-1
  petbox doctor --role ARN --image URI --instance-type ml.g5.xlarge --json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from petbox.aws import image
from petbox.aws.place import Place
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Checked, Json
from petbox.errors import PetboxError, ServiceError
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.deploy import file
from petbox.sagemaker.deploy.image_build import Build
from petbox.sagemaker.endpoint import expiry, fit
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.setup import checks, made
from petbox.sagemaker.setup.checks import OK, WRONG, Finding

FILE = Path("pets.toml")


@dataclass(frozen=True)
class DoctorOptions(Checked):
    file: Annotated[Path, "the endpoint's description", POSITIONAL] = FILE
    role: Annotated[str | None, "role of the container", shared.ROLE] = None
    ttl_role: Annotated[str | None, "role of the schedule that deletes", shared.ROLE] = None
    image: Annotated[str | None, "image in ECR", shared.IMAGE] = None
    bucket: Annotated[str | None, "s3://… of models or results", shared.S3] = None
    instance_type: Annotated[str | None, "instance type", shared.INSTANCE_TYPE] = None
    json: Json = False


Check = tuple[str, Callable[[], str]]  # a name, and what returns what is well, or raises


def doctor(options: DoctorOptions) -> None:
    """Prints a line for each check."""
    found = []
    for finding in _findings(_wanted(options)):
        found.append(finding)
        if not options.json:
            print(finding, flush=True)
    if options.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    if wrong := sum(finding.state == WRONG for finding in found):
        raise ServiceError(f"{wrong} of {len(found)} checks found something wrong; see above")


@dataclass(frozen=True)
class _Wanted:
    spec: EndpointSpec
    bucket: str | None
    scheduler: str | None  # the role that deletes the endpoint
    build: Build | None = None
    creates: bool = False  # a file says what the container is, so there must be a role
    uploads: bool = False  # a file says which model, so there must be a bucket


def _wanted(options: DoctorOptions) -> _Wanted:
    """What the file and the flags say."""
    spec, bucket, build = EndpointSpec("pets"), options.bucket, None
    creates = uploads = False
    if options.file != FILE or FILE.exists():
        described = file.read(options.file)
        spec, bucket = described.options, bucket or described.bucket
        build = None if options.image else described.build
        creates = bool(build or spec.image or options.image)
        uploads = described.model is not None and not build
    given = {name: getattr(options, name) for name in ("role", "image", "instance_type")}
    spec = replace(spec, **{name: text for name, text in given.items() if text})
    return _Wanted(spec, bucket, options.ttl_role, build, creates, uploads)


def _with_defaults(account: Account, wanted: _Wanted) -> _Wanted:
    """With what `petbox deploy` takes from `petbox setup`."""
    spec, bucket = wanted.spec, wanted.bucket
    if spec.role is None and wanted.creates:
        spec = replace(spec, role=made.role(account))
    if bucket is None and wanted.uploads:
        bucket = made.models(account, spec.role)
    beside = expiry.role_beside(spec.role) if spec.role else None
    expires = (spec.ttl_role or beside) if spec.ttl else None
    return replace(wanted, spec=spec, bucket=bucket, scheduler=wanted.scheduler or expires)


def _findings(wanted: _Wanted) -> Iterator[Finding]:
    try:
        account = Account()
        place = Place.of(account)
    except PetboxError as error:  # nothing else can be checked
        yield Finding.of("account", error)
        return
    yield Finding("account", OK, f"{place.account}, partition {place.partition}")
    yield Finding("region", OK, place.region)
    try:
        wanted = _with_defaults(account, wanted)
    except PetboxError as error:
        yield Finding.of("setup", error)
    for name, check in _checks(account, place, wanted):
        try:
            yield Finding(name, OK, check())
        except PetboxError as error:
            yield Finding.of(name, error)


def _checks(account: Account, place: Place, wanted: _Wanted) -> Iterator[Check]:
    spec, clients = wanted.spec, account.client
    for service, arn in (("sagemaker", spec.role), ("scheduler", wanted.scheduler)):
        if arn:
            yield "role", partial(checks.role, clients("iam"), place, arn, service)
    for name in checks.buckets_of(spec, wanted.bucket):
        yield "bucket", partial(checks.bucket, clients("s3"), name)
    found = None

    def runs_on() -> str | None:
        return None if spec.serverless else spec.instance_type or fit.default_instance(found)

    def image_runs() -> str:
        nonlocal found
        if wanted.build:
            found = wanted.build.image(spec)
            return checks.image_runs("image", found, runs_on(), built=True)
        account.check_image_region(str(spec.image))
        found = image.read(clients("ecr"), str(spec.image))
        return checks.image_runs(str(spec.image), found, runs_on())

    if spec.image or wanted.build:
        yield "image", image_runs
    if not spec.serverless:
        client = clients("service-quotas")
        yield "quota", partial(checks.quota, client, str(runs_on()), checks.instances(spec))
