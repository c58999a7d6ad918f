"""What was found, line by line of the contract: a table for a person, JSON for a machine."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping

from petbox.serving.conform.contract import CONTRACT, TITLES, Level, Line
from petbox.serving.conform.finding import Finding, Outcome

COLOURS: dict[Outcome, str] = {"holds": "32", "fails": "1;31", "not tried": "33"}
NARROWEST = 80
NAME = max(len(line.name) for line in CONTRACT)
BEFORE = len("not tried  ") + NAME + 2

Found = Mapping[str, Finding]


def table(found: Found) -> str:
    """A row a line of the contract; of one that fails, the line as well."""
    width = max(NARROWEST, shutil.get_terminal_size().columns)
    parts = []
    for level, title in TITLES.items():
        lines = _of(level, found)
        if lines:
            rows = "\n".join(_rows(lines, found, width))
            parts.append(f"{title}: {count(level, found)}\n{rows}\n")
    return "\n".join(parts)


def as_json(target: str, found: Found) -> str:
    rows = [
        {
            "level": line.level,
            "name": line.name,
            "says": line.says,
            "outcome": found[line.name].outcome,
            "seen": found[line.name].seen,
        }
        for line in CONTRACT
        if line.name in found
    ]
    good = not failed("sagemaker", found)
    return json.dumps({"target": target, "conforms": good, "lines": rows}, indent=2)


def failed(level: Level, found: Found) -> list[Line]:
    return [line for line in _of(level, found) if found[line.name].outcome == "fails"]


def count(level: Level, found: Found) -> str:
    outcomes = [found[line.name].outcome for line in _of(level, found)]
    words = {"holds": "hold", "fails": "fail", "not tried": "not tried"}
    return ", ".join(f"{outcomes.count(name)} {word}" for name, word in words.items())  # type: ignore[arg-type]


def _of(level: Level, found: Found) -> list[Line]:
    return [line for line in CONTRACT if line.level == level and line.name in found]


def _rows(lines: list[Line], found: Found, width: int) -> Iterator[str]:
    """One for each line; those that were not tried for the same reason share one, at the end."""
    together: dict[str, list[str]] = {}
    for line in lines:
        finding = found[line.name]
        if finding.outcome == "not tried":
            together.setdefault(finding.seen, []).append(line.name)
        else:
            said = finding.seen
            if finding.outcome == "fails":
                said = f"{line.says}: {said}"
            yield _row(finding.outcome, line.name, said, width)
    for why, names in together.items():
        yield _row("not tried", ", ".join(names), why, width)


def _row(outcome: Outcome, name: str, said: str, width: int) -> str:
    shown = "FAILS" if outcome == "fails" else outcome
    names = textwrap.wrap(name, NAME, break_on_hyphens=False)
    words = textwrap.wrap(said, width - BEFORE, break_on_hyphens=False)
    pairs = itertools.zip_longest(names, words, fillvalue="")
    rows = [f"{named:<{NAME}}  {words}".rstrip() for named, words in pairs]
    start = _coloured(f"{shown:<9}", outcome)
    return f"{start}  " + ("\n" + " " * (BEFORE - NAME - 2)).join(rows)


def _coloured(text: str, outcome: Outcome) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{COLOURS[outcome]}m{text}\033[0m"
