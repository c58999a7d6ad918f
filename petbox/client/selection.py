"""Which of a model's detections a caller gets: those with enough score, best first, with names."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from petbox import wire
from petbox.client.detections import Detections
from petbox.errors import WireError

if TYPE_CHECKING:
    from petbox.images.photos import Photo

MIN_SCORE = 0.5  # of detections, if the model has no thresholds of its own


def selected(
    photo: Photo,
    found: Sequence[wire.Detection],
    names: Mapping[int, str],
    min_score: float | None,
) -> Detections:
    if not all(math.isfinite(number) for one in found for number in (one.score, *one.box)):
        raise WireError(
            f"{photo.name}: the model returns NaN or Infinity, so it is broken; train it again"
        )
    kept = [_named(one, names) for one in found if one.score >= _lowest(one, min_score)]
    return Detections.of(photo, sorted(kept, key=lambda one: -one.score))


def _named(one: wire.Detection, names: Mapping[int, str]) -> wire.Detection:
    """With the caller's name or else the model's, and the numbers that a server would print."""
    ymin, xmin, ymax, xmax = map(_as_served, one.box)
    name = names.get(one.label) or one.name
    return replace(one, score=_as_served(one.score), box=(ymin, xmin, ymax, xmax), name=name)


def _as_served(number: float) -> float:
    """A float32 in the digits of TensorFlow Serving: six if they tell it apart, else nine.

    So a model in this process returns the very numbers that it returns behind a server.
    """
    short = float(f"{number:.6g}")
    one, other = array("f", (short, number))
    return short if one == other else float(f"{number:.9g}")


def _lowest(one: wire.Detection, min_score: float | None) -> float:
    if min_score is not None:
        return min_score
    return MIN_SCORE if one.threshold is None else one.threshold
