"""Writes the table of docs/licenses.md: the license of each package in locks/.

Packages that this machine or Python does not need are not installed: they keep their row.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs" / "licenses.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.DOTALL)
EVERYTHING = "dev"  # the lock that has the packages of all others


def main() -> int:
    page = PAGE.read_text()
    kept = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", page, re.MULTILINE))
    users = locked()
    licenses = {name: stated(name) or kept.get(name, "") for name in sorted(users)}
    if unknown := [name for name, text in licenses.items() if not text]:
        print(
            f"error: {', '.join(unknown)}: not installed here, and without a row in "
            f"docs/licenses.md; look the license up and add the row",
            file=sys.stderr,
        )
        return 1
    rows = "".join(
        f"| {name} | {text} | {', '.join(sorted(users[name])) or 'development'} |\n"
        for name, text in licenses.items()
    )
    header = "| package | license | in `locks/` |\n|---|---|---|\n"
    PAGE.write_text(TABLE.sub(lambda _: header + rows, page))
    return 0


def locked() -> dict[str, set[str]]:
    """Each package of locks/, with the locks for a certain place that have it."""
    users: dict[str, set[str]] = {}
    for lock in sorted((CHECKOUT / "locks").glob("*.txt")):
        for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE):
            users.setdefault(name, set()).update({lock.stem} - {EVERYTHING})
    return users


def stated(name: str) -> str:
    """By its metadata: the SPDX expression, else the classifiers, else the text."""
    try:
        of_package = metadata(name)
    except PackageNotFoundError:
        return ""
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in of_package.get_all("Classifier") or []
        if one.startswith("License ::") and one != "License :: OSI Approved"
    ]
    text = (of_package["License"] or "").strip().partition("\n")[0]
    chosen = of_package["License-Expression"] or ", ".join(classifiers) or text or "not stated"
    return chosen.replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
