"""A detection SavedModel to wrap, and where its class names are. Never imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from petbox.data import labels
from petbox.errors import ModelError

FILE = "saved_model.pb"


@dataclass(frozen=True)
class WrappedSource:
    """A SavedModel that exists already, and what to compare the new one with it on."""

    model: Path
    label_map: Path
    records: Path | None = None  # without them drawn scenes


def wrapped_source(
    folder: Path, label_map: Path | None = None, records: Path | None = None
) -> WrappedSource:
    """From the SavedModel's folder, or the unpacked archive of the zoo that it lies in."""
    model = next((at for at in (folder, folder / "saved_model") if (at / FILE).is_file()), None)
    if model is None:
        raise ModelError(f"{folder}: no SavedModel, it has no {FILE}; name the folder that has one")
    inside = model / "assets" / labels.FILE_NAME
    if not label_map and not inside.is_file():
        raise ModelError(f"{model}: has no label map inside; give its own by --label-map FILE")
    chosen = label_map or inside
    labels.read(chosen)
    return WrappedSource(model, chosen, records)
