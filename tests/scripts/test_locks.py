"""locks/*.txt: one version of a package everywhere, every file by its hash, no address."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.locks import LOCKS, entries, packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

NAMES = sorted(path.stem for path in LOCKS.iterdir())


def project() -> Any:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def closure(*extras: str) -> set[str]:
    """All that these extras of petbox require, without what pyproject.toml overrides."""
    stated = project()
    overridden = {Requirement(r).name for r in stated["tool"]["uv"]["override-dependencies"]}
    found: set[tuple[str, str]] = set()

    def add(requirement: Requirement) -> None:
        for extra in requirement.extras or {""}:
            name = canonicalize_name(requirement.name)
            if name in overridden or (name, extra) in found:
                continue
            found.add((name, extra))
            if name == "petbox":
                needs = stated["project"]["optional-dependencies"].get(extra, [])
            else:
                needs = requires(name) or []
            for need in map(Requirement, needs):
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    add(need)

    add(Requirement(f"petbox[{','.join(extras)}]"))
    return {name for name, _ in found} - {"petbox"}


def test_the_licenses_of_all_are_listed(tmp_path: Path) -> None:
    locks = [f"locks/{name}.txt" for name in NAMES]
    for path in ("scripts/licenses.py", "docs/licenses.md", *locks):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / path, tmp_path / path)
    script = [sys.executable, str(tmp_path / "scripts/licenses.py")]
    page = (tmp_path / "docs/licenses.md").read_text()
    assert subprocess.run(script, timeout=60).returncode == 0
    assert (tmp_path / "docs/licenses.md").read_text() == page
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", page, re.M))
    del rows["package"]
    assert set(rows) == {entry.partition("==")[0] for name in NAMES for entry in entries(name)}
    needs_a_look = {name for name, text in rows.items() if re.search(r"GPL|not stated", text)}
    assert [name for name in needs_a_look if f"`{name}`" not in page] == []
    with (tmp_path / "locks/dev.txt").open("a") as lock:
        lock.write("nosuch==1\n")
    failed = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: nosuch: not installed here, and without a row")


def test_each_dependency_group_has_a_lock() -> None:
    assert set(NAMES) == {"dev", "train", *project()["dependency-groups"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_names_no_host(name: str) -> None:
    assert "://" not in (LOCKS / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_package_has_the_same_version_and_files_in_every_lock(name: str) -> None:
    everything = entries("dev")
    locked = entries(name)
    assert locked
    for package, hashes in locked.items():
        assert hashes and hashes == everything.get(package), package


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dev", "train")])
def test_a_group_is_locked_whole(name: str) -> None:
    groups = project()["dependency-groups"]

    def stated(name: str) -> set[str]:
        return {
            found
            for one in groups[name]
            for found in (stated(one["include-group"]) if isinstance(one, dict) else {one})
        }

    assert stated(name) <= packages(name)


def test_python_3_10_gets_what_reads_the_file_of_deploy() -> None:
    """Later ones have tomllib."""
    needed = map(Requirement, project()["project"]["optional-dependencies"]["aws"])
    (toml,) = (one for one in needed if one.name == "tomli")
    assert toml.marker is not None
    assert [toml.marker.evaluate({"python_version": f"3.{x}"}) for x in (10, 11)] == [True, False]
    assert any(package.startswith("tomli==") for package in entries("train"))


def test_the_training_lock_holds_what_training_needs_and_nothing_else() -> None:
    assert packages("train") == closure("train", "aws")


def test_the_development_lock_holds_what_the_tests_need_and_nothing_else() -> None:
    assert packages("dev") == closure("dev")
