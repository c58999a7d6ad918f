"""Which versions of a model are on disk, which should be served, and the next step towards that.

The next step follows TensorFlow Serving's AvailabilityPreservingPolicy: a version is unloaded only
when a desired one serves in its place, so a switch leaves no gap.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


@dataclass(frozen=True)
class Policy:
    """The latest few versions, specific ones, or (with neither) all."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def desired(self, found: Collection[int]) -> set[int]:
        if self.specific:
            return set(found) & self.specific
        return set(sorted(found)[-self.latest :]) if self.latest else set(found)


LATEST = Policy()


class Step(NamedTuple):
    action: Literal["load", "unload"]
    version: int


def on_disk(base_path: Path) -> dict[int, Path]:
    """The version folders; anything else, such as `8.tmp`, is ignored."""
    folders = sorted(p for p in base_path.iterdir() if re.fullmatch(r"-?[0-9]+", p.name))
    numbered = {int(p.name): p for p in folders if p.is_dir()}
    return {number: p for number, p in numbered.items() if -(2**63) <= number < 2**63}


def next_step(states: Mapping[int, State], desired: Collection[int]) -> Step | None:
    """The next step; a desired version is only loaded in state START."""
    available = {version for version, state in states.items() if state == "AVAILABLE"}
    surplus = available - set(desired)
    if surplus and (not desired or available & set(desired) or len(surplus) > 1):
        return Step("unload", min(surplus))
    new = [version for version in desired if states.get(version) == "START"]
    return Step("load", max(new)) if new else None
