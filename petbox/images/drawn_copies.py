"""Copies of pictures with what was found drawn on them, in a folder of their own.

Never over a picture that was looked at. A copy is a PNG where the picture's name says so, else a
JPEG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petbox.errors import DataError, PetboxError
from petbox.outputs import product
from petbox.wire import Detection

if TYPE_CHECKING:
    from petbox.images.photos import Photo

STDIN = "-"


def plan(pictures: Iterable[str], folder: Path) -> dict[str, Path]:
    """Where each picture's copy goes: under its own name, numbered where two are the same."""
    chosen: dict[str, Path] = {}
    taken: set[str] = set()
    for picture in pictures:
        path = Path("stdin.jpg" if picture == STDIN else picture)
        suffix = path.suffix if path.suffix.lower() in (".jpg", ".jpeg", ".png") else ".jpg"
        name, number = f"{path.stem}{suffix}", 1
        while name.lower() in taken:  # on some file systems capitals are all the same
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        taken.add(name.lower())
        chosen[picture] = folder / name
    originals = {Path(picture).resolve() for picture in chosen}
    for copy in chosen.values():
        if copy.resolve() in originals:
            raise DataError(f"{copy}: would be overwritten by its copy; --draw into another folder")
    return chosen


def draw(photo: Photo, detections: Sequence[Detection], path: Path) -> None:
    from petbox.images.draw import drawn

    names = {one.label: one.name for one in detections if one.name}
    copy = drawn(photo.seen(), detections, names)
    form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    try:
        with product(path, replace=True) as partial:
            copy.save(partial, form, quality=95)
    except OSError as error:
        raise PetboxError(f"{path}: cannot be written ({error.strerror}); check --draw") from error
