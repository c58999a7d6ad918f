"""A detector in this process, of whichever kind the model's folder holds.

    model.tflite       by LiteRT, as export/to_litert.py makes it
    saved_model.pb     by TensorFlow, as export/exporter_savedmodel.py makes it

Finds the model where SageMaker's archives and our exports have it: bare, or under the number of
its version, the highest of which is taken. Fetches nothing.
"""

from __future__ import annotations

from pathlib import Path

from petbox.errors import MissingExtra, ModelError
from petbox.litert import bundle
from petbox.wire import Engine

LITE, SAVED = bundle.NETWORK, "saved_model.pb"
WANTED = f"wanted: {SAVED} or {LITE}, in it or under a number, as 1/{SAVED}"
MOST_SHOWN = 20


def load(place: Path) -> Engine:
    """The detector under `place`."""
    folder = find(place)
    try:
        if bundle.is_there(folder):
            from petbox.litert.detector import LiteDetector

            return LiteDetector(folder)
        from petbox.export.saved_detector import SavedDetector

        return SavedDetector(folder)
    except (ModuleNotFoundError, MissingExtra) as error:  # the zip has no TensorFlow
        raise ModelError(
            f"{folder}: what runs it is not here ({error}); {SAVED} wants the image "
            f"(serverless/detector.Dockerfile), {LITE} the zip (scripts/package_lambda.sh)"
        ) from error


def find(place: Path) -> Path:
    """The folder of the only model under `place`, in its highest version."""
    files = [file for name in (LITE, SAVED) for file in place.rglob(name)]
    folders = {file.parent for file in files}
    if not folders:
        shown = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
        found = ", ".join(shown[:MOST_SHOWN]) or "nothing"
        raise ModelError(f"{place}: no model; found: {found}; {WANTED}")
    models = {folder if folder == place else _without_version(folder) for folder in folders}
    if len(models) > 1 or len(files) > len(folders):
        named = ", ".join(sorted(str(file) for file in files))
        raise ModelError(f"{place}: more than one model ({named}); leave one")
    return max(folders, key=_version)


def _without_version(folder: Path) -> Path:
    return folder.parent if folder.name.isdecimal() else folder


def _version(folder: Path) -> int:
    return int(folder.name) if folder.name.isdecimal() else 0
