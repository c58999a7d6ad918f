"""A model loaded into this process, as an engine for `petbox.Detector(model=...)`.

    saved_model.pb     run by TensorFlow, as `petbox export` writes it
    model.tflite       run by LiteRT, as `petbox convert` writes it

The model may lie in the folder itself or under the number of its version, as in SageMaker's
archives; the highest version counts.
"""

from __future__ import annotations

from pathlib import Path

from petbox.errors import ModelError
from petbox.litert import bundle
from petbox.wire import Engine

LITERT, SAVED_MODEL = bundle.NETWORK, "saved_model.pb"
MOST_SHOWN = 20  # files in the error for a folder without a model


def open_model(folder: str | Path) -> Engine:
    """The model in `folder`, ready to detect."""
    found = find_model(Path(folder))
    if bundle.is_there(found):
        from petbox.litert.detector import LiteDetector

        return LiteDetector(found)
    from petbox.export.saved_detector import SavedDetector

    return SavedDetector(found)


def find_model(place: Path) -> Path:
    """The folder of the only model under `place`, in its highest version."""
    files = [file for name in (LITERT, SAVED_MODEL) for file in place.rglob(name)]
    folders = {file.parent for file in files}
    if not folders:
        if not place.is_dir():
            raise ModelError(f"{place}: no such folder; name a model's folder")
        there = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
        raise ModelError(
            f"{place}: no model; found: {', '.join(there[:MOST_SHOWN]) or 'nothing'}; expected: "
            f"{SAVED_MODEL} or {LITERT}, in it or under a version number, as 1/{SAVED_MODEL}"
        )
    models = {folder if folder == place else _without_version(folder) for folder in folders}
    if len(models) > 1 or len(files) > len(folders):
        named = ", ".join(sorted(str(file) for file in files))
        raise ModelError(f"{place}: more than one model ({named}); name one of them")
    return max(folders, key=_version)


def _without_version(folder: Path) -> Path:
    return folder.parent if folder.name.isdecimal() else folder


def _version(folder: Path) -> int:
    return int(folder.name) if folder.name.isdecimal() else 0
