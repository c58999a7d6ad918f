"""Shows an endpoint's state, its usage, and when it expires.

examples:
  petbox endpoint status pets
  petbox endpoint status pets --json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Annotated, Any

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint import ttl as endpoint_ttl
from petbox.sagemaker.endpoint.checks import check_all
from petbox.sagemaker.endpoint.found import Clients, Described, Found, look
from petbox.sagemaker.endpoint.metrics import use
from petbox.sagemaker.endpoint.wait import reason

PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"


@dataclass(frozen=True)
class StatusOptions:
    name: Annotated[str, "of the endpoint", POSITIONAL]
    json: Annotated[bool, "print one JSON object"] = False

    def __post_init__(self) -> None:
        check_all(self, {"name": names.check})


def status(options: StatusOptions) -> None:
    name = options.name
    account = Account()
    clients: Clients = cache(account.client)
    found = look(clients, name)
    if found.endpoint is None:
        raise absent(name, found)
    facts = {
        "endpoint": name,
        "region": account.region,
        **_facts(found.endpoint, found),
        "use": _use(clients, name),
        "price": PRICES,
    }
    if options.json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key:<{width}}  {value}")


def absent(name: str, found: Found) -> ServiceError:
    left = ", ".join((*found.configs, *found.models))
    besides = f"; of it are left: {left} (petbox endpoint down {name})" if left else ""
    return ServiceError(
        f"endpoint {name}: there is none in this account and region{besides}; "
        "see: petbox endpoint list"
    )


def _facts(endpoint: Described, found: Found) -> dict[str, str]:
    facts = {
        "status": str(endpoint["EndpointStatus"]),
        "since": f"{endpoint['LastModifiedTime'].astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "runs on": runs_on(endpoint, found.config),
        "configuration": str(endpoint.get("EndpointConfigName", "none")),
    }
    if "FailureReason" in endpoint:
        facts["reason"] = reason(endpoint)
    if found.heading != endpoint.get("EndpointConfigName"):
        facts["on its way to"] = str(found.heading)
    container = (found.model or {}).get("PrimaryContainer", {})
    facts["image"] = next(_images(endpoint), container.get("Image", "not known"))
    if data := container.get("ModelDataUrl"):
        facts["model"] = data
    facts.update(_of_config(found.config or {}))
    if found.scaling is not None:
        facts["scaling"] = _scaling(found)
    schedule = found.schedule
    facts["ends"] = endpoint_ttl.end_of(schedule) if schedule else "never by itself"
    return facts


def runs_on(endpoint: Described, config: Described | None) -> str:
    """Instances there are and shall be, by type; or a serverless endpoint's bounds."""
    types = {one["VariantName"]: one for one in (config or {}).get("ProductionVariants", ())}
    texts = []
    for variant in endpoint.get("ProductionVariants", ()):
        if serverless := variant.get("CurrentServerlessConfig"):
            texts.append(
                f"serverless, {serverless['MemorySizeInMB']} MB, "
                f"{serverless['MaxConcurrency']} calls at once"
            )
            continue
        now, then = variant.get("CurrentInstanceCount", 0), variant.get("DesiredInstanceCount", 0)
        kind = types.get(variant["VariantName"], {}).get("InstanceType", "instances")
        texts.append(f"{now} of {kind}" + (f", {then} wanted" if then != now else ""))
    return "; ".join(texts) or "nothing yet"


def _images(endpoint: Described) -> Iterator[str]:
    for variant in endpoint.get("ProductionVariants", ()):
        for image in variant.get("DeployedImages", ()):
            yield str(image.get("ResolvedImage") or image.get("SpecifiedImage"))


def _of_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if told := config.get("AsyncInferenceConfig"):
        yield "answers go to", told["OutputConfig"].get("S3OutputPath", "")
    if (capture := config.get("DataCaptureConfig")) and capture.get("EnableCapture"):
        yield (
            "captured",
            f"{capture['InitialSamplingPercentage']} % to {capture['DestinationS3Uri']}",
        )


def _scaling(found: Found) -> str:
    assert found.scaling is not None
    text = f"{found.scaling['MinCapacity']}..{found.scaling['MaxCapacity']}"
    for policy in found.policies:
        tracked = policy.get("TargetTrackingScalingPolicyConfiguration", {})
        metric = "calls waiting" if "CustomizedMetricSpecification" in tracked else "calls a minute"
        if "TargetValue" in tracked:
            text += f", to {tracked['TargetValue']:g} {metric} for each instance"
    return text


def _use(clients: Clients, name: str) -> str:
    try:
        return str(use(clients("cloudwatch"), name, datetime.now(timezone.utc)))
    except session.Refused as error:
        return f"not known ({error})"
