"""docs/workflows: their commands, variables and roles agree; scripts/check.sh runs actionlint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load
from conftest import CHECKOUT
from support.permissions import Run, allowed
from test_docs import flags, options_of, program_of, words

FOLDER = CHECKOUT / "docs/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def workflow(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(load(str(path))))
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in workflow(path)["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_our_programs_have_the_options_that_are_typed(path: Path) -> None:
    seen = 0
    for step in steps(path):
        typed = words(re.sub(r".*\$\((.*)\).*", r"\1", step.get("run", "")))
        if program := program_of(typed):
            seen += 1
            assert set(flags(typed)) <= options_of(program), step["name"]
    assert seen


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_only_a_job_in_an_environment_gets_a_token(path: Path) -> None:
    """The roles trust environments, so that a pull request cannot assume them."""
    found = workflow(path)
    assert found["permissions"] == {"contents": "read"}
    roles = json.dumps(load(str(FOLDER / "roles.yaml")))
    for job in found["jobs"].values():
        assert ("id-token" in job.get("permissions", {})) == ("environment" in job)
        if "environment" in job:
            assert f'repo:${{Repository}}:environment:{job["environment"]}"' in roles


def test_the_page_lists_every_variable_with_its_environment() -> None:
    used = set()
    for path in WORKFLOWS:
        for job in workflow(path)["jobs"].values():
            names = re.findall(r"vars\.(\w+)", json.dumps(job))
            used |= {(name, job["environment"]) for name in names}
    page = (CHECKOUT / "docs/github.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)` \| `(\w+)` \|", page, re.M)) == used


def test_the_roles_may_do_what_the_commands_need() -> None:
    may = {
        name: set(re.findall(r'"[\w-]+:([A-Z]\w+)"', json.dumps(role["Properties"]["Policies"])))
        for name, role in load(str(FOLDER / "roles.yaml"))["Resources"].items()
        if role["Type"] == "AWS::IAM::Role"
    }
    assert allowed(Run("push_ecr.sh")) <= may["BuildRole"]
    of_setup = {"GetRole", "ListRoles", "GetRolePolicy"}  # the workflow names its role
    needed = allowed(Run("up")) - of_setup - {"DeleteEndpoint"}
    assert (
        needed | {"PutMetricAlarm", "PutMetricFilter", "InvokeEndpoint", "Invoke"}
        <= may["DeployRole"]
    )
