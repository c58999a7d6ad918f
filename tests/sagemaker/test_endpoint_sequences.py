"""Random sequences of up, failure, interruption and down: nothing unnamed is ever removed, scaling
and expiry are as last said, and nothing is left after `down`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.endpoint_aws import IMAGE, ROLE, AwsProxy
from support.sagemaker_simulator import Killed, Simulator, rejected
from support.simulator_on_moto import SimulatorOnMoto
from support.soak import count

from petbox.aws.session import Account
from petbox.errors import PetboxError
from petbox.sagemaker.endpoint import names, sizes
from petbox.sagemaker.endpoint.actual import describe
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.change import carry_out, prepare
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import removal

COMMANDS = 8
MOST_ATTEMPTS = 5  # of one command; a fault comes once
THEIRS = {
    "PolicyName": "theirs",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 9.0},
}
MORNINGS = {"ScheduledActionName": "mornings", "Schedule": "cron(0 7 * * ? *)"}
KINDS = ("real-time", "asynchronous", "component", "serverless")
FLAGS: dict[str, tuple[Any, ...]] = {
    "ttl": ("2h", False),
    "autoscale": ("1..4", "2..6", False),
    "instance_type": ("ml.m5.large", "ml.g4dn.xlarge"),
    "env": (("A=1",), ("A=2",)),
    "capture": ("s3://pets-bucket/seen", False),
    "alarms": (900, 2000, False),
    "metrics_every": (10, 0, False),
    "dashboard": (True, False),
}
NOT_SERVERLESS = ("autoscale", "instance_type", "capture", "metrics_every")


class Simulated(Account):
    def __init__(self, simulator: Simulator) -> None:
        self.client = simulator.clients  # type: ignore[assignment]

    def check_image_region(self, image: str) -> None:
        pass


@dataclass
class Commands:
    """`said` is what the user last asked for, by flag."""

    random: random.Random
    simulator: Simulator = field(default_factory=Simulator)
    said: dict[str, Any] = field(default_factory=dict)
    kind: str = "real-time"
    with_third_parties: bool = True  # a killed process cannot restore their scaling

    def up(self) -> None:
        flags = {
            name: self.random.choice(values)
            for name, values in FLAGS.items()
            if self.random.random() < 0.35 and name not in self.simulator.lacks
        }
        if self.kind == "asynchronous":
            flags["async_"] = "s3://pets-bucket/answers"
        elif self.kind == "component":
            self._choose_component(flags)
        elif self.kind == "serverless":
            flags = {key: one for key, one in flags.items() if key not in NOT_SERVERLESS}
            flags["serverless"] = "4096,5"
            if self.random.random() < 0.5:
                flags["provisioned_concurrency"] = self.random.choice((2, 3, False))
        if flags.get("autoscale") and self.kind != "real-time" and self.random.random() < 0.5:
            flags["autoscale"] = "0..4"
        if flags.get("autoscale"):
            flags["target"] = 70.0
        before = self._facts()
        stood = self._stands()
        killed = self._fault()
        for _ in range(MOST_ATTEMPTS):
            if self._try_up(flags):
                break
            self._check_unnamed(flags, before, stood=stood, killed=killed)
            self.simulator.dead = False
        else:
            raise AssertionError(f"{flags}: never succeeds")
        self.simulator.fault, self.simulator.next_fails = None, False
        self.said |= flags
        self._check_said()
        if stood and not flags.get("autoscale"):
            assert self._facts()["running"] == before["running"]

    def _choose_component(self, flags: dict[str, Any]) -> None:
        """It has scaling at all times."""
        if flags.get("autoscale") is False:
            del flags["autoscale"]
        if "component" not in self.said:
            flags["autoscale"] = flags.get("autoscale", "0..4")
        if "component" not in self.said or self.random.random() < 0.3:
            flags["component"] = self.random.choice(("2048,1", "4096,2"))

    @property
    def _scaled(self) -> dict[str, str]:
        return names.scaled("pets", component=self.kind == "component")

    def _try_up(self, flags: Mapping[str, Any]) -> bool:
        options = UpOptions("pets", image=IMAGE, role=ROLE, **flags)
        account = Simulated(self.simulator)
        try:
            carry_out(account, prepare(account, options, built=lambda _: None), 0)
        except (PetboxError, SystemExit, Killed):
            return False
        return True

    def _fault(self) -> bool:
        kind = self.random.choices(
            ["none", "rollback", "throttled", "interrupted", "killed"], [5, 2, 2, 1, 1]
        )[0]
        simulator = self.simulator
        simulator.changes_before_fault = self.random.randrange(8)
        simulator.next_fails = kind == "rollback"

        def throttle() -> None:
            raise rejected("Rate exceeded", "ThrottlingException")

        def interrupt() -> None:
            raise KeyboardInterrupt

        def kill() -> None:
            simulator.dead = True
            raise Killed

        faults = {"throttled": throttle, "interrupted": interrupt}
        if not self.with_third_parties:
            faults["killed"] = kill
        simulator.fault = faults.get(kind)
        return kind == "killed" and not self.with_third_parties

    def down(self) -> None:
        self.simulator.changes_before_fault = self.random.randrange(4)
        account = Simulated(self.simulator)
        for _ in range(2):
            try:
                steps = removal("pets", describe(account.client, "pets"))
                Apply(account.client, "pets", lambda: None).all(steps)
            except PetboxError:
                continue
        simulator = self.simulator
        for kept in (simulator.endpoints, simulator.targets, simulator.policies):
            assert not kept
        assert not (simulator.schedules or simulator.alarms or simulator.filters)
        assert not (simulator.components.by_name or simulator.dashboards)
        assert set(simulator.configs) == set(simulator.models) == {"theirs"}
        self.said.clear()

    def load(self) -> None:
        """Scaling follows the load, and somebody adds a policy of their own."""
        resource = self._scaled["ResourceId"]
        if (target := self.simulator.targets.get(resource)) is None or not self._stands():
            return
        least, most = max(1, target["MinCapacity"]), target["MaxCapacity"]
        self.simulator.endpoints["pets"].running = self.random.randint(least, most)
        if self.kind == "component":
            copies = self.random.randint(target["MinCapacity"], most)
            self.simulator.components.by_name["pets"].copies = copies
        if self.with_third_parties:
            client = self.simulator.clients("application-autoscaling")
            client.put_scaling_policy(**self._scaled, **THEIRS)
            client.put_scheduled_action(**self._scaled, **MORNINGS)

    def _stands(self) -> bool:
        one = self.simulator.endpoints.get("pets")
        return one is not None and one.status == "InService"

    def _facts(self) -> dict[str, Any]:
        simulator = self.simulator
        resource = self._scaled["ResourceId"]
        target = simulator.targets.get(resource)
        endpoint = simulator.endpoints.get("pets")
        component = simulator.components.by_name.get("pets")
        return {
            "schedule": simulator.schedules.get("petbox-pets"),
            "bounds": target and f"{target['MinCapacity']}..{target['MaxCapacity']}",
            "policies": {name for where, name in simulator.policies if where == resource},
            "actions": {name for where, name in simulator.actions if where == resource},
            "dashboard": set(simulator.dashboards),
            "alarms": {alarm for alarm in simulator.alarms if not alarm.endswith("-wake")},
            "wakes": simulator.alarms.get("petbox-pets-wake", {}).get("AlarmActions"),
            "running": endpoint and endpoint.running,
            "copies": component and component.copies,
            "of_copy": component
            and component.request["Specification"]["ComputeResourceRequirements"],
        }

    def _check_unnamed(
        self, flags: Mapping[str, Any], before: dict[str, Any], *, stood: bool, killed: bool
    ) -> None:
        """After a command that failed: what it did not name is as it was."""
        now = self._facts()
        if "ttl" not in flags:
            assert now["schedule"] == before["schedule"]
        if "dashboard" not in flags:
            assert now["dashboard"] == before["dashboard"]
        if "alarms" not in flags:
            assert now["alarms"] == before["alarms"]
        if stood and self._stands() and not killed and "autoscale" not in flags:
            for what in ("bounds", "policies", "actions", "running", "copies"):
                assert now[what] == before[what], what
        if stood and "component" not in flags:
            assert now["of_copy"] == before["of_copy"]
        assert "theirs" in self.simulator.configs and "theirs" in self.simulator.models

    def _check_said(self) -> None:
        now, said = self._facts(), self.said
        assert self._stands()
        assert (now["schedule"] is not None) == bool(said.get("ttl"))
        assert now["bounds"] == (said.get("autoscale") or None)
        assert ("petbox" in now["policies"]) == bool(said.get("autoscale"))
        wake = self.simulator.policies.get((self._scaled["ResourceId"], names.WAKE))
        assert (wake is not None) == (now["wakes"] is not None) == (now["bounds"] == "0..4")
        assert wake is None or now["wakes"] == [wake["PolicyARN"]]
        assert len(now["alarms"]) == (3 if said.get("alarms") else 0)
        assert len(now["dashboard"]) == (1 if said.get("dashboard") else 0)
        assert len(self.simulator.filters) == (1 if said.get("alarms") else 0)
        simulator = self.simulator
        config = simulator.configs[simulator.endpoints["pets"].config]
        variant = config["ProductionVariants"][0]
        model = simulator.models[variant.get("ModelName") or self._check_component()]
        environment = model["PrimaryContainer"].get("Environment", {})
        assert environment == {"A": said["env"][0][2:]} if "env" in said else not environment
        assert config.get("DataCaptureConfig", {}).get("DestinationS3Uri") == (
            said.get("capture") or None
        )
        metrics = config.get("MetricsConfig", {})
        every, scraped = said.get("metrics_every"), metrics.get("EnableDetailedObservability", True)
        assert metrics.get("MetricPublishFrequencyInSeconds") == (every or None)
        assert scraped == (every is False or every != 0)
        if self.kind == "serverless":
            ready = variant["ServerlessConfig"].get("ProvisionedConcurrency")
            assert ready == (said.get("provisioned_concurrency") or None)
        else:
            assert variant["InstanceType"] == said.get("instance_type", "ml.m5.xlarge")
        assert len(simulator.configs) == len(simulator.models) == 2  # this one and theirs
        (tags,) = (t for arn, t in simulator.tags.items() if arn.endswith("endpoint/pets"))
        assert set(tags) == {names.OWNER, *([names.EXPIRES] if said.get("ttl") else [])}

    def _check_component(self) -> str:
        """The name of its model."""
        (one,) = self.simulator.components.by_name.values()
        specification: dict[str, Any] = one.request["Specification"]
        resources = sizes.of_copy(self.said["component"])
        assert (one.status, specification["ComputeResourceRequirements"]) == (
            "InService",
            resources,
        )
        return str(specification["ModelName"])


@pytest.mark.soak
def test_nothing_unnamed_is_removed_and_nothing_is_left() -> None:
    run(range(count(short=8, whole=200)), KINDS, Simulator)


@pytest.mark.soak
def test_the_same_with_moto(aws: AwsProxy) -> None:
    """Which has no inference components."""
    kinds = [kind for kind in KINDS if kind != "component"]
    commands = count(short=3, whole=COMMANDS)
    run(range(count(short=1, whole=100)), kinds, lambda: SimulatorOnMoto(aws), commands)


def run(
    seeds: Iterable[int],
    kinds: Sequence[str],
    simulator: Callable[[], Simulator],
    commands: int = COMMANDS,
) -> None:
    for seed in seeds:
        print(f"seed {seed}")
        sequence = Commands(random.Random(seed), simulator(), with_third_parties=bool(seed % 3))
        sequence.kind = kinds[seed % len(kinds)]
        sequence.simulator.make_theirs()
        for _ in range(commands):
            sequence.up()
            sequence.load()
            if sequence.random.random() < 0.1:
                sequence.down()
        sequence.down()
