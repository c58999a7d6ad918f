"""What changes between an endpoint's actual and desired state, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petbox.sagemaker.endpoint import expiry, names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.desired import Desired
from petbox.sagemaker.endpoint.spec import EndpointSpec, facts
from petbox.sagemaker.shared_options import METRICS_EVERY

DEFAULTS = {"capture_percent": "100", "metrics_every": f"{METRICS_EVERY}"}
ADDED, CHANGED, REMOVED = "+", "~", "-"


@dataclass(frozen=True)
class Difference:
    key: str
    before: str | None
    after: str | None

    @property
    def sign(self) -> str:
        if self.before is None:
            return ADDED
        return REMOVED if self.after is None else CHANGED

    def __str__(self) -> str:
        values = " -> ".join(text for text in (self.before, self.after) if text is not None)
        return f"{self.sign} {self.key}: {values}"

    def shown(self) -> dict[str, str | None]:
        return {"key": self.key, "before": self.before, "after": self.after}


def differences(
    before: EndpointSpec | None, after: EndpointSpec, desired: Desired, actual: Actual
) -> list[Difference]:
    there, wanted = dict(facts(before)), dict(facts(after))
    for name in ("ttl", "ttl_role", "ttl_dead_letters"):
        wanted.pop(name, None)
    there |= expiry.facts(actual.schedule)
    kept = None if desired.drop_schedule else actual.schedule
    wanted |= expiry.facts(desired.schedule or kept)
    if desired.drop_scaling:
        there |= _all_scaling(actual)
    for name, default in DEFAULTS.items():  # which a description lacks
        if before is not None and name not in there and wanted.get(name) == default:
            del wanted[name]
    return list(_between(there, wanted))


def _all_scaling(actual: Actual) -> dict[str, str]:
    """With what petbox did not make: AWS deletes it with the target."""
    found: dict[str, str] = {}
    if actual.scaling is not None:
        found["autoscale"] = f"{actual.scaling['MinCapacity']}..{actual.scaling['MaxCapacity']}"
    for policy in actual.policies:
        if policy["PolicyName"] not in (names.POLICY, names.WAKE):
            found[f"scaling policy {policy['PolicyName']}"] = policy["PolicyType"]
    for action in actual.actions:
        found[f"scheduled action {action['ScheduledActionName']}"] = action["Schedule"]
    return found


def _between(there: Mapping[str, str], wanted: Mapping[str, str]) -> Sequence[Difference]:
    keys = [*wanted, *(key for key in there if key not in wanted)]
    pairs = (Difference(key, there.get(key), wanted.get(key)) for key in keys)
    return [one for one in pairs if one.before != one.after]


def as_text(name: str, found: Sequence[Difference]) -> str:
    counts = {sign: sum(one.sign == sign for one in found) for sign in (ADDED, CHANGED, REMOVED)}
    head = (
        f"endpoint {name}: {counts[ADDED]} to add, {counts[CHANGED]} to change, "
        f"{counts[REMOVED]} to remove"
    )
    return "\n".join([head, *(f"  {one}" for one in found)])
