"""One picture's way through `petbox detect`: read, made to fit, asked about, drawn.

What is wrong with the picture becomes part of what is said of it; what is wrong with the server is
raised. Writes to the folder of copies and to nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from petbox import wire
from petbox.client import detector as client_detector
from petbox.client import limits
from petbox.client.output import Found
from petbox.data import labels
from petbox.errors import DataError, WireError
from petbox.images import drawn_copies
from petbox.wire import Detection

if TYPE_CHECKING:
    from petbox.images.photos import Photo


@dataclass(frozen=True)
class Looker:
    """Looks at pictures, from any thread."""

    detector: client_detector.Detector
    limit: limits.Find
    fit: bool  # a picture to the limit, else it is refused
    min_score: float
    names: Mapping[int, str]  # the user's own
    copies: Mapping[str, Path]  # where each picture's goes, if there shall be one

    def at(self, picture: str) -> Found:
        """What is in the picture, or why that cannot be said."""
        from petbox.images import photos

        try:
            photo = photos.read(picture, shrink=self.fit)
            detections = self._look(photo)
            if picture in self.copies:
                drawn_copies.draw(photo, detections, self.copies[picture])
        except (DataError, WireError) as error:
            return Found(picture, error=str(error))
        return Found(picture, (photo.width, photo.height), tuple(detections))

    def _look(self, photo: Photo) -> list[Detection]:
        """The surest first, each with a name to show."""
        encoded = self._within_limit(photo)
        try:
            found = self.detector.detect(encoded)
        except WireError as error:
            raise WireError(f"{photo.name}: {error}") from error
        if not all(math.isfinite(number) for one in found for number in (one.score, *one.box)):
            raise WireError(
                f"{photo.name}: the model answers NaN or Infinity, so it is broken; train it anew"
            )
        sure = [one for one in found if one.score >= self.min_score]
        surest_first = sorted(sure, key=lambda one: -one.score)
        return [replace(one, name=shown_name(one, self.names)) for one in surest_first]

    def _within_limit(self, photo: Photo) -> bytes:
        around = len(
            wire.request([b""], signature=client_detector.DETECT)
        )  # the longer of its forms
        size = around + 4 * -(-len(photo.encoded) // 3)  # in base64
        limit = self.limit(size)
        if size <= limit.most:
            return photo.encoded
        if not self.fit:
            raise DataError(
                f"{photo.name}: makes a request of {size / limits.MB:.1f} MB, and {limit}; "
                "say --fit to send a smaller copy"
            )
        from petbox.images.shrink import fitted

        return fitted(photo, max(0, limit.most - around) // 4 * 3)


def shown_name(one: Detection, names: Mapping[int, str]) -> str:
    """The user's own, else the model's, else the number."""
    return names.get(one.label) or one.name or f"class {one.label}"


def label_names(path: Path) -> dict[int, str]:
    """The label map at `path`: a file, a SavedModel's own, or that of its newest version."""
    if not path.is_dir():
        return labels.read(path)
    versions = sorted((p for p in path.iterdir() if p.name.isdecimal()), key=lambda p: -int(p.name))
    for folder in (path, path / "assets", *(version / "assets" for version in versions)):
        if (folder / labels.FILE_NAME).is_file():
            return labels.read(folder / labels.FILE_NAME)
    raise DataError(
        f"{path}: no {labels.FILE_NAME} in it or in its assets; name a label map or a model"
    )
