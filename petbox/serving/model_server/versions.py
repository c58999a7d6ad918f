"""Which versions of a model are on disk, which of them are wanted, and what to do next about it.

Pure but for one listing of a folder. The next step follows TensorFlow Serving's
AvailabilityPreservingPolicy: a version is unloaded only when a wanted one serves in its place,
so that a switch leaves no gap.
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
    """The newest few, certain ones, or (with neither) all that are there."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def wanted(self, found: Collection[int]) -> set[int]:
        if self.specific:
            return set(found) & self.specific
        return set(sorted(found)[-self.latest :]) if self.latest else set(found)


LATEST = Policy()


class Step(NamedTuple):
    verb: Literal["load", "unload"]
    version: int


def on_disk(base_path: Path) -> dict[int, Path]:
    """The version folders; whatever else is there, such as `8.tmp`, is left alone."""
    folders = sorted(p for p in base_path.iterdir() if re.fullmatch(r"-?[0-9]+", p.name))
    numbered = {int(p.name): p for p in folders if p.is_dir()}
    return {number: p for number, p in numbered.items() if -(2**63) <= number < 2**63}


def next_step(states: Mapping[int, State], wanted: Collection[int]) -> Step | None:
    """The next thing to do for versions in `states`; a wanted one is loaded from START only."""
    serving = {version for version, state in states.items() if state == "AVAILABLE"}
    surplus = serving - set(wanted)
    if surplus and (not wanted or serving & set(wanted) or len(surplus) > 1):
        return Step("unload", min(surplus))
    fresh = [version for version in wanted if states.get(version) == "START"]
    return Step("load", max(fresh)) if fresh else None
