"""docs/upgrade.md: its commands for another TensorFlow are those that this checkout needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from conftest import CHECKOUT

STATED = (
    "pyproject.toml",
    "container/Dockerfile",
    "container/train.Dockerfile",
    "serverless/zoo/Dockerfile",
)
VERSION = r"(?:tensorflow|tf-models-official|serving)(?::|>=)(\d+\.\d+)"


def test_its_commands_raise_every_stated_version(tmp_path: Path) -> None:
    page = (CHECKOUT / "docs/upgrade.md").read_text()
    commands = re.findall(r"^\$ (sed (?:.*\\\n)*.*)$", page, re.MULTILINE)
    for name in STATED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    before = {name: set(re.findall(VERSION, (tmp_path / name).read_text())) for name in STATED}
    for command in commands:
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, timeout=60)
    for name in STATED:
        (old,), (new,) = before[name], set(re.findall(VERSION, (tmp_path / name).read_text()))
        assert int(new.split(".")[1]) == int(old.split(".")[1]) + 1, name
