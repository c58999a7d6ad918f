"""The command line as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import permissions
from support.peer import GOLDEN
from support.serving import CHECKOUT

IMAGE = str(GOLDEN / "picture.jpg")
MODULE = (sys.executable, "-m", "petbox")

Done = subprocess.CompletedProcess[bytes]


def petbox(*words: str | Path, command: tuple[str, ...] = MODULE, **settings: Any) -> Done:
    env = {"COLUMNS": "80", "PYTHONPATH": str(CHECKOUT), **settings.pop("env", {})}
    env = {**os.environ, **env, **permissions.begin([*map(str, words)], env)}
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, timeout=60, env=env, **settings
    )


def failed(done: Done, *, lines: int = 1) -> str:
    """What was said by a command that failed as it should."""
    message = done.stderr.decode()
    assert done.returncode == 1, message
    assert message.count("\n") == lines, message
    return message
