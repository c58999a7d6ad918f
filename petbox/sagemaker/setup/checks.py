"""The checks of `petbox doctor`: each says what it found, and how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from petbox.aws import buckets, image, session
from petbox.aws import names as aws_names
from petbox.aws.place import Place
from petbox.errors import PetboxError, ServiceError
from petbox.sagemaker.endpoint import fit
from petbox.sagemaker.endpoint.actual import DENIED
from petbox.sagemaker.endpoint.sizes import bounds
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.setup.policies import by_sid

OK, WRONG, UNKNOWN = "ok", "wrong", "?"
SETUP = "create one: petbox setup"


@dataclass(frozen=True)
class Finding:
    check: str
    state: str  # ok, wrong, or ? without the permission to look
    text: str
    fix: str = ""

    @classmethod
    def of(cls, check: str, error: PetboxError) -> Finding:
        """An error's form is `thing: what is wrong; what to do`."""
        text, _, fix = str(error).partition("; ")
        denied = isinstance(error, session.Rejected) and error.code in DENIED
        state = UNKNOWN if denied or isinstance(error, session.Unavailable) else WRONG
        return cls(check, state, text, fix)

    def __str__(self) -> str:
        return f"{self.state:<6}{self.check:<13}{self.text}" + (f"; {self.fix}" if self.fix else "")


def role(iam: Any, place: Place, arn: str, service: str) -> str:
    service = f"{service}.amazonaws.com"
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    if account != place.account:
        raise ServiceError(f"{arn}: is in another account; {SETUP}")
    with session.calling(arn, "NoSuchEntity"):
        found = iam.get_role(RoleName=name)["Role"]
        if not _trusts(found["AssumeRolePolicyDocument"], service, place):
            raise ServiceError(
                f"{arn}: does not trust {service} for account {place.account}; {SETUP}, "
                "or change its trust policy: aws iam update-assume-role-policy"
            )
        return f"{arn}: trusts {service}"
    raise ServiceError(f"{arn}: no such role; {SETUP}")


def _trusts(policy: dict[str, Any], service: str, place: Place) -> bool:
    for one in by_sid(policy).values():
        principal = one.get("Principal", {})  # a text if it is anybody
        services = principal.get("Service") if isinstance(principal, dict) else None
        equal = one.get("Condition", {}).get("StringEquals", {})
        only = {key.lower(): value for key, value in equal.items()}.get("aws:sourceaccount")
        if (
            one["Effect"] == "Allow"
            and service in _several(services)
            and place.account in _several(only or place.account)
        ):
            return True
    return False


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def bucket(s3: Any, name: str) -> str:
    region = buckets.region_of(s3, Bucket=name)
    if region is None:
        raise ServiceError(f"bucket {name}: no such bucket; {SETUP}")
    if region != s3.meta.region_name:
        raise ServiceError(
            f"bucket {name}: is in {region}, and SageMaker reads and writes buckets in "
            f"{s3.meta.region_name}; choose another, or --region {region}"
        )
    return f"{name}: is in {region}"


def image_runs(
    uri: str, found: image.Image | None, instance_type: str | None, *, built: bool = False
) -> str:
    where = instance_type or "a serverless endpoint"
    if found is None:
        return f"{uri}: is in this region; whether it runs on {where} is unknown"
    fit.check(uri, found, instance_type, built=built)
    return f"{uri}: {'is to be built' if built else 'is in ECR'}, and runs on {where}"


def instances(spec: EndpointSpec) -> int:
    """The most that an endpoint has."""
    return bounds(spec.autoscale)[1] if spec.autoscale else spec.instance_count or 1


def quota(client: Any, instance_type: str, needed: int) -> str:
    """Service Quotas lists what was changed for an account apart from AWS's own values."""
    name = f"{instance_type} for endpoint usage"
    found = next(
        (
            one
            for listing in ("list_service_quotas", "list_aws_default_service_quotas")
            for one in _quotas(client, listing)
            if one["QuotaName"] == name
        ),
        None,
    )
    if found is None:
        raise ServiceError(
            f"{name}: no such quota in {client.meta.region_name}; check the instance type, or "
            "choose another region"
        )
    if found["Value"] < needed:
        raise ServiceError(
            f"{name}: the quota is {found['Value']:g}, and {needed} are needed; ask for more: "
            "aws service-quotas request-service-quota-increase --service-code sagemaker "
            f"--quota-code {found['QuotaCode']} --desired-value {needed}"
        )
    return f"{name}: {found['Value']:g}, in all endpoints of the account"


def _quotas(client: Any, listing: str) -> Iterator[Mapping[str, Any]]:
    with session.calling("quotas"):
        for page in client.get_paginator(listing).paginate(ServiceCode="sagemaker"):
            yield from page["Quotas"]


def buckets_of(spec: EndpointSpec, given: str | None) -> list[str]:
    """Of all S3 addresses, each once."""
    answers = (spec.capture, spec.async_, spec.async_errors)
    addresses = (given, spec.model_data, spec.multi_model, *answers)
    found = [aws_names.S3Address.parse(one).bucket for one in addresses if one]
    return list(dict.fromkeys(found))
