"""Whether the packages of code/requirements.txt are installed; none is installed at the start."""

from __future__ import annotations

import codecs
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ADVICE = f"install what is missing for {sys.executable}, in an image with --build-arg HOOKS=1"


def problems(code: Path) -> list[str]:
    """What is missing, each with its name, and at the end what to do."""
    found = [] if importlib.util.find_spec("requests") else ["requests is not installed"]
    if not (code / "lib").is_dir():  # which replaces requirements.txt, as in AWS's container
        found += filter(None, map(_problem, _lines(code / "requirements.txt")))
    return [*found, ADVICE] if found else []


def _lines(file: Path) -> Iterator[str]:
    """Its requirements, and those of the files that it includes."""
    if not file.is_file():
        return
    text = re.sub(r"\\\r?\n", " ", _decoded(file.read_bytes()))
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := re.match(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", line):
            if line.startswith(("-r", "--r")):
                yield from _lines(file.parent / included[1])
        elif line and not line.startswith("-"):
            yield re.sub(r"\s--hash=\S+", "", line)


def _decoded(content: bytes) -> str:
    """As pip reads it: with the byte order mark that PowerShell and Notepad write, or UTF-8."""
    has_16_bits = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if has_16_bits else "utf-8-sig", "replace")


def _problem(line: str) -> str:
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # every pip brings it
        from pip._vendor.packaging.requirements import (  # type: ignore[assignment]
            InvalidRequirement,
            Requirement,
        )
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return ""  # a path or an address: pip alone knows what it installs
    if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        return ""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    fits = wanted.specifier.contains(version, prereleases=True)
    return "" if fits else f"{wanted.name} is {version}, not {wanted.specifier}"
