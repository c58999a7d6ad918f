"""What scripts/push_ecr.sh may use so that it runs on macOS: BSD's tools, and bash 3.2.

Neither is to be had here. Instead, the script finds the tools of the table alone, each with the
options that macOS' manual pages have too, and anything else ends it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# Each with its options, and the least words: GNU's paste reads stdin without being told.
TOOLS = {
    "cat": ("", 0),
    "cut": ("-c", 2),
    "dirname": ("", 1),
    "find": ("-type", 2),
    "grep": ("-oE", 1),
    "head": ("-n", 2),
    "paste": ("-sd -", 3),
    "sed": ("-nE", 2),
    "sort": ("-u", 0),
    "tail": ("-n", 2),
}
SAME = ("bash", "git", "docker")  # as macOS has them, or as one installs them there
SHIM = """#!/bin/sh
[ $# -ge {least} ] || {{ echo >&2 "{name}: macOS' needs more words than '$*'"; exit 64; }}
for word; do
  case $word in {allowed}) ;; -*) echo >&2 "{name}: macOS' may not have $word"; exit 64 ;; esac
done
exec {real} "$@"
"""
# By what came after 3.2.
NEWER_BASH = {
    "mapfile, readarray, coproc": r"\b(mapfile|readarray|coproc)\b",
    "associative arrays, references": r"\b(declare|local|typeset) -\w*[Agn]",
    "changes of case": r"\$\{\w+(\[[^]]*\])?(\^|,)",
    "transformations": r"\$\{\w+@\w\}",
    "&>>, |&, ;& and ;;&": r"&>>|\|&|;&",
    "[[ -v": r"\[\[ -v ",
    "printf's times": r"%\(",
    "negative positions": r"\[-\d|: -\d",
    "wait -n, EPOCHSECONDS, BASHPID": r"wait -n|EPOCH|BASHPID",
    # an empty one is an unbound variable there
    "an array without a guard": r'(?<!\+)"\$\{(?!parts|build|push)\w+\[@\]\}"',
}


def path_of_tools(folder: Path) -> str:
    """A PATH."""
    folder.mkdir()
    for name in SAME:
        if real := shutil.which(name):
            (folder / name).symlink_to(real)
    for name, (options, least) in TOOLS.items():
        allowed = "|".join(options.split()) or "''"
        shim = SHIM.format(name=name, allowed=allowed, least=least, real=shutil.which(name))
        (folder / name).write_text(shim)
        (folder / name).chmod(0o755)
    return str(folder)


def newer_bash(script: str) -> Iterator[str]:
    """What of a script needs a bash that macOS does not have."""
    code = re.sub(r"^\s*#.*", "", script, flags=re.MULTILINE)
    for what, pattern in NEWER_BASH.items():
        yield from (f"{what}: {match[0]}" for match in re.finditer(pattern, code))
