"""The simulator with moto behind it: boto3 over HTTP, but for what moto lacks.

Endpoints stay here, since moto has no update that takes a while, fails and is rolled back, and so
do filters of logs, of which moto keeps several of one name. All else is at moto, and read from
there each time: what a test finds is what the calls left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from support.aws import Aws
from support.endpoint_aws import ROLE
from support.sagemaker_simulator import PREFIX, Request, Simulator

SAGEMAKER = {"ServiceNamespace": "sagemaker"}
HERE = (
    "create_endpoint",
    "describe_endpoint",
    "describe_log_streams",
    "delete_endpoint",
    "update_endpoint",
    "update_endpoint_weights_and_capacities",
    "put_metric_filter",
    "delete_metric_filter",
)


@dataclass(frozen=True)
class Read(Mapping[Any, Request]):
    """What moto has of a kind."""

    now: Callable[[], dict[Any, Request]]

    def __getitem__(self, key: Any) -> Request:
        return self.now()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.now())

    def __len__(self) -> int:
        return len(self.now())


class SimulatorOnMoto(Simulator):
    lacks = ("metrics_every",)  # moto forgets it

    def __init__(self, aws: Aws) -> None:
        """Whatever was in moto is gone."""
        requests.post(f"{aws.url}/moto-api/reset", timeout=60).raise_for_status()
        super().__init__()
        self._client = aws.client
        for name, now in {
            "configs": self._configs,
            "models": self._models,
            "targets": self._targets,
            "policies": self._policies,
            "actions": self._actions,
            "schedules": self._schedules,
            "alarms": self._alarms,
            "dashboards": self._dashboards,
        }.items():
            setattr(self, name, Read(now))

    def acts(self, service: str, operation: str) -> Callable[[Request], Request]:
        there = getattr(self._client(service), operation)
        here = getattr(self, operation, there)

        def act(request: Request) -> Request:
            endpoint = str(request.get("ResourceArn")).startswith(f"{PREFIX}endpoint/")
            if operation in HERE or endpoint:
                return here(request)
            self.check_unused(operation, request)
            done: Request = there(**request)
            return done

        return act

    def make_theirs(self) -> None:
        sagemaker = self._client("sagemaker")
        sagemaker.create_model(ModelName="theirs", ExecutionRoleArn=ROLE, PrimaryContainer={})
        variant = {"VariantName": "a", "ModelName": "theirs", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])

    def _configs(self) -> dict[str, Request]:
        sagemaker = self._client("sagemaker")
        found = sagemaker.list_endpoint_configs()["EndpointConfigs"]
        names = [one["EndpointConfigName"] for one in found]
        return {name: sagemaker.describe_endpoint_config(EndpointConfigName=name) for name in names}

    def _models(self) -> dict[str, Request]:
        sagemaker = self._client("sagemaker")
        names = [one["ModelName"] for one in sagemaker.list_models()["Models"]]
        return {name: sagemaker.describe_model(ModelName=name) for name in names}

    def _targets(self) -> dict[str, Request]:
        found = self._client("application-autoscaling").describe_scalable_targets(**SAGEMAKER)
        return {one["ResourceId"]: one for one in found["ScalableTargets"]}

    def _policies(self) -> dict[tuple[str, str], Request]:
        found = self._client("application-autoscaling").describe_scaling_policies(**SAGEMAKER)
        return {(one["ResourceId"], one["PolicyName"]): one for one in found["ScalingPolicies"]}

    def _actions(self) -> dict[tuple[str, str], Request]:
        found = self._client("application-autoscaling").describe_scheduled_actions(**SAGEMAKER)
        actions = found["ScheduledActions"]
        return {(one["ResourceId"], one["ScheduledActionName"]): one for one in actions}

    def _schedules(self) -> dict[str, Request]:
        scheduler = self._client("scheduler")
        names = [one["Name"] for one in scheduler.list_schedules()["Schedules"]]
        found = {name: scheduler.get_schedule(Name=name) for name in names}
        kept = ("ScheduleExpression", "Target")
        return {name: {key: one[key] for key in kept} for name, one in found.items()}

    def _alarms(self) -> dict[str, Request]:
        found = self._client("cloudwatch").describe_alarms()["MetricAlarms"]
        return {one["AlarmName"]: one for one in found}

    def _dashboards(self) -> dict[str, Request]:
        found = self._client("cloudwatch").list_dashboards()["DashboardEntries"]
        return {one["DashboardName"]: one for one in found}
