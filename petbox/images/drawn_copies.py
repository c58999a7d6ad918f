"""Files with the detections drawn on copies of images: where they go, and how they are written.

A copy never replaces an image that was read. Where the name says so it is a PNG, else a JPEG.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from petbox.errors import DataError, PetboxError
from petbox.images.photos import ADDRESS, STDIN
from petbox.outputs import product

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")


def paths(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Each image's path in `folder`: its own file name, numbered where two are the same."""
    chosen: dict[str, Path] = {}
    taken: set[str] = set()
    for name in names:
        path = Path(urlsplit(name).path if ADDRESS.match(name) else name)
        path = Path("stdin" if name == STDIN else path.name or "image")
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".jpg"
        file, number = f"{path.stem}{suffix}", 1
        while file.lower() in taken:  # some file systems ignore case
            number += 1
            file = f"{path.stem}-{number}{suffix}"
        taken.add(file.lower())
        chosen[name] = folder / file
    originals = {Path(name).resolve() for name in chosen}
    for copy in chosen.values():
        if copy.resolve() in originals:
            raise DataError(f"{copy}: would be overwritten by its copy; draw into another folder")
    return chosen


def save(image: Image, path: Path) -> None:
    form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    try:
        with product(path, replace=True) as partial:
            image.save(partial, form, quality=95)
    except OSError as error:
        reason = error.strerror or error
        raise PetboxError(f"{path}: cannot be written ({reason}); draw to another path") from error
