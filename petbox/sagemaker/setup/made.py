"""What `petbox setup` made in this account and region: the default role, and the default bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.errors import PetboxError, ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.expiry import OF_SETUP
from petbox.sagemaker.setup.policies import NAME, POLICY, by_sid

WHAT = "roles of petbox setup"


def role(account: Account) -> str:
    """The ARN of the role of endpoints; of several setups, that without --name."""
    with _or("give --role"):
        arn = _role(account)
    say(f"role: {arn}, of petbox setup")
    return arn


def models(account: Account, role: str | None) -> str:
    """Where archives of models go: in the bucket that the role may read."""
    with _or("give a bucket, as in s3://bucket/models"):
        arn = role if role and OF_SETUP.fullmatch(role) else _role(account)
        name = arn.rpartition("/")[2]
        policy: dict[str, Any] = {}
        with session.calling(f"policy of role {name}", "NoSuchEntity"):
            answer = account.client("iam").get_role_policy(RoleName=name, PolicyName=POLICY)
            policy = answer["PolicyDocument"]
        statement = by_sid(policy).get("Bucket")
        if statement is None:
            raise ServiceError(f"role {name}: its policy names no bucket; run petbox setup again")
    address = f"s3://{statement['Resource'].rpartition(':')[2]}/models"
    say(f"bucket: {address}, of petbox setup")
    return address


def repository(role: str) -> str | None:
    """The repository whose images a role of setup may pull; None for another role."""
    found = OF_SETUP.fullmatch(role)
    return found[1].rpartition("/")[2] if found else None


def _role(account: Account) -> str:
    account.client("sagemaker")  # fails if there is no region
    iam, kind = account.client("iam"), f"-endpoint-{account.region}"
    if _is_of_setup(default := _described(iam, f"{NAME}{kind}")):
        return str(default["Arn"])
    found = [one for one in _roles(iam, kind) if _is_of_setup(one)]
    if len(found) == 1:
        return str(found[0]["Arn"])
    if not found:
        raise ServiceError(f"petbox setup has not run in {account.region}; run it")
    among = ", ".join(sorted(one["RoleName"] for one in found))
    raise ServiceError(f"petbox setup has run more than once in {account.region} ({among})")


@contextmanager
def _or(what: str) -> Iterator[None]:
    """Adds to an error what else can be done."""
    try:
        yield
    except PetboxError as error:
        text = str(error)
        error.args = (f"{text}{', or' if '; ' in text else ';'} {what}",)
        raise


def _roles(iam: Any, ending: str) -> Iterator[Any]:
    with session.calling(WHAT):
        for page in iam.get_paginator("list_roles").paginate():
            for one in page["Roles"]:
                if one["RoleName"].endswith(ending):
                    yield _described(iam, one["RoleName"])  # the list has no tags


def _described(iam: Any, name: str) -> Any:
    with session.calling(WHAT, "NoSuchEntity"):
        return iam.get_role(RoleName=name)["Role"]
    return None


def _is_of_setup(role: Any) -> bool:
    return {"Key": names.OWNER, "Value": "setup"} in (role or {}).get("Tags", ())
