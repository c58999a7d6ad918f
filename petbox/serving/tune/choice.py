"""Which settings are tried, and which of them is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from petbox.serving.tune.load import Level

INTRA, INTER = (f"SAGEMAKER_TFS_{name}_OP_PARALLELISM" for name in ("INTRA", "INTER"))
BATCHING = "SAGEMAKER_TFS_ENABLE_BATCHING"
BATCH_SIZE, BATCH_WAIT = "SAGEMAKER_TFS_MAX_BATCH_SIZE", "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS"
SLOTS = "PETBOX_MAX_IN_FLIGHT"
MOST_SLOTS = 32  # container/serve's default
NOISE = 0.05  # a setting must be so much better than the default


@dataclass(frozen=True)
class Setting:
    name: str
    variables: Mapping[str, str]


@dataclass
class Curve:
    setting: Setting
    levels: list[Level] = field(default_factory=list)
    beaten: bool = False  # by one measured beside it, which may be measured again


def threads(cpus: int) -> list[Setting]:
    """All threads for each op, the default, and one."""
    common = {INTER: str(cpus), BATCHING: "false", SLOTS: str(MOST_SLOTS)}
    counts = [cpus, 1] if cpus > 1 else [1]
    return [
        Setting(f"{count} thread{'s' * (count > 1)} an op", {INTRA: str(count), **common})
        for count in counts
    ]


def batching(setting: Setting, size: int) -> Setting:
    more = {BATCHING: "true", BATCH_SIZE: str(size), BATCH_WAIT: "0"}
    return Setting(f"{setting.name}, batches of {size}", {**setting.variables, **more})


def with_slots(setting: Setting, slots: int) -> Setting:
    return Setting(f"{setting.name}, {slots} slots", {**setting.variables, SLOTS: str(slots)})


def score(levels: Sequence[Level], limit: float | None) -> float:
    """With a limit of p99, the highest rate within it, else the geometric mean of all rates.

    The mean weighs a single request's latency, which is the rate of one connection, as much as the
    throughput under load.
    """
    if limit is not None:
        return max((one.rate for one in within(levels, limit)), default=0.0)
    rates = [one.rate for one in levels]
    return math.exp(sum(map(math.log, rates)) / len(rates)) if rates and min(rates) > 0 else 0.0


def within(levels: Sequence[Level], limit: float) -> list[Level]:
    return [one for one in levels if one.p99 <= limit and not one.failed]


def best(curves: Sequence[Curve], limit: float | None) -> Curve:
    """The best curve; the first one, the default, unless another is clearly better.

    Compares the numbers of connections that all curves have.
    """
    common = set.intersection(*({one.connections for one in curve.levels} for curve in curves))

    def scored(curve: Curve) -> float:
        return score([one for one in curve.levels if one.connections in common], limit)

    first, found = curves[0], max(curves, key=scored)
    return found if scored(found) > (1 + NOISE) * scored(first) else first


def saturating(levels: Sequence[Level]) -> int:
    """The least number of connections that gets the whole throughput, but more than one."""
    most = max(one.rate for one in levels)
    enough = next(one.connections for one in levels if one.rate >= (1 - NOISE) * most)
    return max(enough, 2)


def fewer_slots_do(fewer: Level, most: Level) -> bool:
    return fewer.rate >= (1 - NOISE) * most.rate and fewer.failed <= most.failed
