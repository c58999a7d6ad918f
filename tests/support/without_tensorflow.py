"""Programs for which TensorFlow and all that only TensorFlow's extras bring are not installed."""

from __future__ import annotations

from pathlib import Path

ABSENT = ("boto3", "keras", "official", "pybase64", "rich", "tensorflow", "tf_keras")


def python_path(folder: Path, *after: Path) -> str:
    """A PYTHONPATH on which importing any of these fails, with other folders after it."""
    folder.mkdir()
    for name in ABSENT:
        text = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (folder / f"{name}.py").write_text(text)
    return ":".join(map(str, (folder, *after)))
