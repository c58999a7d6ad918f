"""What conftest.py ensures for every test."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT


def test_programs_that_tests_start_can_be_interrupted() -> None:
    command = ["grep", "SigIgn", "/proc/self/status"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ignored = int(shown.split()[1], 16)
    for number in (signal.SIGINT, signal.SIGQUIT):
        assert not ignored >> (number - 1) & 1, f"{number.name} is ignored: {shown}"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_so_they_can_where_the_shell_ignores_ctrl_c(workers: str, tmp_path: Path) -> None:
    """As a shell does for a command in the background: `make test &`."""
    test = f"{Path(__file__)}::{test_programs_that_tests_start_can_be_interrupted.__name__}"
    words = [sys.executable, "-m", "pytest", "-q", "-n", workers, f"--basetemp={tmp_path / 't'}"]
    script = 'trap "" INT QUIT; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "-", *words, test], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
