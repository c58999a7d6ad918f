"""docs/reliability.md counts the campaigns and cases that there are.

    PETBOX_REPORTS=1 python -m pytest tests/test_reliability.py

writes today's counts into the page.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from conftest import CHECKOUT

PAGE = CHECKOUT / "docs/reliability.md"
ROW = re.compile(
    r"^\| (?P<count>[\d,]+)"
    r"(?P<rest> \| [^|]+ \| `(?P<file>tests/[\w/]+\.py)(?::{1,2}(?P<name>\w+))?` \|)$",
    re.MULTILINE,
)


def rows() -> list[tuple[int, str, str]]:
    found = ROW.finditer(PAGE.read_text())
    return [(int(row["count"].replace(",", "")), row["file"], row["name"] or "") for row in found]


def test_each_campaign_of_make_soak_is_as_long_as_the_page_says() -> None:
    campaigns = [row for row in rows() if row[2].isupper()]
    assert len(campaigns) > 5
    for count, file, name in campaigns:
        length = rf"\b{name}\b.*= .*\bcount\([\d_]+, ([\d_]+)\)"
        found = re.search(length, (CHECKOUT / file).read_text())
        assert found and int(found[1]) == count, f"{file}: {name}"


def test_each_load_is_in_the_test_that_is_named() -> None:
    loads = [row for row in rows() if row[2].startswith("test_")]
    assert len(loads) > 3
    for count, file, name in loads:
        tree = ast.parse((CHECKOUT / file).read_text())
        (test,) = [node for node in tree.body if getattr(node, "name", "") == name]
        numbers = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
        assert count in numbers, f"{file}: {name}"


def test_the_page_counts_no_more_cases_than_there_are(request: pytest.FixtureRequest) -> None:
    stated = {file: count for count, file, name in rows() if not name}
    assert len(stated) > 10
    actual = cases(request, list(stated))
    if os.environ.get("PETBOX_REPORTS"):
        PAGE.write_text(ROW.sub(lambda row: counted(row, actual), PAGE.read_text()))
    assert {file: min(count, actual[file]) for file, count in stated.items()} == stated


def cases(request: pytest.FixtureRequest, files: list[str]) -> Counter[str]:
    """The number of test cases in each file; in a run of all tests they are known."""
    config = request.config
    chosen = config.option.keyword or config.option.markexpr
    if config.args == config.getini("testpaths") and not chosen:
        return Counter(item.nodeid.split("::")[0] for item in request.session.items)
    words = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *files]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return Counter(line.split("::")[0] for line in done.stdout.splitlines() if "::" in line)


def counted(row: re.Match[str], actual: Counter[str]) -> str:
    return row[0] if row["name"] else f"| {actual[row['file']]}{row['rest']}"
