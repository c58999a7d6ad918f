"""Writes RESULTS.md: each benchmark rewrites the table between its own two markers."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "bench" / "RESULTS.md"
# Not tables and pictures, which are written, nor what only says and checks what is measured.
MEASURED = (".", *(f":!{one}" for one in ("*.md", "*.png", "*.jpg", "docs", "tests", ".ci")))
TABLE = re.compile(  # what `write_table` writes
    r"<!-- \S+ -->\n`python bench/(\w+)\.py.*?` · (.*) · commit (\S+) · .*\n\n((?:\|.*\n)*)"
)
MISSED = ", missed"


@dataclass(frozen=True)
class Table:
    script: str
    machine: str
    commit: str
    rows: str


def write_table(name: str, command: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes the table `name` and the summary to RESULTS.md; returns the table's text."""
    origin = f"`{command}` · {machine()} · commit {commit()} · {date.today().isoformat()}"
    text = f"{origin}\n\n{_table(head, rows)}"
    _write(name, text)
    _write("summary", summary())
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _write(name: str, text: str) -> None:
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    before = RESULTS.read_text()
    after, found = re.subn(
        rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, before, flags=re.DOTALL
    )
    if not found:
        raise SystemExit(f"{RESULTS}: has no place marked <!-- {name} --> … <!-- /{name} -->")
    RESULTS.write_text(after)


def tables() -> list[Table]:
    return [Table(*match.groups()) for match in TABLE.finditer(RESULTS.read_text())]


def is_done(script: str) -> bool:
    """All tables of bench/SCRIPT.py were written at this commit, by this machine."""
    mine = [table for table in tables() if table.script == script]
    return bool(mine) and all((one.machine, one.commit) == (machine(), commit()) for one in mine)


def others() -> set[str]:
    """The other machines that have written tables at this commit."""
    return {one.machine for one in tables() if one.commit == commit()} - {machine()}


def bars() -> Iterator[tuple[Table, list[str], str]]:
    """Each bar's cell, with its table and what was measured: a bar is in its row, or below it."""
    for table in tables():
        head, _, *rows = map(_cells, table.rows.splitlines())
        above = head
        for row in rows:
            for place, cell in enumerate(row):
                if cell.startswith(("≤", "≥")):
                    below = [above[0], head[place], above[place]]
                    beside = [*row[:place], *row[place + 1 :]]
                    yield table, below if row[0] == "bar" else [*filter(None, beside)], cell
            above = row


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def missed() -> Iterator[str]:
    """The bars that are missed, with what wrote them."""
    for table, measured, bar in bars():
        if MISSED in bar:
            yield f"{table.script}: {', '.join([*measured, bar])}"


def summary() -> str:
    """A row for each bar of all tables, and where the tables are from."""
    rows = [
        [f"`{table.script}`", what, " · ".join(measured), bar.removesuffix(MISSED),
         "**missed**" if MISSED in bar else "held"]
        for table, (what, *measured), bar in bars()
    ]  # fmt: skip
    held = sum(row[-1] == "held" for row in rows)
    commits: dict[str, set[str]] = {}
    for one in tables():
        commits.setdefault(one.machine, set()).add(one.commit)
    origins = "; ".join(f"{on}, commit {', '.join(sorted(of))}" for on, of in commits.items())
    return f"{held} of {len(rows)} bars hold. Measured on {origins}.\n\n" + _table(
        ["benchmark", "", "measured", "bar", ""], rows
    )


def at_most(measured: float, bar: float, unit: str = "", others_hold: bool = True) -> str:
    """A bar's cell of a table, which says whether it was missed."""
    return f"≤ {bar:g}{unit}" + _missed(measured <= bar and others_hold)


def at_least(measured: float, bar: float, unit: str = "") -> str:
    return f"≥ {bar:g}{unit}" + _missed(measured >= bar)


def _missed(held: bool) -> str:
    return "" if held else MISSED


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu.group(1).strip() if cpu else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {memory:.0f} GiB, {_system()}"


def _system() -> str:
    found = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return found.group(1) if found else platform.platform()


def commit() -> str:
    """The newest commit that changed what is measured, with a plus if the tree has changes."""
    head = _git("log", "-1", "--format=%h", "--", *MEASURED)
    return head + ("+" if _git("status", "--porcelain", "--", *MEASURED) else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """For bench/all: `is-done SCRIPT` exits with 0 or 1, `check` refuses, `missed` lists."""
    what, *words = sys.argv[1:]
    if what == "is-done":
        sys.exit(not is_done(*words))
    if what == "check" and (found := others()):
        sys.exit(
            f"{RESULTS}: has tables of this commit from {'; '.join(sorted(found))}, and this is "
            f"{machine()}; measure one commit on one machine, or commit a change first"
        )
    if what == "missed":
        print("\n".join(missed()))


if __name__ == "__main__":
    main()
