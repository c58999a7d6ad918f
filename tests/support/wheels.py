"""Wheels without a package index: of what is installed here, and of a module made up."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

HERE = "Wheel-Version: 1.0\nGenerator: petbox\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def repack(name: str, folder: Path) -> None:
    """The wheel that this distribution was installed from, but for what installing adds."""
    distribution = metadata.distribution(name)
    (tag,) = (distribution.read_text("WHEEL") or "").split("Tag: ")[1].splitlines()[:1]
    stem = f"{name.replace('-', '_')}-{distribution.version}"
    added = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}
    kept = [
        file
        for file in distribution.files or ()
        if ".." not in file.parts and "__pycache__" not in file.parts and file.name not in added
    ]
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as wheel:
        for file in kept:
            wheel.write(file.locate(), str(file))
        (information,) = {file.parts[0] for file in kept if file.parts[0].endswith(".dist-info")}
        _close(wheel, information)


def make(name: str, version: str, source: str, folder: Path) -> None:
    """Of one module."""
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", source)
        wheel.writestr(f"{information}/WHEEL", HERE)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{information}/METADATA", text)
        _close(wheel, information)


def _close(wheel: zipfile.ZipFile, information: str) -> None:
    names = [*wheel.namelist(), f"{information}/RECORD"]
    wheel.writestr(names[-1], "".join(f"{name},,\n" for name in names))
