"""The detections of one image, as the Lambda functions return them in JSON."""

from __future__ import annotations

from typing import Any

from petbox.client.detections import Detections


def summary(found: Detections) -> dict[str, Any]:
    """The best detection first, boxes in fractions of the upright image."""
    best = found[0] if found else None
    return {
        "class": best.name if best else None,
        "confidence": best.score if best else None,
        "detections": found.to_dict()["detections"],
        "width": found.width,
        "height": found.height,
    }
