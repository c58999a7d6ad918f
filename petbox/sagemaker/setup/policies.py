"""The policies that `petbox setup` writes: who assumes each role, and what the role may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from petbox.aws.place import Place
from petbox.sagemaker.endpoint import names

Statement = dict[str, Any]
Document = dict[str, Any]
VERSION = "2012-10-17"
NAME = "petbox"  # without --name
POLICY = "petbox"  # the inline policy of each role


@dataclass(frozen=True)
class Setup:
    """What an account is to have; every name begins with `prefix`."""

    place: Place
    prefix: str
    bucket: str
    boundary: str | None = None
    kms_key: str | None = None
    vpc: bool = False
    topics: tuple[str, ...] = ()
    dead_letters: str | None = None

    @property
    def roles(self) -> dict[str, Role]:
        return {
            "endpoint": self._role("endpoint", "sagemaker", "*", _endpoint(self)),
            "training": self._role("training", "sagemaker", "*", _training(self)),
            # Scheduler requires the group here, and rejects a role that names a schedule.
            "scheduler": self._role(
                "scheduler", "scheduler", "schedule-group/default", _expiry(self)
            ),
            "lambda": self._role("lambda", "lambda", "function:*", _lambda(self)),
        }

    def _role(self, kind: str, service: str, source: str, may: Sequence[Statement]) -> Role:
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": self.place.account},
                "ArnLike": {"aws:SourceArn": self.place.arn(service, source)},
            },
        }
        name = f"{self.prefix}-{kind}-{self.place.region}"
        return Role(name, document([trust]), document(may))


@dataclass(frozen=True)
class Role:
    name: str
    trust: Document
    policy: Document


def document(statements: Sequence[Statement]) -> Document:
    return {"Version": VERSION, "Statement": list(statements)}


def only_tls(place: Place, bucket: str) -> Statement:
    """Of a bucket's policy."""
    arn = _bucket(place, bucket)
    return {
        "Sid": "OnlyTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def _bucket(place: Place, bucket: str) -> str:
    return f"arn:{place.partition}:s3:::{bucket}"


def _allow(sid: str, actions: str, resource: str | list[str], **condition: Any) -> Statement:
    """`actions` of one service, as in `s3: GetObject PutObject`."""
    service, _, words = actions.partition(": ")
    allowed = [f"{service}:{word}" for word in words.split()]
    found = {"Sid": sid, "Effect": "Allow", "Action": allowed, "Resource": resource}
    return {**found, "Condition": condition} if condition else found


def _endpoint(setup: Setup) -> list[Statement]:
    """Batch Transform runs under the same role."""
    may = _container(setup, "Endpoints", "InferenceComponents", "TransformJobs")
    if setup.topics:
        may.append(_allow("Topics", "sns: Publish", list(setup.topics)))
    return may


def _training(setup: Setup) -> list[Statement]:
    """With the hyperparameter `output` the container mirrors its checkpoints."""
    arn = _bucket(setup.place, setup.bucket)
    return [*_container(setup, "TrainingJobs"), _allow("Mirror", "s3: DeleteObject", f"{arn}/*")]


def _container(setup: Setup, *logs: str) -> list[Statement]:
    place = setup.place
    groups = [place.arn("logs", f"log-group:/aws/sagemaker/{one}*") for one in logs]
    may = [
        *_data(setup),
        _allow("Registry", "ecr: GetAuthorizationToken", "*"),
        _allow(
            "Images",
            "ecr: BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer",
            [
                place.arn("ecr", f"repository/{setup.prefix}"),
                place.arn("ecr", f"repository/{setup.prefix}-*"),
            ],
        ),
        _allow(
            "Logs", "logs: CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents", groups
        ),
        _allow(
            "Metrics",
            "cloudwatch: PutMetricData",
            "*",
            StringLike={"cloudwatch:namespace": "/aws/sagemaker/*"},
        ),
    ]
    if setup.kms_key:
        # The disks of instances are encrypted with a grant.
        granted = {"kms:GrantIsForAWSResource": "true"}
        may.append(_allow("KmsGrants", "kms: CreateGrant", setup.kms_key, Bool=granted))
    return [*may, *(_vpc(place) if setup.vpc else ())]


def _vpc(place: Place) -> list[Statement]:
    """SageMaker attaches containers to subnets by network interfaces."""
    interfaces = place.arn("ec2", "network-interface/*")
    within = [interfaces, place.arn("ec2", "subnet/*"), place.arn("ec2", "security-group/*")]
    described = ["DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs"]
    return [
        _allow("Vpc", "ec2: CreateNetworkInterface", within),
        _allow(
            "VpcInterfaces",
            "ec2: CreateNetworkInterfacePermission DeleteNetworkInterface "
            "DeleteNetworkInterfacePermission",
            interfaces,
        ),
        _allow("VpcReads", f"ec2: {' '.join(f'Describe{one}' for one in described)}", "*"),
    ]


def _expiry(setup: Setup) -> list[Statement]:
    """Only endpoints that petbox made."""
    endpoints = setup.place.arn("sagemaker", "endpoint/*")
    may = [_allow("Expiry", "sagemaker: DeleteEndpoint", endpoints, Null=_UNTAGGED)]
    if setup.dead_letters:
        may.append(_allow("DeadLetters", "sqs: SendMessage", setup.dead_letters))
    return may


_UNTAGGED = {f"aws:ResourceTag/{names.OWNER}": "false"}


def _lambda(setup: Setup) -> list[Statement]:
    place = setup.place
    logs = place.arn("logs", f"log-group:/aws/lambda/{setup.prefix}*")
    # A call to an inference component needs both.
    called = [place.arn("sagemaker", f"{kind}/*") for kind in ("endpoint", "inference-component")]
    return [
        *_data(setup),
        _allow("Logs", "logs: CreateLogGroup CreateLogStream PutLogEvents", logs),
        _allow("Endpoints", "sagemaker: InvokeEndpoint", called, Null=_UNTAGGED),
    ]


def _data(setup: Setup) -> list[Statement]:
    arn = _bucket(setup.place, setup.bucket)
    may = [
        _allow("Bucket", "s3: ListBucket", arn),
        _allow("Objects", "s3: AbortMultipartUpload GetObject PutObject", f"{arn}/*"),
    ]
    if setup.kms_key:
        actions = "kms: Decrypt DescribeKey GenerateDataKey"
        may.append(_allow("Kms", actions, setup.kms_key))
    return may


# Statements that an option adds. Without the option, those that a role has are kept.
BY_OPTION = ("DeadLetters", "Kms", "KmsGrants", "Topics", "Vpc", "VpcInterfaces", "VpcReads")


def kept(wanted: Document, actual: Document) -> Document:
    """`wanted`, with the statements that an option of an earlier run added."""
    there, new = by_sid(actual), by_sid(wanted)
    others = [there[sid] for sid in BY_OPTION if sid in there and sid not in new]
    return document([*wanted["Statement"], *others])


def by_sid(actual: Document) -> dict[str, Statement]:
    """The statements of a policy, whose order has no meaning."""
    found = actual.get("Statement", [])
    found = [found] if isinstance(found, dict) else found
    return {one.get("Sid", f"statement {place}"): one for place, one in enumerate(found)}
