"""Creates what petbox needs in an account: roles, a bucket, an ECR repository.

Four roles, for endpoints and Batch Transform, training jobs, the schedule of
--ttl, and Lambda functions. Each may do only what petbox needs, in this bucket,
this repository and this region, and only the service may assume it, for this
account. Prints what is added (+) and changed (~). What exists is changed only
with --yes or after a question; a second run changes nothing. What an option
adds stays when a later run has no such option. --dry-run prints the calls with
all policies, for an administrator.

examples:
  petbox setup --dry-run
  petbox setup --name pets --boundary arn:aws:iam::123456789012:policy/limits
  petbox setup --kms-key arn:aws:kms:us-east-1:123456789012:key/… --vpc
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from petbox.aws import names as aws_names
from petbox.aws.names import matches
from petbox.aws.place import Place
from petbox.aws.session import Account
from petbox.cli.options import Checked, Json, Value
from petbox.cli.program import confirm, say
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint.apply import Apply, check_all
from petbox.sagemaker.endpoint.difference import CHANGED
from petbox.sagemaker.setup.plan import plan
from petbox.sagemaker.setup.policies import NAME, Setup

BUCKET = Value("NAME", matches(aws_names.BUCKET, "the name of a bucket", "pets-models"))
PREFIX = Value("NAME", matches("[a-z0-9](-?[a-z0-9]){1,29}", "a short name", "pets"))
POLICY = Value(
    "ARN",
    matches(
        r"arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[\w+=,.@/-]+",
        "the ARN of a policy",
        "arn:aws:iam::123456789012:policy/limits",
    ),
)


@dataclass(frozen=True)
class SetupOptions(Checked):
    name: Annotated[str, "of the repository; all other names begin with it", PREFIX] = NAME
    bucket: Annotated[str | None, "name of the bucket (default: NAME-ACCOUNT-REGION)", BUCKET] = (
        None
    )
    boundary: Annotated[str | None, "permissions boundary of the roles", POLICY] = None
    kms_key: Annotated[
        str | None, "encrypts bucket and repository; the roles may use it", shared.KMS_KEY
    ] = None
    vpc: Annotated[bool, "containers may be attached to the subnets of a VPC"] = False
    topic: Annotated[tuple[str, ...], "SNS topic that async calls notify", shared.TOPICS] = ()
    dead_letters: Annotated[
        str | None, "SQS queue that the expiry may write to (--ttl-dead-letters)", shared.QUEUE
    ] = None
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False
    yes: Annotated[bool, "change what exists without asking"] = False
    json: Json = False


def setup(options: SetupOptions) -> None:
    """Prints the bucket's address, the repository's, and the ARN of each role."""
    account = Account()
    if options.kms_key:
        account.check_key_region(options.kms_key)
    place = Place.of(account)
    wanted = Setup(
        place,
        options.name,
        options.bucket or f"{options.name}-{place.account}-{place.region}",
        options.boundary,
        options.kms_key,
        options.vpc,
        options.topic,
        options.dead_letters,
    )
    planned = plan(wanted, account.client, guess=options.dry_run)
    calls = [call for one in planned for call in one.calls]
    check_all(account.client, calls)
    say("\n".join(map(str, planned)) or f"{options.name}: nothing to create or change")
    if options.dry_run:
        print(json.dumps([_readable(call.shown()) for call in calls], indent=2))
        return
    if not options.yes and any(one.sign == CHANGED for one in planned):
        confirm(options.name, "change (~) what exists?")
    apply = Apply(account.client, options.name, lambda: None)
    with apply.reporting("", "continue: the same command with --yes", "created or changed"):
        apply.all(calls)
    _report(wanted, as_json=options.json)


def _readable(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Policies as JSON rather than as texts."""
    request = {
        key: json.loads(value) if key.endswith(("PolicyDocument", "Policy")) else value
        for key, value in shown["request"].items()
    }
    return {**shown, "request": request}


def _report(made: Setup, *, as_json: bool) -> None:
    place = made.place
    roles = {kind: place.role(role.name) for kind, role in made.roles.items()}
    address, repository = f"s3://{made.bucket}", f"{place.registry}/{made.prefix}"
    other = f" --bucket {address}/models --role {roles['endpoint']}"
    say(
        f"next: petbox deploy --init{'' if made.prefix == NAME else other}; "
        f"--ttl takes {roles['scheduler']}"
    )
    if as_json:
        print(json.dumps({"bucket": address, "repository": repository, "roles": roles}))
        return
    for name, value in {"bucket": address, "repository": repository, **roles}.items():
        print(f"{name}\t{value}")
