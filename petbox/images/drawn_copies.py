"""Files with the detections drawn on copies of images: where they go, and how they are written.

A copy never replaces an image that was read. Where the name says so it is a PNG, else a JPEG.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from petbox.errors import DataError, PetboxError
from petbox.images.photos import STDIN
from petbox.outputs import product

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")


def paths(
    names: Sequence[str], target: Path, suffixes: Collection[str] = SUFFIXES
) -> dict[str, Path]:
    """The path of each one's copy in the folder `target`, with its own file name.

    Files of the same name are numbered; one that ends with none of `suffixes` gets the first. A
    single copy goes to `target` itself, if that is named as a file.
    """
    if target.suffix.lower() in suffixes and not target.is_dir():
        if len(names) > 1:
            raise DataError(f"{target}: is one file for {len(names)} copies; name a folder")
        chosen = dict.fromkeys(names, target)
    else:
        chosen = _in_folder(names, target, suffixes)
    originals = {Path(name).resolve() for name in chosen}
    for copy in chosen.values():
        if copy.resolve() in originals:
            raise DataError(f"{copy}: would be overwritten by its copy; draw into another folder")
    return chosen


def _in_folder(names: Sequence[str], folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    chosen: dict[str, Path] = {}
    taken: set[str] = set()
    for name in names:
        path = Path(urlsplit(name).path if "://" in name else name)
        path = Path("stdin" if name == STDIN else path.name or "image")
        suffix = path.suffix if path.suffix.lower() in suffixes else next(iter(suffixes))
        file, number = f"{path.stem}{suffix}", 1
        while file.lower() in taken:  # some file systems ignore case
            number += 1
            file = f"{path.stem}-{number}{suffix}"
        taken.add(file.lower())
        chosen[name] = folder / file
    return chosen


def save(image: Image, path: Path) -> None:
    form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    try:
        with product(path, replace=True) as partial:
            image.save(partial, form, quality=95)
    except OSError as error:
        reason = error.strerror or error
        raise PetboxError(f"{path}: cannot be written ({reason}); draw to another path") from error
