"""The settings measured for a model, kept in it by machine.

`assets.extra/tuning.ini` has a section for each machine; container/tuned.sh reads its own.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path

FILE = Path("assets.extra", "tuning.ini")
HEAD = "# Written by petbox tune; container/serve takes the section of its machine (docs/tune.md)\n"


def describe(cpus: str) -> str:
    """The processor's model, and the `cpus` that container/serve counts, as in `2 CPUs, 0 GPUs`."""
    named = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{named[1] if named else platform.machine()}, {cpus}"


def write(model: Path, machine: str, variables: Mapping[str, str]) -> Path:
    """Puts the variables into the model's file, in the place of the machine's earlier ones."""
    path = model / FILE
    sections = read(path) if path.exists() else {}
    sections[machine] = dict(variables)
    text = HEAD
    for name, pairs in sections.items():
        text += f"\n[{name}]\n" + "".join(f"{key}={value}\n" for key, value in pairs.items())
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
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
