"""Deletes an endpoint and everything that petbox made for it.

Deletes its scaling, the endpoint, its alarms, its dashboard, its
configurations, its models and its schedule. Lists them and asks first, unless
--yes is given. Reports what it keeps: data in S3, the log, the image.

examples:
  petbox endpoint down pets
  petbox endpoint down pets --yes
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Annotated

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.options import Checked, Json
from petbox.cli.program import confirm, say
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual, Clients, describe
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.plan import removal
from petbox.sagemaker.endpoint.steps import Call
from petbox.sagemaker.endpoint.up import show
from petbox.sagemaker.shared_options import EndpointName, Every


@dataclass(frozen=True)
class DownOptions(Checked):
    name: EndpointName
    yes: Annotated[bool, "do not ask for confirmation"] = False
    json: Json = False
    every: Every = 5.0
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False


def down(options: DownOptions) -> None:
    name = options.name
    clients = Account().client
    actual = describe(clients, name)
    steps = removal(name, actual)
    if options.dry_run:
        show(steps)
        return
    deleted = list(dict.fromkeys(step.what for step in steps if isinstance(step, Call)))
    if not steps:
        say(f"{name}: nothing to delete")
    else:
        if not options.yes:
            say("\n".join(f"  {what}" for what in deleted))
            confirm(f"endpoint {name}", "delete all of these?")
        apply = Apply(clients, name, lambda: time.sleep(options.every))
        with apply.reporting(
            "SageMaker continues",
            "what is left may cost money; continue: the same command, "
            f"see: petbox endpoint status {name}",
            "removed",
        ):
            apply.all(steps)
    for line in _remaining(clients, name, actual):
        say(line)
    if options.json:
        print(json.dumps({"endpoint": name, "deleted": deleted}))


def _remaining(clients: Clients, name: str, actual: Actual) -> list[str]:
    """What is not deleted: data, and what could not be described."""
    lines = [f"{why}; so there may be some left" for why in actual.unseen]
    group = names.log_group(name, component=actual.of_component)
    if _has_log(clients, group):
        lines.append(f"kept: its log; aws logs delete-log-group --log-group-name {group}")
    kept = dict.fromkeys(_kept(actual))
    return lines + [f"kept: {what}" for what in kept]


def _has_log(clients: Clients, group: str) -> bool:
    try:
        with session.calling(f"log group {group}"):
            groups = clients("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    except session.Rejected:  # nor is there permission to delete it
        return False
    return any(one["logGroupName"] == group for one in groups)


def _kept(actual: Actual) -> list[str]:
    """What the endpoint read and wrote, according to its configuration."""
    config = actual.config or {}
    container = (actual.model or {}).get("PrimaryContainer", {})
    output_config = config.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    capture = config.get("DataCaptureConfig", {})
    kept = {
        "captured requests and responses in": capture.get("DestinationS3Uri"),
        "responses in": output_config.get("S3OutputPath"),
        "failures in": output_config.get("S3FailurePath"),
        "the model": container.get("ModelDataUrl"),
        "the image": container.get("Image"),
    }
    return [f"{what} {address}" for what, address in kept.items() if address]
