"""Lists everything that petbox made on SageMaker and that still exists.

One line per endpoint: name, status, instances, expiry, and what it costs if the
price is known. Parts of an endpoint that is gone are listed as well. Warns of
endpoints that should have been deleted by their expiry and still exist.

examples:
  petbox endpoint list
  petbox endpoint list --region eu-west-1 --json
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any

from petbox.aws import session
from petbox.aws.prices import Prices
from petbox.aws.session import Account
from petbox.cli.options import Checked
from petbox.cli.program import say
from petbox.sagemaker.endpoint import alarms, expiry, names, owned
from petbox.sagemaker.endpoint.actual import (
    Clients,
    Described,
    configs,
    describe_config,
    describe_endpoint,
    every,
    find_dashboard,
    find_schedule,
    models,
    tags_of,
)
from petbox.sagemaker.endpoint.cost import PricePerHour, cost, running
from petbox.sagemaker.endpoint.status import runs_on


@dataclass(frozen=True)
class ListOptions(Checked):
    price_per_hour: PricePerHour = ()
    json: Annotated[bool, "print one JSON line for each"] = False


def list_all(options: ListOptions) -> None:
    """Prints a line for each endpoint, or for what remains of one."""
    account = Account()
    rows = _rows(account.client, Prices(account, options.price_per_hour))
    for name, row in sorted(rows.items()):
        if options.json:
            print(json.dumps({"endpoint": name, **row}))
        else:
            print("\t".join([name, *(str(value) for value in _shown(row))]))
    running = sum(row["status"] is not None for row in rows.values())
    say(f"{running} endpoint{'s' * (running != 1)} made by petbox in {account.region}")
    for name, row in rows.items():
        if row["overdue"]:
            say(
                f"{name}: should have been deleted at {row['overdue']}, and still exists; delete "
                f"it: petbox endpoint down {name}; --ttl-dead-letters names a queue that says why"
            )
    if left := [name for name, row in rows.items() if row["status"] is None]:
        say(f"parts of {', '.join(left)} remain; delete them: petbox endpoint down {left[0]}")


def _rows(clients: Clients, prices: Prices) -> dict[str, dict[str, Any]]:
    sagemaker = clients("sagemaker")
    rows: dict[str, dict[str, Any]] = defaultdict(
        lambda: dict.fromkeys(("status", "runs_on", "deleted", "overdue", "price")) | {"parts": []}
    )
    for summary in every(sagemaker, "list_endpoints", "Endpoints"):
        name = summary["EndpointName"]
        tags = tags_of(sagemaker, summary["EndpointArn"])
        if tags.get(names.OWNER) == name:
            rows[name].update(_endpoint(sagemaker, name, prices))
            if rows[name]["status"] not in (None, "Deleting"):
                rows[name]["overdue"] = expiry.overdue(tags, datetime.now(timezone.utc))
    for kind, found in (("configuration", configs(sagemaker)), ("model", models(sagemaker))):
        for part, owner in found.items():
            rows[owner]["parts"].append(f"{kind} {part}")
    for name in _components(sagemaker):
        rows[name]["parts"].append("inference component")
    for name, end in _schedules(clients).items():
        rows[name]["parts"].append(f"schedule {names.schedule(name)}")
        rows[name]["deleted"] = end
    for name in _scaled(clients):
        rows[name]["parts"].append("scaling")
    for name in _watched(clients):
        rows[name]["parts"].append("alarms")
    for name in _dashboards(clients):
        rows[name]["parts"].append("dashboard")
    return rows


def _endpoint(sagemaker: Any, name: str, prices: Prices) -> dict[str, Any]:
    endpoint = describe_endpoint(sagemaker, name)
    if endpoint is None:
        return {}
    config = describe_config(sagemaker, endpoint.get("EndpointConfigName"))
    found = cost(prices, running(endpoint, config))
    return {
        "status": endpoint["EndpointStatus"],
        "runs_on": runs_on(endpoint, config),
        "price": found and found.facts(),
    }


def _components(sagemaker: Any) -> list[str]:
    """The endpoints, existing or not, that petbox made components for."""
    found = _if_allowed(
        sagemaker, "list_inference_components", "InferenceComponents", "inference components"
    )
    hosted = [(one["EndpointName"], one["InferenceComponentArn"]) for one in found]
    return [name for name, arn in hosted if tags_of(sagemaker, arn).get(names.OWNER) == name]


def _schedules(clients: Clients) -> dict[str, str]:
    """The expiry of each endpoint that has one."""
    scheduler = clients("scheduler")
    found: dict[str, str] = {}
    query = {"NamePrefix": names.SCHEDULE}
    for schedule in _if_allowed(scheduler, "list_schedules", "Schedules", "schedules", **query):
        name = schedule["Name"].removeprefix(names.SCHEDULE)
        details = find_schedule(scheduler, name)
        if details is not None and owned.is_ours(details, name):
            found[name] = expiry.end_of(details)
    return found


def _scaled(clients: Clients) -> list[str]:
    """The endpoints, existing or not, that petbox set scaling for; its alarms cost money."""
    client, query = clients("application-autoscaling"), {"ServiceNamespace": "sagemaker"}
    found = _if_allowed(client, "describe_scaling_policies", "ScalingPolicies", "scaling", **query)
    return [one["ResourceId"].split("/")[1] for one in found if one["PolicyName"] == names.POLICY]


def _watched(clients: Clients) -> list[str]:
    """The endpoints, existing or not, that petbox made alarms for."""
    client, query = clients("cloudwatch"), {"AlarmNamePrefix": names.SCHEDULE}
    found = _if_allowed(client, "describe_alarms", "MetricAlarms", "alarms", **query)
    owners = (alarms.endpoint_of(one) for one in found)
    return list(dict.fromkeys(owner for owner in owners if owner is not None))


def _dashboards(clients: Clients) -> list[str]:
    """The endpoints, existing or not, that petbox made a dashboard for."""
    client, query = clients("cloudwatch"), {"DashboardNamePrefix": names.dashboard("")}
    found = _if_allowed(client, "list_dashboards", "DashboardEntries", "dashboards", **query)
    owners = [one["DashboardName"].removeprefix(names.dashboard("")) for one in found]
    boards = {name: find_dashboard(client, name) for name in owners}
    return [name for name, board in boards.items() if board and owned.is_ours(board, name)]


def _if_allowed(client: Any, operation: str, key: str, what: str, **query: str) -> list[Described]:
    try:
        return list(every(client, operation, key, what, **query))
    except session.Rejected as error:
        say(f"{error}; continuing without the {what}")
        return []


def _shown(row: Mapping[str, Any]) -> list[str]:
    if row["status"] is None:
        return ["no endpoint, remaining:", ", ".join(row["parts"])]
    end = f"expires {row['deleted']}" if row["deleted"] else "no expiry"
    price = [f"{row['price']['hour']:.6g} {_unit(row['price'])}"] if row["price"] else []
    return [row["status"], row["runs_on"], end, *price]


def _unit(price: Mapping[str, Any]) -> str:
    return f"{price['currency']} an hour" if price["currency"] else "an hour"
