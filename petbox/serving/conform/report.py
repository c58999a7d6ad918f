"""The results of all lines: a table for people, JSON, JUnit XML, and a badge."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping

from petbox.serving.conform.contract import CONTRACT, TITLES, Level, Line, Outcome, Result

COLORS: dict[Outcome, str] = {"holds": "32", "fails": "1;31", "not tried": "33"}
MIN_WIDTH = 80
NAME_WIDTH = max(len(line.name) for line in CONTRACT)
LABEL = "SageMaker's contract"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
INDENT = len("not tried  ") + NAME_WIDTH + 2

Results = Mapping[str, Result]  # by the name of the line


def table(results: Results) -> str:
    """One row per line of the contract; failed rows include its text."""
    width = max(MIN_WIDTH, shutil.get_terminal_size().columns)
    parts = []
    for level, title in TITLES.items():
        lines = _of(level, results)
        if lines:
            rows = "\n".join(_rows(lines, results, width))
            parts.append(f"{title}: {count(level, results)}\n{rows}\n")
    return "\n".join(parts)


def as_json(target: str, results: Results) -> str:
    rows = [
        {
            "level": line.level,
            "name": line.name,
            "says": line.says,
            "outcome": results[line.name].outcome,
            "seen": results[line.name].detail,
            "reference": line.reference,
        }
        for line in CONTRACT
        if line.name in results
    ]
    good = not failed("sagemaker", results)
    return json.dumps({"target": target, "conforms": good, "lines": rows}, indent=2)


def as_junit(target: str, results: Results) -> bytes:
    """A suite for each level, a case for each line, skipped if it was not tried."""
    root = ElementTree.Element("testsuites", name=_text(target))
    for level, title in TITLES.items():
        if lines := _of(level, results):
            outcomes = [results[line.name].outcome for line in lines]
            counts = {"tests": len(lines), "failures": outcomes.count("fails"), "errors": 0}
            counts["skipped"] = outcomes.count("not tried")
            suite = ElementTree.SubElement(root, "testsuite", name=title)
            suite.attrib.update({name: str(number) for name, number in counts.items()})
            suite.extend(_case(level, line, results[line.name]) for line in lines)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True)) + b"\n"


def _case(level: Level, line: Line, result: Result) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=f"conform.{level}", name=line.name)
    kind = {"fails": "failure", "not tried": "skipped"}.get(result.outcome)
    if kind:
        found = ElementTree.SubElement(case, kind, message=_text(f"{line.says}: {result.detail}"))
        if kind == "failure":
            found.set("type", "fails")
            found.text = f"see {line.reference}"
    said = f"{line.says}: {result.detail}\nsee {line.reference}"
    ElementTree.SubElement(case, "system-out").text = _text(said)
    return case


def _text(text: str) -> str:
    """Without what XML cannot hold: a container's log may have control characters."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def as_badge(results: Results) -> str:
    """What shields.io draws a badge from; green only if every requirement was tried and holds."""
    bad = failed("sagemaker", results)
    lines = _of("sagemaker", results)
    held = sum(results[line.name].outcome == "holds" for line in lines)
    if bad:
        message, color = f"{len(bad)} of {len(lines)} fail", "red"
    elif held < len(lines):
        message, color = f"{held} of {len(lines)} hold, the others not tried", "yellow"
    else:
        message, color = f"{held} of {held} hold", "brightgreen"
    badge = {"schemaVersion": 1, "label": LABEL, "message": message, "color": color}
    return json.dumps(badge, indent=2) + "\n"


def failed(level: Level, results: Results) -> list[Line]:
    return [line for line in _of(level, results) if results[line.name].outcome == "fails"]


def count(level: Level, results: Results) -> str:
    outcomes = [results[line.name].outcome for line in _of(level, results)]
    words = {"holds": "hold", "fails": "fail", "not tried": "not tried"}
    return ", ".join(f"{outcomes.count(name)} {word}" for name, word in words.items())  # type: ignore[arg-type]


def _of(level: Level, results: Results) -> list[Line]:
    return [line for line in CONTRACT if line.level == level and line.name in results]


def _rows(lines: list[Line], results: Results, width: int) -> Iterator[str]:
    """One row per line; lines not tried for the same reason share one row at the end."""
    by_reason: dict[str, list[str]] = {}
    for line in lines:
        result = results[line.name]
        if result.outcome == "not tried":
            by_reason.setdefault(result.detail, []).append(line.name)
        else:
            detail = result.detail
            if result.outcome == "fails":
                detail = f"{line.says}: {detail}"
            yield _row(result.outcome, line.name, detail, width)
    for why, names in by_reason.items():
        yield _row("not tried", ", ".join(names), why, width)


def _row(outcome: Outcome, name: str, detail: str, width: int) -> str:
    shown = "FAILS" if outcome == "fails" else outcome
    names = textwrap.wrap(name, NAME_WIDTH, break_on_hyphens=False)
    words = textwrap.wrap(detail, width - INDENT, break_on_hyphens=False)
    pairs = itertools.zip_longest(names, words, fillvalue="")
    rows = [f"{named:<{NAME_WIDTH}}  {words}".rstrip() for named, words in pairs]
    start = _colored(f"{shown:<9}", outcome)
    return f"{start}  " + ("\n" + " " * (INDENT - NAME_WIDTH - 2)).join(rows)


def _colored(text: str, outcome: Outcome) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{COLORS[outcome]}m{text}\033[0m"
