"""Trimaps of Oxford-IIIT Pet: which pixels are the pet (1), the background (2), its border (3).

Read for the box around the whole animal, border included, as the Object Detection API takes it.
Two animals cannot be told apart in one. Not a reader of masks in general.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from petbox.data.annotations import Box
from petbox.errors import DataError, needs

needs("PIL", "client")

from PIL import Image  # noqa: E402  # after the check for the extra

BACKGROUND = 2
VALUES = {1, BACKGROUND, 3}


@dataclass(frozen=True)
class Trimap:
    """What is needed of one; `box` is None where all is background."""

    width: int
    height: int
    box: Box | None


def read(path: Path) -> Trimap:
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise whatever comes their way
        raise DataError(f"{path}: cannot be decoded as a trimap; fetch it again") from error
    if image.mode not in ("L", "P"):
        raise DataError(f"{path}: of mode {image.mode}; a trimap has one number a pixel, 1 to 3")
    others = {value for _, value in image.getcolors() or []} - VALUES
    if others:
        raise DataError(
            f"{path}: has pixels of {others.pop()}; a trimap's are 1 (pet), 2 (background) or "
            "3 (border)"
        )
    return Trimap(image.width, image.height, _around_pet(image))


def _around_pet(image: Image.Image) -> Box | None:
    around = image.point([0 if value == BACKGROUND else 255 for value in range(256)], "L").getbbox()
    if around is None:
        return None
    left, top, right, bottom = around  # right and bottom exclusive: the pixels' far edges
    width, height = image.size
    return top / height, left / width, bottom / height, right / width
