"""Which SavedModel of a folder is meant; standard library only."""

from __future__ import annotations

import re
from pathlib import Path

from petbox.errors import ModelError


def newest_version(model: Path) -> Path:
    """The SavedModel folder meant by `model`: itself, or its newest numbered version."""
    wanted = "wanted: saved_model.pb in it, or numbered versions such as 1/saved_model.pb"
    if not model.is_dir():
        what = "is a file" if model.exists() else "does not exist"
        raise ModelError(f"{model}: {what}; {wanted}")
    if (model / "saved_model.pb").is_file():
        return model
    versions = [p for p in model.iterdir() if re.fullmatch(r"[0-9]+", p.name)]
    whole = [p for p in versions if (p / "saved_model.pb").is_file()]
    if not whole:
        raise ModelError(f"{model}: no SavedModel here; found: {_contents(model)}; {wanted}")
    return max(whole, key=lambda p: int(p.name))


def _contents(folder: Path) -> str:
    names = sorted(
        str(p.relative_to(folder)) + "/" * p.is_dir()
        for p in [*folder.glob("*"), *folder.glob("*/*")]
    )
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
