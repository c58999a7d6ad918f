"""A picture's truth beside what a detector found in it: all that an evaluation is made from.

Whichever detector it was. The picture itself is not here, for thousands are compared at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from petbox.wire import Box, Detection


@dataclass(frozen=True)
class Truth:
    """One animal that is there."""

    label: int
    box: Box
    crowd: bool = False  # one box around many, which counts neither for nor against a detector


@dataclass(frozen=True)
class Compared:
    """One picture of a split; boxes are in fractions of it."""

    number: int  # its record's source_id
    width: int
    height: int
    truth: tuple[Truth, ...]
    found: tuple[Detection, ...]
