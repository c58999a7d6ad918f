"""The actual state of an endpoint at AWS: itself, and all that petbox created for it.

Reads only. Third-party resources are described as well, so that they are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from petbox.aws import session
from petbox.sagemaker.endpoint import alarms, names, owned

Clients = Callable[[str], Any]  # boto3's client of a service
Described = Mapping[str, Any]  # as AWS describes a thing

BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
DENIED = ("AccessDenied", "AccessDeniedException")
# Error codes for a missing thing: SageMaker's, Application Auto Scaling's, EventBridge's.
ABSENT = (
    "ValidationException",
    "ValidationError",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ObjectNotFoundException",
)
ABSENT_WORDS = re.compile("not find|not found|not exist|No scal", re.IGNORECASE)


@dataclass(frozen=True)
class Actual:
    """`unseen` has a message for each kind of thing that we have no permission to describe."""

    endpoint: Described | None = None
    tags: Mapping[str, str] = field(default_factory=dict)  # of the endpoint
    config: Described | None = None  # the endpoint's
    model: Described | None = None  # that of its first variant, or of its component
    component: Described | None = None  # that petbox made for it
    other_components: tuple[str, ...] = ()
    last: Described | None = None  # the configuration it is being updated to, or has
    last_model: Described | None = None
    configs: tuple[str, ...] = ()  # those made by petbox for it
    models: tuple[str, ...] = ()
    scaling: Described | None = None
    policies: tuple[Described, ...] = ()
    actions: tuple[Described, ...] = ()  # of scaling, at certain times
    alarms: Mapping[str, Described] = field(default_factory=dict)  # of --alarms, by name
    dashboard: Described | None = None
    wake: Described | None = None  # the alarm that starts the first instance
    schedule: Described | None = None
    third_party: frozenset[str] = frozenset()  # alarms and so on that only have our names
    unseen: tuple[str, ...] = ()

    @property
    def status(self) -> str | None:
        return None if self.endpoint is None else str(self.endpoint["EndpointStatus"])

    @property
    def target_config(self) -> str | None:
        """The configuration that the endpoint has, or is being updated to."""
        if self.endpoint is None:
            return None
        source = self.endpoint.get("PendingDeploymentSummary") or self.endpoint
        return source.get("EndpointConfigName")

    @property
    def of_component(self) -> bool:
        """Whether it hosts an inference component instead of a model."""
        if self.last is not None:
            return hosts_components(self.last)
        return self.component is not None or (
            self.scaling is not None and self.scaling["ResourceId"].startswith("inference-comp")
        )

    @property
    def running(self) -> int | None:
        """The number of instances that the endpoint has or is getting."""
        variants = (self.endpoint or {}).get("ProductionVariants", ())
        return next((one.get("DesiredInstanceCount") for one in variants), None)


def describe(clients: Clients, name: str) -> Actual:
    sagemaker = clients("sagemaker")
    unseen: list[str] = []
    endpoint = describe_endpoint(sagemaker, name) or {}
    scaling: dict[str, Any] = {}
    with _if_allowed(unseen):
        scaling = _scaling(clients("application-autoscaling"), sagemaker, name)
    beside = _beside(clients, name, unseen)
    config = last = describe_config(sagemaker, endpoint.get("EndpointConfigName"))
    model = last_model = _model(sagemaker, config) if config else None
    if pending := endpoint.get("PendingDeploymentSummary"):
        last = describe_config(sagemaker, pending["EndpointConfigName"])
        last_model = _model(sagemaker, last) if last else None
    own_models = tuple(made_for(name, models(sagemaker, name)))
    component: Described | None = None
    others: list[str] = []
    # Without an endpoint one may be left, and then so is its model.
    if hosts_components(last) if last else bool(own_models):
        with _if_allowed(unseen):
            component = describe_component(sagemaker, name)
            ours = component and component["InferenceComponentName"]
            others = [one for one in components_of(sagemaker, name) if one != ours]
    if component is not None:
        model = last_model = _model_named(sagemaker, component["Specification"].get("ModelName"))
    return Actual(
        endpoint=endpoint or None,
        tags=tags_of(sagemaker, endpoint["EndpointArn"]) if endpoint else {},
        config=config,
        model=model,
        last=last,
        last_model=last_model,
        component=component,
        other_components=tuple(others),
        configs=tuple(made_for(name, configs(sagemaker, name))),
        models=own_models,
        **scaling,
        **beside,
        unseen=tuple(unseen),
    )


def _beside(clients: Clients, name: str, unseen: list[str]) -> dict[str, Any]:
    """What has no owner's tag, but a text: alarms, dashboard and schedule."""
    found: dict[str, Described] = {}
    with _if_allowed(unseen):
        if schedule := find_schedule(clients("scheduler"), name):
            found[f"schedule {names.schedule(name)}"] = schedule
    with _if_allowed(unseen):
        found |= {f"alarm {one['AlarmName']}": one for one in _alarms(clients("cloudwatch"), name)}
    with _if_allowed(unseen):
        if dashboard := find_dashboard(clients("cloudwatch"), name):
            found[f"dashboard {names.dashboard(name)}"] = dashboard
    ours = {what: one for what, one in found.items() if owned.is_ours(one, name)}
    watching = {one["AlarmName"]: one for one in ours.values() if "AlarmName" in one}
    return {
        "schedule": ours.get(f"schedule {names.schedule(name)}"),
        "dashboard": ours.get(f"dashboard {names.dashboard(name)}"),
        "wake": watching.pop(alarms.wake_alarm(name), None),
        "alarms": watching,
        "third_party": frozenset(found.keys() - ours.keys()),
    }


