"""The settings measured for a model, kept in it by machine.

`assets.extra/tuning.ini` has a section for each machine; container/tuned.sh reads its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from petbox import outputs
from petbox.errors import DataError

FILE = Path("assets.extra", "tuning.ini")
HEAD = "# Written by petbox tune; container/serve takes the section of its machine (docs/tune.md)\n"


def check_writable(model: Path) -> None:
    """Before minutes of measuring, since a mounted model is often read-only."""
    for folder in (model / FILE.parent, model):
        if folder.exists() and not os.access(folder, os.W_OK):
            raise DataError(f"{folder}: not writable; leave out --write, or copy the model")


def write(model: Path, machine: str, variables: Mapping[str, str]) -> Path:
    """Puts the variables into the model's file, in the place of the machine's earlier ones."""
    path = model / FILE
    sections = read(path) if path.exists() else {}
    sections[machine] = dict(variables)
    text = HEAD
    for name, pairs in sections.items():
        text += f"\n[{name}]\n" + "".join(f"{key}={value}\n" for key, value in pairs.items())
    with outputs.product(path, replace=True) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> dict[str, dict[str, str]]:
    """The variables by machine."""
    sections: dict[str, dict[str, str]] = {}
    pairs: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            pairs = sections.setdefault(line[1:-1], {})
        elif "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            pairs[name] = value
    return sections
