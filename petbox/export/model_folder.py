"""A SavedModel's folder, read once: its path, signatures, class names, its exporter's report.

Never imports TensorFlow, so a wrong path is reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.data import labels
from petbox.errors import ModelError

FILE = "saved_model.pb"
EXTRA = "assets.extra"
REPORT = "export.json"
SIGNATURE = "serving_default"
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
KERAS = (".keras", ".h5")
MOST_LEVELS = 3  # as in export/Servo/1
SAVED_MODEL = {  # of saved_model.proto
    "Signature": {"key": (1, "string")},
    "MetaGraph": {"signature_def": (5, "Signature*")},
    "SavedModel": {"meta_graphs": (2, "MetaGraph*")},
}


@dataclass(frozen=True)
class ModelFolder:
    folder: Path  # the one with saved_model.pb
    signatures: tuple[str, ...]
    label_map: Path
    label_map_text: bytes
    names: Mapping[int, str]
    report: Mapping[str, Any]  # empty for a model that petbox did not export

    @property
    def input_type(self) -> str:
        """How a string input is meant: an image file, or a tf.Example that contains one."""
        if not self.report:
            return "encoded_image_string_tensor"
        try:
            return str(self.report["settings"]["input_type"])
        except (LookupError, TypeError) as error:
            raise _broken_report(self.folder) from error

    @property
    def thresholds(self) -> dict[int, float]:
        """By class: from which score its detections are trusted; empty if it does not say."""
        try:
            stated = self.report.get("settings", {}).get("thresholds") or {}
            return {int(label): float(score) for label, score in stated.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise _broken_report(self.folder) from error


def read(path: Path, label_map: Path | None = None) -> ModelFolder:
    """The detector at or below `path`; its class names are from `label_map`, or its own."""
    folder = newest_version(path)
    own = folder / "assets" / labels.FILE_NAME
    if not label_map and not own.is_file():
        raise ModelError(
            f"{folder}: has no assets/{labels.FILE_NAME}; pass --label-map to petbox export "
            "--from-saved-model, which adds one"
        )
    label_map = label_map or own
    try:
        text = label_map.read_bytes()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ModelError(f"{label_map}: cannot be read ({reason}); name a label map") from error
    signatures = _signatures((folder / FILE).read_bytes())
    if signatures is not None and SIGNATURE not in signatures:
        others = ", ".join(sorted(signatures)) or "none at all"
        raise ModelError(f"{folder}: has no signature {SIGNATURE}, but {others}; export it again")
    names = labels.parse(text, str(label_map))
    return ModelFolder(folder, signatures or (), label_map, text, names, _report(folder))


def newest_version(path: Path, files: Sequence[str] = (FILE,)) -> Path:
    """The folder with one of the `files`: `path`, or the newest version of the one model in it."""
    expected = f"expected: {' or '.join(files)}, in it or under a version number, as 1/{files[0]}"
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        if path.suffix in KERAS and path.exists():
            raise _of_keras(path, path.with_suffix("") / "1")
        raise ModelError(f"{path}: {what}; {expected}")
    for level in range(MOST_LEVELS + 1):
        found = [file for name in files for file in path.glob("*/" * level + name)]
        folders = {file.parent for file in found}
        models = {one.parent if one.name.isdecimal() else one for one in folders}
        if len(models) > 1 or len(found) > len(folders):
            names = ", ".join(sorted(str(file.relative_to(path)) for file in found))
            raise ModelError(f"{path}: more than one model ({names}); name one of them")
        if folders:
            return max(folders, key=lambda one: int(one.name) if one.name.isdecimal() else 0)
    for file in sorted(one for one in path.iterdir() if one.suffix in KERAS):
        raise _of_keras(file, path / "1")
    raise ModelError(f"{path}: no model; found: {contents(path)}; {expected}")


def _of_keras(file: Path, folder: Path) -> ModelError:
    code = f'keras.saving.load_model("{file}").export("{folder}")'
    return ModelError(f"{file}: Keras' own format, not a SavedModel; make one with {code}")


def _signatures(content: bytes) -> tuple[str, ...] | None:
    """The names of the signatures, or None if the file is corrupt."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from petbox.export.messages import message_class

    try:
        model = message_class(SAVED_MODEL, "SavedModel").FromString(content)
    except DecodeError:
        return None
    names = (one.key for graph in model.meta_graphs for one in graph.signature_def)
    return tuple(name for name in names if not name.startswith("__"))  # TensorFlow's own


def contents(folder: Path) -> str:
    """The first files and folders in it, for messages."""
    paths = [path for level in range(MOST_LEVELS) for path in folder.glob("*/" * level + "*")]
    names = sorted(str(path.relative_to(folder)) + "/" * path.is_dir() for path in paths)
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8) if names else "nothing"


def _report(folder: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads((folder / EXTRA / REPORT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise _broken_report(folder) from error


def _broken_report(folder: Path) -> ModelError:
    return ModelError(f"{folder / EXTRA / REPORT}: is damaged; export the model again")
