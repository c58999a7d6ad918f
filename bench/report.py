"""Writes RESULTS.md: each benchmark rewrites the table between its own two markers."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "bench" / "RESULTS.md"


def write_table(name: str, command: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes the table `name` to RESULTS.md with machine, commit and command; returns its text."""
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    text = f"`{command}` · {machine()} · commit {commit()} · {date.today().isoformat()}\n\n{table}"
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    before = RESULTS.read_text()
    after, found = re.subn(
        rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, before, flags=re.DOTALL
    )
    if not found:
        raise SystemExit(f"{RESULTS}: has no place marked <!-- {name} --> … <!-- /{name} -->")
    RESULTS.write_text(after)
    return text


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu.group(1).strip() if cpu else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {memory:.0f} GiB, {_system()}"


def _system() -> str:
    found = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return found.group(1) if found else platform.platform()


def commit() -> str:
    """The measured commit, with a plus if the tree has changes."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":!bench/RESULTS.md", ":!bench/*.png")
    return head + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
