"""SageMaker's endpoints with scaling, schedules and alarms, in memory: updates take a while, fail
and are rolled back, calls fail, and a client may be interrupted. Moto has no update of an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from typing import Any, ClassVar

from botocore.exceptions import ClientError
from support.aws import REGION
from support.inference_components import Components

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
PREFIX = f"arn:aws:sagemaker:{REGION}:123456789012:"
Request = dict[str, Any]
CHANGES = ("add", "create", "delete", "deregister", "put", "register", "update")


class Killed(BaseException):
    """The client's process is gone: nothing more is called."""


@dataclass
class Endpoint:
    config: str
    running: int
    status: str = "Creating"
    polls: int = 2  # until it is settled
    pending: str | None = None
    pending_count: int | None = None
    reason: str = ""


@dataclass
class Simulator:
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    configs: dict[str, Request] = field(default_factory=dict)
    models: dict[str, Request] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # by ARN
    targets: dict[str, Request] = field(default_factory=dict)
    policies: dict[tuple[str, str], Request] = field(default_factory=dict)
    actions: dict[tuple[str, str], Request] = field(default_factory=dict)
    schedules: dict[str, Request] = field(default_factory=dict)
    alarms: dict[str, Request] = field(default_factory=dict)
    filters: dict[str, Request] = field(default_factory=dict)
    dashboards: dict[str, Request] = field(default_factory=dict)
    components: Components = field(default_factory=Components)
    next_fails: bool = False  # the next creation or update
    fault: Callable[[], None] | None = None  # raises before the change that it is in the way of
    changes_before_fault: int = 0
    policies_made: int = 0
    dead: bool = False

    lacks: ClassVar[tuple[str, ...]] = ()  # flags

    def clients(self, service: str) -> Any:
        return Client(self, service)

    def acts(self, _service: str, operation: str) -> Callable[[Request], Request]:
        """What carries out an operation."""
        act: Callable[[Request], Request] = getattr(self, operation)
        return act

    def make_theirs(self) -> None:
        self.create_model({"ModelName": "theirs"})
        self.create_endpoint_config({"EndpointConfigName": "theirs"})

    def check_unused(self, operation: str, request: Request) -> None:
        """Raises for a configuration or model that an endpoint still needs."""
        if operation == "delete_endpoint_config":
            name = request["EndpointConfigName"]
            used = {c for one in self.endpoints.values() for c in (one.config, one.pending)}
            assert name not in used, f"{name} is deleted while an endpoint has it"
        if operation == "delete_model":
            for one in self.components.by_name.values():
                for specification in (one.request["Specification"], one.before or {}):
                    named = specification.get("ModelName")
                    assert request["ModelName"] != named, "a component's model is deleted"

    def instance_type(self, config: str) -> str | None:
        return self.configs[config]["ProductionVariants"][0].get("InstanceType")  # type: ignore[no-any-return]

    def __post_init__(self) -> None:
        self.components.fails = self._fails

    def _fails(self) -> bool:
        fails, self.next_fails = self.next_fails, False
        return fails

    # SageMaker

    def create_model(self, request: Request) -> Request:
        return self._create(self.models, "model", request["ModelName"], request)

    def create_endpoint_config(self, request: Request) -> Request:
        name = request["EndpointConfigName"]
        return self._create(self.configs, "endpoint-config", name, request)

    def _create(self, kept: dict[str, Request], kind: str, name: str, request: Request) -> Request:
        if name in kept:
            raise rejected(f"Cannot create already existing {kind} {name}")
        kept[name] = request
        self.tags[f"{PREFIX}{kind}/{name}"] = as_dict(request.get("Tags", ()))
        return {}

    def create_endpoint(self, request: Request) -> Request:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        if name in self.endpoints:
            raise rejected(f"Cannot create already existing endpoint {name}")
        count = self.configs[config]["ProductionVariants"][0].get("InitialInstanceCount", 1)
        self.endpoints[name] = Endpoint(config, count)
        self.tags[f"{PREFIX}endpoint/{name}"] = as_dict(request["Tags"])
        return {}

    def update_endpoint(self, request: Request) -> Request:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        one = self._settled(name)
        scaled = any(f"/{name}/" in resource for resource in self.targets)
        if scaled and self.instance_type(config) != self.instance_type(one.config):
            raise rejected("The variant is registered as a scalable target")
        count = self.configs[config]["ProductionVariants"][0].get("InitialInstanceCount", 1)
        kept = request.get("RetainAllVariantProperties")
        one.pending, one.pending_count = config, one.running if kept else count
        one.status, one.polls = "Updating", 2
        return {}

    def update_endpoint_weights_and_capacities(self, request: Request) -> Request:
        (one,) = request["DesiredWeightsAndCapacities"]
        self._settled(request["EndpointName"]).running = one["DesiredInstanceCount"]
        return {}

    def _settled(self, name: str) -> Endpoint:
        one = self.endpoints[name]
        if one.status != "InService":
            raise rejected(f"Cannot update in-progress endpoint {name}: {one.status}")
        return one

    def delete_endpoint(self, request: Request) -> Request:
        name = request["EndpointName"]
        one = self.endpoints.get(name)
        if one is None:
            raise absent(request)
        if one.status in ("Creating", "Updating"):
            raise rejected("Cannot update in-progress endpoint")
        assert name not in self.components.by_name, "the component outlives its endpoint"
        one.status, one.polls = "Deleting", 1
        return {}

    def delete_endpoint_config(self, request: Request) -> Request:
        self.check_unused("delete_endpoint_config", request)
        return self._delete(self.configs, request["EndpointConfigName"], request)

    def delete_model(self, request: Request) -> Request:
        self.check_unused("delete_model", request)
        return self._delete(self.models, request["ModelName"], request)

    def _delete(self, kept: dict[str, Request], name: str, request: Request) -> Request:
        if kept.pop(name, None) is None:
            raise absent(request)
        return {}

    def describe_endpoint(self, request: Request) -> Request:
        name = request["EndpointName"]
        one = self.endpoints.get(name)
        if one is None:
            raise absent(request)
        if one.polls:
            one.polls -= 1
        else:
            self._settle(name, one)
            if name not in self.endpoints:
                raise absent(request)
        variant = {"VariantName": "AllTraffic", "DesiredInstanceCount": one.running}
        if "ServerlessConfig" in self.configs[one.config]["ProductionVariants"][0]:
            variant.pop("DesiredInstanceCount")
        found = {
            "EndpointName": name,
            "EndpointArn": f"{PREFIX}endpoint/{name}",
            "EndpointStatus": one.status,
            "EndpointConfigName": one.config,
            "CreationTime": NOW,
            "LastModifiedTime": NOW,
            "ProductionVariants": [variant],
        }
        if one.pending:
            found["PendingDeploymentSummary"] = {"EndpointConfigName": one.pending}
        return {**found, **({"FailureReason": one.reason} if one.reason else {})}

    def _settle(self, name: str, one: Endpoint) -> None:
        if one.status == "Deleting":
            del self.endpoints[name]
            self.tags.pop(f"{PREFIX}endpoint/{name}")
        elif one.status in ("Creating", "Updating"):
            fails = self._fails()
            one.reason = "did not pass the ping health check" if fails else ""
            if one.pending and not fails:
                one.config, one.running = one.pending, one.pending_count or 1
            one.status = "Failed" if fails and one.status == "Creating" else "InService"
            one.pending = None

    def describe_endpoint_config(self, request: Request) -> Request:
        return self._described(self.configs, request["EndpointConfigName"], request)

    def describe_model(self, request: Request) -> Request:
        return self._described(self.models, request["ModelName"], request)

    def _described(self, kept: Mapping[str, Request], name: str, request: Request) -> Request:
        if name not in kept:
            raise absent(request)
        return dict(kept[name])

    def list_endpoint_configs(self, _: Request) -> Request:
        return {"EndpointConfigs": self._listed(self.configs, "EndpointConfig", "endpoint-config")}

    def list_models(self, _: Request) -> Request:
        return {"Models": self._listed(self.models, "Model", "model")}

    def _listed(self, kept: Mapping[str, Request], kind: str, arn: str) -> list[Request]:
        return [{f"{kind}Name": name, f"{kind}Arn": f"{PREFIX}{arn}/{name}"} for name in kept]

    def create_inference_component(self, request: Request) -> Request:
        self._settled(request["EndpointName"])
        return self.components.create(request)

    def update_inference_component(self, request: Request) -> Request:
        return self.components.update(request)

    def delete_inference_component(self, request: Request) -> Request:
        return self.components.delete(request)

    def describe_inference_component(self, request: Request) -> Request:
        found = self.components.describe(request)
        return {**found, "CreationTime": NOW, "LastModifiedTime": NOW}

    def list_inference_components(self, request: Request) -> Request:
        return self.components.list(request)

    def list_tags(self, request: Request) -> Request:
        if (of_component := self.components.tags(request["ResourceArn"])) is not None:
            return {"Tags": of_component}
        tags = self.tags.get(request["ResourceArn"], {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def add_tags(self, request: Request) -> Request:
        self.tags[request["ResourceArn"]].update(as_dict(request["Tags"]))
        return {}

    def delete_tags(self, request: Request) -> Request:
        for key in request["TagKeys"]:
            self.tags[request["ResourceArn"]].pop(key, None)
        return {}

    # Application Auto Scaling

    def register_scalable_target(self, request: Request) -> Request:
        self.targets[request["ResourceId"]] = request
        return {}

    def deregister_scalable_target(self, request: Request) -> Request:
        resource = request["ResourceId"]
        if self.targets.pop(resource, None) is None:
            raise absent(request)
        for kept in (self.policies, self.actions):
            for key in [key for key in kept if key[0] == resource]:
                del kept[key]
        return {}

    def put_scaling_policy(self, request: Request) -> Request:
        assert request["ResourceId"] in self.targets, "a policy needs its target"
        key = request["ResourceId"], request["PolicyName"]
        self.policies_made += key not in self.policies
        arn = self.policies.get(key, {"PolicyARN": f"arn:policy/{self.policies_made}"})["PolicyARN"]
        self.policies[key] = {**request, "PolicyARN": arn, "CreationTime": NOW}
        return {"PolicyARN": arn}

    def delete_scaling_policy(self, request: Request) -> Request:
        self.policies.pop((request["ResourceId"], request["PolicyName"]))
        return {}

    def put_scheduled_action(self, request: Request) -> Request:
        key = request["ResourceId"], request["ScheduledActionName"]
        self.actions[key] = {**request, "CreationTime": NOW}
        return {}

    def describe_scalable_targets(self, request: Request) -> Request:
        found = [self.targets[one] for one in request["ResourceIds"] if one in self.targets]
        return {"ScalableTargets": found}

    def describe_scaling_policies(self, request: Request) -> Request:
        return {"ScalingPolicies": of(self.policies, request["ResourceId"])}

    def describe_scheduled_actions(self, request: Request) -> Request:
        return {"ScheduledActions": of(self.actions, request["ResourceId"])}

    # EventBridge Scheduler, CloudWatch and its logs

    def create_schedule(self, request: Request) -> Request:
        assert request["Name"] not in self.schedules
        self.schedules[request["Name"]] = request
        return {}

    def update_schedule(self, request: Request) -> Request:
        assert request["Name"] in self.schedules
        self.schedules[request["Name"]] = request
        return {}

    def get_schedule(self, request: Request) -> Request:
        return self._described(self.schedules, request["Name"], request)

    def delete_schedule(self, request: Request) -> Request:
        return self._delete(self.schedules, request["Name"], request)

    def put_metric_alarm(self, request: Request) -> Request:
        self.alarms[request["AlarmName"]] = request
        return {}

    def describe_alarms(self, request: Request) -> Request:
        return {"MetricAlarms": [self.alarms[a] for a in request["AlarmNames"] if a in self.alarms]}

    def delete_alarms(self, request: Request) -> Request:
        for name in request["AlarmNames"]:
            self.alarms.pop(name)
        return {}

    def put_dashboard(self, request: Request) -> Request:
        self.dashboards[request["DashboardName"]] = request
        return {}

    def get_dashboard(self, request: Request) -> Request:
        return self._described(self.dashboards, request["DashboardName"], request)

    def delete_dashboards(self, request: Request) -> Request:
        (name,) = request["DashboardNames"]
        return self._delete(self.dashboards, name, request)

    def put_metric_filter(self, request: Request) -> Request:
        self.filters[request["filterName"]] = request
        return {}

    def delete_metric_filter(self, request: Request) -> Request:
        return self._delete(self.filters, request["filterName"], request)

    def describe_log_streams(self, _: Request) -> Request:
        return {"logStreams": []}


@dataclass(frozen=True)
class Client:
    simulator: Simulator
    service: str

    @property
    def meta(self) -> Any:
        return _real(self.service).meta

    @property
    def exceptions(self) -> Any:
        return _real(self.service).exceptions

    def get_paginator(self, operation: str) -> Any:
        client = self

        class Pages:
            def paginate(self, **request: Any) -> Iterator[Request]:
                yield getattr(client, operation)(**request)

        return Pages()

    def __getattr__(self, operation: str) -> Any:
        simulator = self.simulator
        act = simulator.acts(self.service, operation)

        def call(**request: Any) -> Request:
            if simulator.dead:
                raise Killed
            if simulator.fault and operation.startswith(CHANGES):
                if simulator.changes_before_fault == 0:
                    fault, simulator.fault = simulator.fault, None
                    fault()
                simulator.changes_before_fault -= 1
            done: Request = act(request)
            return done

        return call


@cache
def _real(service: str) -> Any:
    """For botocore's model of it; nothing is called."""
    import boto3

    fake = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, region_name=REGION, **fake)


def of(kept: Mapping[tuple[str, str], Request], resource: str) -> list[Request]:
    return [one for (where, _), one in kept.items() if where == resource]


def as_dict(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def rejected(text: str, code: str = "ValidationException", status: int = 400) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "call")


def absent(request: Request) -> ClientError:
    return rejected(f"Could not find {request}")
