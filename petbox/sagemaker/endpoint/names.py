"""The names of petbox's resources on SageMaker, and the tag that identifies them.

The names of an endpoint's model and configuration contain a digest of their content: the same
options have the same names, and other options have other names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from petbox.aws import names as aws_names

OWNER = "petbox:made-for"  # a tag; its value is the endpoint's name
SCALING = "petbox:scaling"  # a tag: bounds and target, while an update has scaling removed
EXPIRES = "petbox:expires"  # a tag of the endpoint: when it is deleted
RESERVED = "petbox:"
DIGITS = 10  # of a fingerprint
LONGEST = 63 - 1 - DIGITS
VARIANT = "AllTraffic"  # as SageMaker's own SDK calls the only one
SCHEDULE = "petbox-"  # and the endpoint's name
POLICY = "petbox"  # of scaling
WAKE = "petbox-wake"  # that of scaling from no instances


def check(text: str) -> None:
    """Checks an endpoint's name, which must leave room for the fingerprint."""
    aws_names.check_name(text, LONGEST)


def with_fingerprint(name: str, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"


def endpoint_of(text: str) -> str | None:
    """The endpoint whose model or configuration has this name; check the tag as well."""
    match = re.fullmatch(rf"(?P<name>.+)-[0-9a-f]{{{DIGITS}}}", text)
    return match["name"] if match else None


def schedule(name: str) -> str:
    return SCHEDULE + name


def dashboard(name: str) -> str:
    return SCHEDULE + name


def log_group(name: str, *, component: bool = False) -> str:
    return f"/aws/sagemaker/{'InferenceComponents' if component else 'Endpoints'}/{name}"


def scaled(name: str, *, component: bool = False) -> dict[str, str]:
    """The number of instances, or of a component's copies, as Application Auto Scaling names it."""
    if component:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"inference-component/{name}",
            "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
        }
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def dimensions(name: str, *, component: bool = False) -> list[dict[str, str]]:
    """Of CloudWatch's metrics of the calls."""
    of_component = {"InferenceComponentName": name}
    pairs = of_component if component else {"EndpointName": name, "VariantName": VARIANT}
    return [{"Name": key, "Value": value} for key, value in pairs.items()]


def tags(owner: str, given: Sequence[str]) -> dict[str, str]:
    return {**aws_names.pairs(given), OWNER: owner}


def present(**fields: Any) -> dict[str, Any]:
    """A part of a request: the fields that have a value."""
    return {key: value for key, value in fields.items() if value not in (None, {}, [])}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