def made_for(name: str, owners: Mapping[str, str]) -> Iterator[str]:
    return (what for what, owner in owners.items() if owner == name)


@contextmanager
def _if_allowed(unseen: list[str]) -> Iterator[None]:
    try:
        yield
    except session.Rejected as error:
        if error.code not in DENIED:
            raise
        unseen.append(str(error))


@contextmanager
def unless_absent() -> Iterator[None]:
    """Continues after the block if the thing does not exist."""
    try:
        yield
    except session.Rejected as error:
        # SageMaker has the same code for a missing thing and for an invalid request.
        if error.code not in ABSENT or not ABSENT_WORDS.search(str(error)):
            raise


# One thing


def describe_or_none(call: Callable[..., Described], what: str, **name: str) -> Described | None:
    with unless_absent(), session.calling(what):
        return call(**name)
    return None


def describe_endpoint(sagemaker: Any, name: str) -> Described | None:
    return describe_or_none(sagemaker.describe_endpoint, f"endpoint {name}", EndpointName=name)


def describe_config(sagemaker: Any, name: str | None) -> Described | None:
    if name is None:  # a failed endpoint may have none
        return None
    what = f"endpoint configuration {name}"
    return describe_or_none(sagemaker.describe_endpoint_config, what, EndpointConfigName=name)


def describe_component(sagemaker: Any, name: str) -> Described | None:
    """The endpoint's component that petbox made, which has its name."""
    found = _component_named(sagemaker, name)
    return found if found and _owner_of(sagemaker, found) == name else None


def _is_third_party(sagemaker: Any, name: str) -> bool:
    """Whether there is a component of this name that petbox did not make."""
    found = _component_named(sagemaker, name)
    return found is not None and _owner_of(sagemaker, found) != name


def _component_named(sagemaker: Any, name: str) -> Described | None:
    call, what = sagemaker.describe_inference_component, f"inference component {name}"
    return describe_or_none(call, what, InferenceComponentName=name)


def _owner_of(sagemaker: Any, component: Described) -> str | None:
    return tags_of(sagemaker, component["InferenceComponentArn"]).get(names.OWNER)


def components_of(sagemaker: Any, endpoint: str) -> list[str]:
    """The names of an endpoint's inference components."""
    what, key = f"inference components of endpoint {endpoint}", "InferenceComponents"
    found = every(sagemaker, "list_inference_components", key, what, EndpointNameEquals=endpoint)
    return [str(one["InferenceComponentName"]) for one in found]


