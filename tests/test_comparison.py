"""docs/compare.md: each cell names a source or a command, and each source is used."""

from __future__ import annotations

import re

from conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/compare.md").read_text()
SOURCES = dict(re.findall(r"^\[([a-z0-9-]+)\]: (https://\S+)$", PAGE, re.MULTILINE))
NAMED = r"\[([a-z][a-z0-9-]*)\](?![(:])"
SHOWN = r"`[^`]+`|\]\([^)]+\)"  # a command, or a page of ours


def cells() -> list[str]:
    tables = re.findall(r"^\| \| petbox \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [row.strip("| ").split(" | ") for table in tables for row in table.splitlines()]
    return [cell for row in rows for cell in row[1:]]


def test_every_cell_has_a_source_or_a_command() -> None:
    assert len(cells()) > 90
    assert [one for one in cells() if not re.search(f"{NAMED}|{SHOWN}", one)] == []


def test_sources_are_listed_and_used() -> None:
    assert set(re.findall(NAMED, PAGE)) == set(SOURCES)
