"""The syntax of AWS names, checked before anything is called.

Each check returns nothing, or raises a ValueError that says what is wrong and what is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_TAGS = 50

NAME = re.compile("[a-zA-Z0-9](-*[a-zA-Z0-9])*")
S3 = "s3://"
LONGEST_ADDRESS = 1024
BUCKET = re.compile(r"(?!(\d+\.){3}\d+\Z)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
IMAGE = re.compile(
    r"(?P<account>[0-9]{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+"
    r"/(?P<repository>[a-z0-9][a-z0-9._/-]*)(:(?P<tag>[\w][\w.-]{0,127}))?"
    r"(@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
INSTANCE = re.compile(r"ml\.[a-z][a-z0-9-]*\.[a-z0-9-]+")
TAG = re.compile(r"[\w\s.:/=+@-]*")
ARCHIVE = ".tar.gz"


def check_name(text: str, longest: int = 63) -> None:
    """Checks the name of a job, a model, an endpoint or its configuration."""
    if len(text) > longest:
        raise ValueError(f"{text!r} has {len(text)} characters; the maximum is {longest}")
    if not NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a valid SageMaker name; "
            "use letters, digits, and hyphens between them, as in pets-2"
        )


def archive(model: str) -> str:
    """The archive of a model of a multi-model endpoint; its ending may be left out."""
    return model.removesuffix(ARCHIVE) + ARCHIVE


@dataclass(frozen=True)
class S3Address:
    """An object in S3, or all objects whose keys begin with `key`."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Address:
        bucket, _, key = text.removeprefix(S3).partition("/")
        if not text.startswith(S3) or not BUCKET.fullmatch(bucket):
            raise ValueError(f"{text!r} is not an S3 address; write it like s3://bucket/pets/")
        # SageMaker's limit, and that of S3, which counts bytes.
        if max(len(text), len(key.encode("utf-8", "surrogateescape"))) > LONGEST_ADDRESS:
            raise ValueError(
                f"'{text[:60]}…' has more than {LONGEST_ADDRESS} characters or bytes; shorten it"
            )
        return cls(bucket, key)

    @classmethod
    def parse_object(cls, text: str) -> S3Address:
        address = cls.parse(text)
        if not address.key:
            raise ValueError(f"{text!r} has no key; write it like s3://bucket/pets/cat.jpg")
        return address

    @property
    def folder(self) -> S3Address:
        """The same as a folder: its key is empty, or ends in one slash."""
        key = self.key.strip("/")
        return S3Address(self.bucket, f"{key}/" if key else "")

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Address:
        """The folder `name` in this folder."""
        return S3Address(self.bucket, f"{self.key}{name}/")


def is_s3(text: str) -> bool:
    return text.startswith(S3)


def check_s3(text: str) -> None:
    S3Address.parse(text)


def matches(pattern: str | re.Pattern[str], what: str, example: str) -> Callable[[str], None]:
    """A check of a text's form."""

    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}; write it like {example}")

    return check


check_role = matches(
    r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[a-zA-Z0-9_+=,.@/-]+",
    "the ARN of a role",
    "arn:aws:iam::123456789012:role/service-role/SageMaker",
)
check_topic = matches(
    r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[a-zA-Z0-9_.-]+",
    "the ARN of a topic",
    "arn:aws:sns:us-east-1:123456789012:pets",
)
check_queue = matches(  # EventBridge Scheduler takes no FIFO queue
    r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[a-zA-Z0-9_-]{1,80}",
    "the ARN of a standard queue",
    "arn:aws:sqs:us-east-1:123456789012:pets",
)
check_kms_key = matches(
    r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-zA-Z0-9-]+",
    "the ARN of a KMS key",
    "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef",
)
check_image = matches(
    IMAGE,
    "an image in ECR",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/petbox-train:1",
)
check_subnet = matches("subnet-[0-9a-z]+", "an id", "subnet-0123456789abcdef0")
check_security_group = matches("sg-[0-9a-z]+", "an id", "sg-0123456789abcdef0")


def image_parts(text: str) -> dict[str, str | None]:
    """Account, region, repository, tag and digest of an image's address."""
    match = IMAGE.fullmatch(text)
    assert match, text  # checked before
    return match.groupdict()


def check_instance_type(text: str) -> None:
    if not INSTANCE.fullmatch(text):
        hint = f"ml.{text}" if INSTANCE.fullmatch(f"ml.{text}") else "ml.g4dn.xlarge"
        raise ValueError(f"{text!r} is not a SageMaker instance type; write it like {hint}")


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Parses KEY=VALUE arguments; a value may contain `=`."""
    values: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise ValueError(f"{text!r} is not of the form KEY=VALUE")
        if key in values:
            raise ValueError(f"{key!r} is given twice")
        values[key] = value
    return values


def check_tags(texts: Sequence[str]) -> None:
    tags = pairs(texts)
    if len(tags) > MOST_TAGS:
        raise ValueError(f"{len(tags)} tags are given; the maximum is {MOST_TAGS}")
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise ValueError(f"{key!r} begins with aws:, which is reserved for AWS")
        if len(key) > 128 or len(value) > 256:
            raise ValueError(f"{key!r}: a key has at most 128 characters, a value 256")
        if not TAG.fullmatch(key) or not TAG.fullmatch(value):
            raise ValueError(f"{key}={value}: only letters, digits, spaces, _.:/=+-@ allowed")
