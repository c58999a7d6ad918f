"""Packages of the tests' own Python for an image's: copied, linked, or only known to be there."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Collection
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.docker_engine import Engine

HERE = Path(sysconfig.get_path("purelib"))
PYTHON = f"python3.{sys.version_info.minor}"
PACKAGES = f"/usr/local/lib/{PYTHON}/dist-packages"  # where Debian's Python looks for them


def require_python(engine: Engine, system: str) -> None:
    """Skips the test if the bare system's Python cannot import our packages."""
    there = engine("run", "--rm", "--network=none", system, "ls", "/usr/bin").stdout.split()
    if PYTHON not in there:
        pytest.skip(f"the bare system has another Python than .venv, which has {PYTHON}")


def copied(folder: Path, whole: Collection[str], known: Collection[str] = ()) -> Path:
    """Those that are only `known` are large: pip finds them, and nothing can import them."""
    for name in {*whole, *known}:
        for file in distribution(name).files or ():
            listed = name in whole or ".dist-info" in file.parts[0]
            if listed and not {"..", "tests"} & {*file.parts}:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(file.locate())), folder / file)
    return folder


def linked(folder: Path, names: Collection[str]) -> Path:
    """The same packages and no others, as links into `HERE`."""
    for name in names:
        for top in {file.parts[0] for file in distribution(name).files or ()}:
            if top not in ("..", "bin", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(HERE / top)
    return folder
