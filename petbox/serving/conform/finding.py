"""What a check came to: it holds, it fails, or it could not be tried; and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["holds", "fails", "not tried"]


@dataclass(frozen=True)
class Finding:
    outcome: Outcome
    seen: str  # what was seen, or why nothing could be


def holds(seen: str) -> Finding:
    return Finding("holds", seen)


def fails(seen: str) -> Finding:
    return Finding("fails", seen)


def not_tried(why: str) -> Finding:
    return Finding("not tried", why)


def judged(good: bool, seen: object) -> Finding:
    """Holds or fails, with the same thing to show for it."""
    return Finding("holds" if good else "fails", str(seen))
