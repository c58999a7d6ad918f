"""`petbox records` on data with an error in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def records_error(run: Any, folder: Path, *options: str | Path) -> str:
    """The one line with which the command fails; it must leave no output in `folder`."""
    before = sorted(folder.iterdir())
    done = run("train/make_records.py", "--out", folder / "out", *options)
    assert (done.returncode, done.stdout) == (1, "")
    *progress, error = done.stderr.splitlines()
    for line in progress:
        assert line == "loading TensorFlow ..." or line.startswith("records: ")
    assert error.startswith("error: ")
    assert sorted(folder.iterdir()) == before
    return str(error.removeprefix("error: "))
