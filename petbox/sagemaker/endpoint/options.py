"""The options of `petbox endpoint up`: the desired state, and how to get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from petbox.cli.options import Json, Value, flag
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint import deployment
from petbox.sagemaker.endpoint.cost import PricePerHour
from petbox.sagemaker.endpoint.spec import EndpointSpec


@dataclass(frozen=True)
class UpOptions(EndpointSpec):
    canary: Annotated[
        str | None,
        "update: move this share of the capacity first, as in 10%%, then the rest",
        Value("PERCENT", deployment.percent(1, 50)),
    ] = None
    linear: Annotated[
        str | None,
        "update: in equal steps, as in 25%%",
        Value("PERCENT", deployment.percent(10, 50)),
    ] = None
    rolling: Annotated[
        str | None,
        "update: in batches of instances, as in 20%%; needs the least spare capacity",
        Value("PERCENT", deployment.percent(5, 50)),
    ] = None
    baking: Annotated[
        str | None,
        f"update: time to watch after each step (default: {deployment.BAKING})",
        Value("TIME", deployment.check_baking),
    ] = None
    alarm: Annotated[
        tuple[str, ...], "update: roll back if this CloudWatch alarm fires", "NAME"
    ] = ()
    price_per_hour: PricePerHour = ()
    every: shared.Every = 10.0
    json: Json = False
    yes: Annotated[bool, "remove what --no-FLAG removes without asking"] = False
    dry_run: Annotated[bool, "print the calls as JSON; change nothing"] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = [name for name in ("canary", "linear", "rolling") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{flag(self, ways[0])} and {flag(self, ways[1])} exclude each other")
        if self.baking is not None and not (ways or self.alarm):
            raise ValueError("--baking requires --canary, --linear, --rolling or --alarm")
        if len(self.alarm) > deployment.MOST_ALARMS:
            raise ValueError(f"--alarm: SageMaker takes at most {deployment.MOST_ALARMS}")
