"""What locks/*.txt holds, read as packaging reads it."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

LOCKS = Path(__file__).resolve().parents[2] / "locks"


def entries(name: str) -> dict[str, set[str]]:
    """Each `name==version` of a lock, with the hashes of its files."""
    found: dict[str, set[str]] = {}
    for entry in re.findall(
        r"^[\w.-]+==.*(?:\n    .*)*", (LOCKS / f"{name}.txt").read_text(), re.M
    ):
        found[entry.split()[0]] = set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
    return found


def packages(name: str) -> set[str]:
    """The names of those that this Python on this machine would install."""
    found = set()
    for line in re.findall(r"^[\w.-]+==[^\\]*", (LOCKS / f"{name}.txt").read_text(), re.M):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            found.add(requirement.name)
    return found
