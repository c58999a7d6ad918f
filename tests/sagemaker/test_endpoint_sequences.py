"""Random sequences of up, failure, interruption and down: nothing unnamed is ever removed, scaling
and expiry are as last said, and nothing is left after `down`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.endpoint_aws import IMAGE, ROLE
from support.sagemaker_simulator import NOW, Killed, Simulator, rejected
from support.soak import count

from petbox.aws.session import Account
from petbox.errors import PetboxError
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import describe
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.change import carry_out, prepare
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import removal

COMMANDS = 8
RESOURCE = names.scaled("pets")["ResourceId"]
THEIRS = {
    "PolicyName": "theirs",
    "PolicyARN": "arn:policy/theirs",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 9.0},
    "CreationTime": NOW,
    **names.scaled("pets"),
}
MORNINGS = {"ScheduledActionName": "mornings", "CreationTime": NOW, **names.scaled("pets")}
FLAGS: dict[str, tuple[Any, ...]] = {
    "ttl": ("2h", False),
    "autoscale": ("1..4", "2..6", False),
    "instance_type": ("ml.m5.large", "ml.g5.xlarge"),
    "env": (("A=1",), ("A=2",)),
    "capture": ("s3://pets-bucket/seen", False),
    "alarms": (900, 2000, False),
}


class Simulated(Account):
    def __init__(self, simulator: Simulator) -> None:
        self.client = simulator.clients  # type: ignore[assignment]

    def check_image_region(self, image: str) -> None:
        pass


@dataclass
class Sequence:
    """`said` is what the user last asked for, by flag."""

    random: random.Random
    simulator: Simulator = field(default_factory=Simulator)
    said: dict[str, Any] = field(default_factory=dict)
    asynchronous: bool = False
    with_third_parties: bool = True  # a killed process cannot restore their scaling

    def up(self) -> None:
        flags = {
            name: self.random.choice(values)
            for name, values in FLAGS.items()
            if self.random.random() < 0.35
        }
        if self.asynchronous:
            flags["async_"] = "s3://pets-bucket/answers"
            if flags.get("autoscale") and self.random.random() < 0.5:
                flags["autoscale"] = "0..4"
        if flags.get("autoscale"):
            flags["target"] = 70.0
        before = self._facts()
        stood = self._stands()
        killed = self._fault()
        while not self._try_up(flags):
            self._check_unnamed(flags, before, stood=stood, killed=killed)
            self.simulator.dead = False
        self.simulator.fault, self.simulator.next_fails = None, False
        self.said |= flags
        self._check_said()
        if stood and not flags.get("autoscale"):
            assert self._facts()["running"] == before["running"]

    def _try_up(self, flags: Mapping[str, Any]) -> bool:
        options = UpOptions("pets", image=IMAGE, role=ROLE, **flags)
        account = Simulated(self.simulator)
        try:
            carry_out(account, prepare(account, options, pushed=False), 0)
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
        assert set(simulator.configs) == set(simulator.models) == {"theirs"}
        self.said.clear()

    def load(self) -> None:
        """Scaling follows the load, and somebody adds a policy of their own."""
        if (target := self.simulator.targets.get(RESOURCE)) is None or not self._stands():
            return
        least, most = max(1, target["MinCapacity"]), target["MaxCapacity"]
        self.simulator.endpoints["pets"].running = self.random.randint(least, most)
        if self.with_third_parties:
            self.simulator.policies[RESOURCE, "theirs"] = THEIRS
            self.simulator.actions[RESOURCE, "mornings"] = MORNINGS

    def _stands(self) -> bool:
        one = self.simulator.endpoints.get("pets")
        return one is not None and one.status == "InService"

    def _facts(self) -> dict[str, Any]:
        simulator = self.simulator
        target = simulator.targets.get(RESOURCE)
        endpoint = simulator.endpoints.get("pets")
        return {
            "schedule": simulator.schedules.get("petbox-pets"),
            "bounds": target and f"{target['MinCapacity']}..{target['MaxCapacity']}",
            "policies": {name for where, name in simulator.policies if where == RESOURCE},
            "actions": {name for where, name in simulator.actions if where == RESOURCE},
            "alarms": {alarm for alarm in simulator.alarms if not alarm.endswith("-wake")},
            "wakes": simulator.alarms.get("petbox-pets-wake", {}).get("AlarmActions"),
            "running": endpoint and endpoint.running,
        }

    def _check_unnamed(
        self, flags: Mapping[str, Any], before: dict[str, Any], *, stood: bool, killed: bool
    ) -> None:
        """After a command that failed: what it did not name is as it was."""
        now = self._facts()
        if "ttl" not in flags:
            assert now["schedule"] == before["schedule"]
        if "alarms" not in flags:
            assert now["alarms"] == before["alarms"]
        if stood and self._stands() and not killed and "autoscale" not in flags:
            for what in ("bounds", "policies", "actions", "running"):
                assert now[what] == before[what], what
        assert "theirs" in self.simulator.configs and "theirs" in self.simulator.models

    def _check_said(self) -> None:
        now, said = self._facts(), self.said
        assert self._stands()
        assert (now["schedule"] is not None) == bool(said.get("ttl"))
        assert now["bounds"] == (said.get("autoscale") or None)
        assert ("petbox" in now["policies"]) == bool(said.get("autoscale"))
        wake = self.simulator.policies.get((RESOURCE, names.WAKE))
        assert (wake is not None) == (now["wakes"] is not None) == (now["bounds"] == "0..4")
        assert wake is None or now["wakes"] == [wake["PolicyARN"]]
        assert len(now["alarms"]) == (3 if said.get("alarms") else 0)
        assert len(self.simulator.filters) == (1 if said.get("alarms") else 0)
        simulator = self.simulator
        config = simulator.configs[simulator.endpoints["pets"].config]
        model = simulator.models[config["ProductionVariants"][0]["ModelName"]]
        environment = model["PrimaryContainer"].get("Environment", {})
        assert environment == {"A": said["env"][0][2:]} if "env" in said else not environment
        assert config.get("DataCaptureConfig", {}).get("DestinationS3Uri") == (
            said.get("capture") or None
        )
        variant = config["ProductionVariants"][0]
        assert variant["InstanceType"] == said.get("instance_type", "ml.m5.xlarge")
        assert len(simulator.configs) == len(simulator.models) == 2  # this one and theirs
        (tags,) = (t for arn, t in simulator.tags.items() if arn.endswith("endpoint/pets"))
        assert set(tags) == {names.OWNER}


@pytest.mark.soak
def test_nothing_unnamed_is_removed_and_nothing_is_left() -> None:
    for seed in range(count(short=8, whole=200)):
        print(f"seed {seed}")
        sequence = Sequence(random.Random(seed), with_third_parties=bool(seed % 3))
        sequence.asynchronous = bool(seed % 2)
        sequence.simulator.create_model({"ModelName": "theirs"})
        sequence.simulator.create_endpoint_config({"EndpointConfigName": "theirs"})
        for _ in range(COMMANDS):
            sequence.up()
            sequence.load()
            if sequence.random.random() < 0.1:
                sequence.down()
        sequence.down()
