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
from typing import Annotated, Any

from petbox.aws import session
from petbox.aws.prices import Prices
from petbox.aws.session import Account
from petbox.cli.options import Checked
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import cost, expiry, names, provenance
from petbox.sagemaker.endpoint.actual import Actual, Clients, Described, describe, reason
from petbox.sagemaker.endpoint.component import copies, stated
from petbox.sagemaker.endpoint.cost import PricePerHour
from petbox.sagemaker.endpoint.metrics import Use, use
from petbox.sagemaker.endpoint.state import images, state
from petbox.sagemaker.shared_options import EndpointName


@dataclass(frozen=True)
class StatusOptions(Checked):
    name: EndpointName
    price_per_hour: PricePerHour = ()
    json: Annotated[bool, "print one JSON object"] = False


def status(options: StatusOptions) -> None:
    name = options.name
    account = Account()
    clients = account.client
    actual = describe(clients, name)
    if actual.endpoint is None:
        raise absent(name, actual)
    found, why = _use(clients, name, component=actual.of_component)
    instances = cost.running(actual.endpoint, actual.config)
    price = cost.cost(
        Prices(account, options.price_per_hour), instances, _bounds(actual), actual.schedule
    )
    if options.json:
        print(json.dumps(state(name, account.region, actual, found, price)))
        return
    facts = {
        "endpoint": name,
        "region": account.region,
        **_facts(actual.endpoint, actual),
        "use": str(found) if found else f"unknown ({why})",
        "price": cost.described(price, instances),
    }
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key:<{width}}  {value}")


def absent(name: str, actual: Actual) -> ServiceError:
    left = ", ".join((*actual.configs, *actual.models))
    besides = f"; remaining: {left} (petbox endpoint down {name})" if left else ""
    return ServiceError(
        f"endpoint {name}: not found in this account and region{besides}; see: petbox endpoint list"
    )


def _facts(endpoint: Described, actual: Actual) -> dict[str, str]:
    facts = {
        "status": str(endpoint["EndpointStatus"]),
        "since": f"{endpoint['LastModifiedTime'].astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "runs on": runs_on(endpoint, actual.config),
        "configuration": str(endpoint.get("EndpointConfigName", "none")),
    }
    if actual.of_component:
        facts["component"] = _component(actual.component)
    if "FailureReason" in endpoint:
        facts["reason"] = reason(endpoint)
    if actual.target_config != endpoint.get("EndpointConfigName"):
        facts["on its way to"] = str(actual.target_config)
    container = (actual.model or {}).get("PrimaryContainer", {})
    facts["image"] = next(images(endpoint), container.get("Image", "unknown"))
    if data := container.get("ModelDataUrl"):
        facts["model"] = data
    facts["made from"] = provenance.line(str(endpoint["EndpointName"]), actual.tags, facts["image"])
    facts.update(_of_config(actual.config or {}))
    if actual.scaling is not None:
        facts["scaling"] = _scaling(actual)
    if actual.alarms:
        states = (f"{name} {one.get('StateValue', '')}" for name, one in actual.alarms.items())
        facts["alarms"] = ", ".join(states)
    if actual.dashboard is not None:
        facts["dashboard"] = names.dashboard(str(endpoint["EndpointName"]))
    schedule = actual.schedule
    facts["ends"] = expiry.end_of(schedule) if schedule else "no expiry"
    return facts


def _component(component: Described | None) -> str:
    if component is None:
        return "missing; petbox endpoint up with all flags makes it again"
    now, then = copies(component)
    text = f"{component['InferenceComponentStatus']}, {now} of {then} copies"
    text += f", each of {stated(component)['component']} (MB, CPU cores, GPUs)"
    return text + (f": {reason(component)}" if "FailureReason" in component else "")


def runs_on(endpoint: Described, config: Described | None) -> str:
    """Actual and desired instances by type, or a serverless endpoint's limits."""
    types = {one["VariantName"]: one for one in (config or {}).get("ProductionVariants", ())}
    texts = []
    for variant in endpoint.get("ProductionVariants", ()):
        if serverless := variant.get("CurrentServerlessConfig"):
            ready = serverless.get("ProvisionedConcurrency")
            texts.append(
                f"serverless, {serverless['MemorySizeInMB']} MB, "
                f"{serverless['MaxConcurrency']} calls at once"
                + (f", {ready} kept ready" if ready else "")
            )
            continue
        now, then = variant.get("CurrentInstanceCount", 0), variant.get("DesiredInstanceCount", 0)
        kind = types.get(variant["VariantName"], {}).get("InstanceType", "instances")
        texts.append(f"{now} of {kind}" + (f", {then} desired" if then != now else ""))
    return "; ".join(texts) or "nothing yet"


def _of_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if async_ := config.get("AsyncInferenceConfig"):
        yield "responses go to", async_["OutputConfig"].get("S3OutputPath", "")
    if (capture := config.get("DataCaptureConfig")) and capture.get("EnableCapture"):
        yield (
            "captured",
            f"{capture['InitialSamplingPercentage']} % to {capture['DestinationS3Uri']}",
        )


def _scaling(actual: Actual) -> str:
    assert actual.scaling is not None
    text = f"{actual.scaling['MinCapacity']}..{actual.scaling['MaxCapacity']}"
    unit = "copy" if actual.of_component else "instance"
    for policy in actual.policies:
        tracked = policy.get("TargetTrackingScalingPolicyConfiguration", {})
        metric = "queued calls" if "CustomizedMetricSpecification" in tracked else "calls a minute"
        if "TargetValue" in tracked:
            text += f", to {tracked['TargetValue']:g} {metric} for each {unit}"
    return text


def _bounds(actual: Actual) -> tuple[int, int] | None:
    if actual.scaling is None:
        return None
    least, most = actual.scaling["MinCapacity"], actual.scaling["MaxCapacity"]
    return (min(1, least) if actual.of_component else least), most


def _use(clients: Clients, name: str, *, component: bool) -> tuple[Use | None, str]:
    """Counts of calls, or why they are unknown."""
    try:
        now = datetime.now(timezone.utc)
        return use(clients("cloudwatch"), name, now, component=component), ""
    except session.Rejected as error:
        return None, str(error)
