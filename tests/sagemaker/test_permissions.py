"""The documents' tables of permissions, and how they are compared with what each run calls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import permissions
from support.permissions import DOCS, PAGES, Run, Seen, allowed, iam_actions


def run_of(variable: dict[str, str]) -> str:
    return f"Boto3/1 app/{variable[permissions.RUN]} petbox/1"


def rejected(variable: dict[str, str], action: str) -> bool:
    seen = Seen()
    seen.add(action, run_of(variable))
    try:
        seen.check()
    except AssertionError as error:
        assert action in str(error)
        return True
    return False


def test_a_flag_allows_what_its_row_lists_and_no_other_flag_does(tmp_path: Path) -> None:
    env = {"AWS_ENDPOINT_URL": "http://exact"}
    bare = permissions.begin(["endpoint", "up", "bare"], env)
    assert not rejected(bare, "CreateModel")
    for action in ("PutMetricAlarm", "CreateSchedule", "RegisterScalableTarget"):
        assert rejected(bare, action)
    typed = permissions.begin(["endpoint", "up", "timed", "--ttl", "2h"], env)
    assert not rejected(typed, "CreateSchedule") and rejected(typed, "PutMetricAlarm")
    file = tmp_path / "pets.toml"
    file.write_text('name = "filed"\nalarms = 900\nscaling = "1..2"\n')
    filed = permissions.begin(["deploy", str(file)], env)
    assert not rejected(filed, "PutMetricAlarm") and not rejected(filed, "PutScalingPolicy")
    assert rejected(filed, "GetAuthorizationToken"), "of an image that is built"
    file.write_text('name = "built"\nimage = "build"\n')
    assert not rejected(permissions.begin(["deploy", str(file)], env), "GetAuthorizationToken")


def test_what_an_endpoint_was_made_with_may_be_deleted_with_it() -> None:
    env = {"AWS_ENDPOINT_URL": "http://later"}
    permissions.begin(["endpoint", "up", "alarmed", "--alarms", "900", "--dry-run"], env)
    later = permissions.begin(["endpoint", "down", "alarmed"], env)
    assert not rejected(later, "DeleteAlarms") and rejected(later, "DeleteSchedule")
    assert rejected(later, "GetProducts"), "--dry-run was another command's"
    assert rejected(permissions.begin(["endpoint", "down", "other"], env), "DeleteAlarms")


def test_a_row_that_no_run_uses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "used", set())
    left = permissions.unused()
    assert "up: CreateModel" in left and "--ttl: CreateSchedule" in left
    assert "up, down: DeleteModel" in left
    assert not [one for one in left if "PassRole" in one]
    seen = Seen()
    seen.add("CreateModel", run_of(permissions.begin(["endpoint", "up", "a"], {})))
    seen.check()
    assert "up: CreateModel" not in permissions.unused()


def test_what_no_run_uses_is_listed_with_a_reason_and_still_in_the_tables() -> None:
    listed = {f"{cell}: {one}" for cell, (more, _) in permissions.tables().items() for one in more}
    listed |= {one.rpartition(" ")[2] for one in listed}
    assert permissions.UNUSED.keys() <= listed


def test_every_action_is_one_of_iams() -> None:
    seen = 0
    for page in PAGES:
        section = (DOCS / page).read_text().split("## Permissions")[1].split("\n## ")[0]
        for cell in re.findall(r"^\| .+? \| (.+) \|$", section, re.MULTILINE):
            service = ""
            for word in re.findall(r"`([\w-]+:?[A-Z]?\w*)`", cell):
                prefix, colon, action = word.rpartition(":")
                service = prefix if colon else service
                if action[:1].isupper():
                    seen += 1
                    assert action.lower() in iam_actions()[service]["Actions"], f"{page}: {word}"
    assert seen > 150


def test_the_included_rows_are_those_of_the_same_flags() -> None:
    assert "CreateModel" in allowed(Run("deploy"))
    assert "CreateModelPackage" not in allowed(Run("deploy"))
    assert allowed(Run("status")) <= allowed(Run("watch"))