def hosts_components(config: Described) -> bool:
    return "ModelName" not in config["ProductionVariants"][0]


def _model(sagemaker: Any, config: Described) -> Described | None:
    return _model_named(sagemaker, config["ProductionVariants"][0].get("ModelName"))


def _model_named(sagemaker: Any, name: str | None) -> Described | None:
    if name is None:  # an endpoint of inference components has none
        return None
    return describe_or_none(sagemaker.describe_model, f"model {name}", ModelName=name)


def find_schedule(scheduler: Any, name: str) -> Described | None:
    schedule = names.schedule(name)
    return describe_or_none(scheduler.get_schedule, f"schedule {schedule}", Name=schedule)


def find_dashboard(cloudwatch: Any, name: str) -> Described | None:
    dashboard = names.dashboard(name)
    what = f"dashboard {dashboard}"
    return describe_or_none(cloudwatch.get_dashboard, what, DashboardName=dashboard)


def _scaling(client: Any, sagemaker: Any, name: str) -> dict[str, Any]:
    """Of the instances, or of the copies unless the component of this name is a third party's."""
    of, of_copies = names.scaled(name), names.scaled(name, component=True)
    with session.calling(f"scaling of endpoint {name}"):
        found = client.describe_scalable_targets(
            ServiceNamespace=of["ServiceNamespace"],
            ResourceIds=[of["ResourceId"], of_copies["ResourceId"]],
        )["ScalableTargets"]
        targets = [
            one
            for one in found
            if one["ResourceId"] == of["ResourceId"] or not _is_third_party(sagemaker, name)
        ]
        if targets and targets[0]["ResourceId"] == of_copies["ResourceId"]:
            of = of_copies
        policies = client.describe_scaling_policies(**of)["ScalingPolicies"]
        actions = client.describe_scheduled_actions(**of)["ScheduledActions"] if targets else ()
    return {
        "scaling": next(iter(targets), None),
        "policies": tuple(policies),
        "actions": tuple(actions),
    }


def _alarms(client: Any, name: str) -> list[Described]:
    wanted = [*alarms.alarm_names(name), alarms.wake_alarm(name)]
    with session.calling(f"alarms of endpoint {name}"):
        return list(client.describe_alarms(AlarmNames=wanted)["MetricAlarms"])


def reason(failed: Described) -> str:
    return " ".join((failed.get("FailureReason") or "no reason given").split()).rstrip(".")


# All things of a kind, with the endpoint that each was created for


def configs(sagemaker: Any, name: str = "") -> dict[str, str]:
    return _owned(sagemaker, "list_endpoint_configs", "EndpointConfig", name)


def models(sagemaker: Any, name: str = "") -> dict[str, str]:
    return _owned(sagemaker, "list_models", "Model", name)


def _owned(sagemaker: Any, operation: str, kind: str, name: str) -> dict[str, str]:
    """The things of a kind that petbox made for the endpoint `name`, or for any."""
    found: dict[str, str] = {}
    narrowed = {"NameContains": name} if name else {}
    for summary in every(sagemaker, operation, f"{kind}s", **narrowed):
        of = names.endpoint_of(summary[f"{kind}Name"])
        if of is None or name not in ("", of):
            continue  # saves a request for the tags of every model in the account
        if (owner := tags_of(sagemaker, summary[f"{kind}Arn"]).get(names.OWNER)) is not None:
            found[summary[f"{kind}Name"]] = owner
    return found


def every(
    client: Any, operation: str, key: str, what: str = "", **query: Any
) -> Iterator[Described]:
    with session.calling(what or operation.replace("_", " ")):
        for page in client.get_paginator(operation).paginate(**query):
            yield from page[key]


def tags_of(sagemaker: Any, arn: str) -> dict[str, str]:
    what = f"tags of {arn.split(':', 5)[-1]}"
    with unless_absent():
        tags = every(sagemaker, "list_tags", "Tags", what, ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for tag in tags}
    return {}  # deleted since it was listed
