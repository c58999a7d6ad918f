"""How long a campaign is: short in `make test`, whole in `make soak`."""

from __future__ import annotations

import os


def count(short: int, whole: int) -> int:
    """How often to do it; the test has the mark `soak`, by which `make soak` finds it."""
    return whole if os.environ.get("PETBOX_SOAK") else short
