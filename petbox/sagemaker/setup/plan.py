"""What `petbox setup` has to create or change: it describes an account, and compares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from petbox.aws import buckets, ecr, session
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import DENIED, Clients, Described
from petbox.sagemaker.endpoint.difference import ADDED, CHANGED
from petbox.sagemaker.endpoint.steps import Call
from petbox.sagemaker.setup.policies import (
    POLICY,
    Document,
    Role,
    Setup,
    by_sid,
    document,
    kept,
    only_tls,
)

CLOSED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Planned:
    sign: str  # + or ~
    what: str
    text: str
    calls: tuple[Call, ...]

    def __str__(self) -> str:
        return f"{self.sign} {self.what}: {self.text}"


def plan(setup: Setup, clients: Clients, *, guess: bool) -> list[Planned]:
    """With `guess`, what there is no permission to describe counts as absent."""

    def seen(describe: Callable[[], Described | None]) -> Described | None:
        try:
            return describe()
        except session.Rejected as error:
            if not guess or error.code not in DENIED:
                raise
            say(f"{error}; assuming that there is none")
            return None

    iam, found = clients("iam"), list[Planned]()
    for role in setup.roles.values():
        actual = seen(lambda name=role.name: _describe_role(iam, name))  # type: ignore[misc]
        found += _role(setup, role, actual)
    found += _bucket(setup, seen(lambda: _describe_bucket(clients("s3"), setup)))
    registry = clients("ecr")
    if not seen(lambda: {"there": True} if ecr.exists(registry, setup.prefix) else None):
        found.append(_repository(setup))
    return found


def _describe_role(iam: Any, name: str) -> Described | None:
    with session.calling(f"role {name}", "NoSuchEntity"):
        role = iam.get_role(RoleName=name)["Role"]
        found = {
            "trust": role["AssumeRolePolicyDocument"],
            "boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
            "policy": {},
        }
        with session.calling(f"role {name}", "NoSuchEntity"):
            answer = iam.get_role_policy(RoleName=name, PolicyName=POLICY)
            found["policy"] = answer["PolicyDocument"]
        return found
    return None


def _role(setup: Setup, role: Role, actual: Described | None) -> Iterator[Planned]:
    what = f"role {role.name}"
    named = {"RoleName": role.name}

    def call(operation: str, **request: Any) -> Call:
        return Call("iam", operation, named | request, what)

    policy = kept(role.policy, actual["policy"] if actual else {})
    put = call("put_role_policy", PolicyName=POLICY, PolicyDocument=json.dumps(policy))
    bounded = names.present(PermissionsBoundary=setup.boundary)
    trust, service = json.dumps(role.trust), role.trust["Statement"][0]["Principal"]["Service"]
    if actual is None:
        tags = names.tag_list({names.OWNER: "setup"})
        create = call("create_role", AssumeRolePolicyDocument=trust, Tags=tags, **bounded)
        within = f", within {setup.boundary}" if setup.boundary else ""
        yield Planned(ADDED, what, f"{service} may assume it{within}", (create, put))
        return
    if actual["trust"] != role.trust:
        update = call("update_assume_role_policy", PolicyDocument=trust)
        yield Planned(CHANGED, what, f"trust policy, for {service} alone", (update,))
    if by_sid(actual["policy"]) != by_sid(policy):
        yield Planned(CHANGED, what, f"inline policy {POLICY}{_sids(actual, policy)}", (put,))
    if bounded and actual["boundary"] != setup.boundary:
        bound = call("put_role_permissions_boundary", **bounded)
        text = f"permissions boundary, from {actual['boundary'] or 'none'} to {setup.boundary}"
        yield Planned(CHANGED, what, text, (bound,))


def _sids(actual: Described, policy: Document) -> str:
    """Which statements differ."""
    old, new = by_sid(actual["policy"]), by_sid(policy)
    return ", statements " + ", ".join(
        sid for sid in {**old, **new} if old.get(sid) != new.get(sid)
    )


def _describe_bucket(s3: Any, setup: Setup) -> Described | None:
    what, place = f"bucket {setup.bucket}", setup.place
    own = {"Bucket": setup.bucket, "ExpectedBucketOwner": place.account}
    region = buckets.region_of(s3, **own)
    if region is None:
        return None
    if region != place.region:
        raise ServiceError(f"{what}: is in {region}, not in {place.region}; give another --bucket")
    found: dict[str, Any] = {"policy": {}, "closed": {}, "key": None}
    with session.calling(what, "NoSuchBucketPolicy"):
        found["policy"] = json.loads(s3.get_bucket_policy(**own)["Policy"])
    with session.calling(what, "NoSuchPublicAccessBlockConfiguration"):
        found["closed"] = s3.get_public_access_block(**own)["PublicAccessBlockConfiguration"]
    with session.calling(what, "ServerSideEncryptionConfigurationNotFoundError"):
        (rule,) = s3.get_bucket_encryption(**own)["ServerSideEncryptionConfiguration"]["Rules"]
        found["key"] = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
    return found


def _bucket(setup: Setup, actual: Described | None) -> Iterator[Planned]:
    what, region = f"bucket {setup.bucket}", setup.place.region
    named = {"Bucket": setup.bucket}

    def call(operation: str, **request: Any) -> Call:
        return Call("s3", operation, named | request, what)

    closed = dict.fromkeys(CLOSED, True)
    close = call("put_public_access_block", PublicAccessBlockConfiguration=closed)
    there = by_sid(actual["policy"]) if actual else {}
    tls = only_tls(setup.place, setup.bucket)
    policy = document([*(one for sid, one in there.items() if sid != tls["Sid"]), tls])
    require_tls = call("put_bucket_policy", Policy=json.dumps(policy))
    encrypt = call(
        "put_bucket_encryption", ServerSideEncryptionConfiguration={"Rules": [_kms(setup)]}
    )
    if actual is None:
        # S3 rejects its first region here.
        at = {} if region == "us-east-1" else {"LocationConstraint": region}
        create = call("create_bucket", **names.present(CreateBucketConfiguration=at))
        calls = [create, close, require_tls, *([encrypt] if setup.kms_key else [])]
        with_key = f", encrypted with {setup.kms_key}" if setup.kms_key else ""
        yield Planned(ADDED, what, f"private, TLS only{with_key}", tuple(calls))
        return
    if actual["closed"] != closed:
        yield Planned(CHANGED, what, "block all public access", (close,))
    if there.get(tls["Sid"]) != tls:
        yield Planned(CHANGED, what, "bucket policy: reject requests without TLS", (require_tls,))
    if setup.kms_key and actual["key"] != setup.kms_key:
        text = f"encryption, from {actual['key'] or 'a key of S3'} to {setup.kms_key}"
        yield Planned(CHANGED, what, text, (encrypt,))


def _kms(setup: Setup) -> dict[str, Any]:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": setup.kms_key}
    return {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}


def _repository(setup: Setup) -> Planned:
    what = f"repository {setup.prefix}"
    create = Call("ecr", "create_repository", ecr.creation(setup.prefix, setup.kms_key), what)
    with_key = f", encrypted with {setup.kms_key}" if setup.kms_key else ""
    text = f"tags cannot be moved, images are scanned{with_key}"
    return Planned(ADDED, what, text, (create,))
