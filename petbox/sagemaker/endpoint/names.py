"""What petbox's things on SageMaker are called, and the tag by which they are known again.

The model and the configuration of an endpoint carry a fingerprint of what is in them, so that the
same wish has the same name, and another has another. Asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from petbox.aws import names as aws_names

OWNER = "petbox:made-for"  # a tag; its value is the endpoint's name
RESERVED = "petbox:"
DIGITS = 10  # of a fingerprint
LONGEST = 63 - 1 - DIGITS
VARIANT = "AllTraffic"  # as SageMaker's own SDK calls the only one
SCHEDULE = "petbox-"  # and the endpoint's name
POLICY = "petbox"  # of scaling


def check(text: str) -> None:
    """An endpoint's name, which leaves room for the fingerprint."""
    aws_names.check_name(text)
    if len(text) > LONGEST:
        raise ValueError(f"{text!r} has {len(text)} characters, and {LONGEST} are the most")


def with_fingerprint(name: str, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"


def endpoint_of(text: str) -> str | None:
    """The endpoint whose model or configuration is called so; a tag must agree."""
    match = re.fullmatch(rf"(?P<name>.+)-[0-9a-f]{{{DIGITS}}}", text)
    return match["name"] if match else None


def schedule(name: str) -> str:
    return SCHEDULE + name


def log_group(name: str) -> str:
    return f"/aws/sagemaker/Endpoints/{name}"


def scaled(name: str) -> dict[str, str]:
    """The endpoint's number of instances, in Application Auto Scaling's words."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
