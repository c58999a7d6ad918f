"""`petbox conform` as tests run it, and what its JSON reports."""

from __future__ import annotations

import json
import subprocess

CONFORM = ("-m", "petbox", "conform")


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {line["name"]: line["outcome"] for line in json.loads(done.stdout)["lines"]}


def failing(done: subprocess.CompletedProcess[str], level: str = "sagemaker") -> dict[str, str]:
    """What was seen of each line of this level that fails."""
    lines = json.loads(done.stdout)["lines"]
    bad = [one for one in lines if one["outcome"] == "fails" and one["level"] == level]
    return {line["name"]: line["seen"] for line in bad}
