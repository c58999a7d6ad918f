"""What a detector found in one image, as Python code uses it.

    found = detector.detect("cat.jpg")
    for one in found:
        print(one.name, one.score, one.box.pixels)

Boxes are ymin, xmin, ymax, xmax everywhere but in `to_coco` and `to_supervision`, which use the
order of their own libraries. All of them are boxes of the upright image.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from petbox import wire
from petbox.errors import DataError, PetboxError, needs

if TYPE_CHECKING:
    from PIL.Image import Image

    from petbox.images.photos import Photo

COLUMNS = ("picture", "width", "height", "label", "id", "score", "ymin", "xmin", "ymax", "xmax")
NOTEBOOK = 1000  # pixels of the longer side, for an image that a notebook shows
SHOWN = 3  # detections in a repr


class Box(tuple[float, float, float, float]):
    """ymin, xmin, ymax, xmax in fractions of the image, whose size in pixels it knows."""

    width: int
    height: int

    def __new__(cls, edges: Iterable[float], width: int, height: int) -> Box:
        box = super().__new__(cls, edges)
        box.width, box.height = width, height
        return box

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.width, self.height

    @property
    def fractions(self) -> wire.Box:
        return self[0], self[1], self[2], self[3]

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """ymin, xmin, ymax, xmax within the image; `array[ymin:ymax, xmin:xmax]` is the crop."""
        ymin, xmin, ymax, xmax = (min(max(edge, 0.0), 1.0) for edge in self)
        return (
            round(ymin * self.height),
            round(xmin * self.width),
            round(ymax * self.height),
            round(xmax * self.width),
        )


@dataclass(frozen=True)
class Detection(wire.Detection):
    """One object: its class id (`label`), its class `name`, its score and its box."""

    box: Box
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Sequence[Detection]):
    """The detections in one image, highest score first; or the error that prevented them.

    Two are equal if image size, detections and error are. Pickling includes the image.
    """

    name: str  # the image's path or address
    width: int = 0
    height: int = 0
    items: tuple[Detection, ...] = ()
    error: PetboxError | None = None  # only from detect_many
    photo: Photo | None = None

    @classmethod
    def of(cls, photo: Photo, found: Iterable[wire.Detection]) -> Detections:
        size = photo.width, photo.height
        items = (
            Detection(one.label, one.score, Box(one.box, *size), one.name or f"class {one.label}")
            for one in found
        )
        return cls(photo.name, *size, tuple(items), photo=photo)

    def without_image(self) -> Detections:
        """The same without the image, to be kept in large numbers; it cannot be drawn."""
        return replace(self, photo=None)

    def _compared(self) -> tuple[object, ...]:
        return self.width, self.height, self.items, str(self.error or "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Detections) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Detection, ...]: ...
    def __getitem__(self, index: int | slice) -> Detection | tuple[Detection, ...]:
        return self.items[index]

    def __repr__(self) -> str:
        if self.error:
            return f"<Detections: error: {self.error}>"
        shown = [f"{one.name} {one.score:.2f} {one.box.pixels}" for one in self.items[:SHOWN]]
        if len(self) > SHOWN:
            shown.append(f"{len(self) - SHOWN} more")
        listed = "; ".join(shown) or "nothing found"
        return f"<Detections in {self.name} ({self.width}x{self.height}): {listed}>"

    # Images

    @property
    def image(self) -> Image:
        """The upright image, without boxes."""
        if self.error:
            raise self.error
        if self.photo is None:
            raise DataError(f"{self.name}: its image was not kept; use keep_images=True")
        return self.photo.decode()

    def draw(self, path: str | Path | None = None) -> Image:
        """The image with boxes, names and scores; also written to `path`, a .jpg or .png."""
        from petbox.images.draw import drawn
        from petbox.images.drawn_copies import SUFFIXES, save

        if path is not None and Path(path).suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: not the name of an image; end it with {', '.join(SUFFIXES)}")
        image = drawn(self.image, self.items, {})
        if path is not None:
            save(image, Path(path))
        return image

    def jpeg(self) -> bytes:
        """The drawn image as a JPEG file."""
        return self._file("JPEG", quality=90)

    def _repr_png_(self) -> bytes | None:
        return self._file("PNG", most=NOTEBOOK) if self.photo else None

    def _file(self, form: str, most: int | None = None, **options: Any) -> bytes:
        image, file = self.draw(), io.BytesIO()
        if most:
            image.thumbnail((most, most))
        image.save(file, form, **options)
        return file.getvalue()

    # Other forms

    def to_dict(self) -> dict[str, Any]:
        """What `petbox detect --json` prints."""
        if self.error:
            return {"picture": self.name, "error": str(self.error)}
        detections = [
            {"label": one.name, "id": one.label, "score": one.score, "box": list(one.box)}
            for one in self
        ]
        size = {"width": self.width, "height": self.height}
        return {"picture": self.name, **size, "detections": detections}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for each detection, in the columns of `petbox detect --csv`."""
        for one in self:
            size = self.width, self.height
            yield (self.name, *size, one.name, one.label, one.score, *one.box)

    def to_pandas(self) -> Any:
        """A DataFrame with the rows and columns of `petbox detect --csv`."""
        return needs("pandas").DataFrame(list(self.rows()), columns=COLUMNS)

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """COCO results: `bbox` is left, top, width, height in pixels, and not rounded."""
        return [
            {
                "image_id": self.name if image_id is None else image_id,
                "category_id": one.label,
                "bbox": [left, top, right - left, bottom - top],
                "score": one.score,
            }
            for one, (left, top, right, bottom) in zip(self, self._corners(), strict=True)
        ]

    def to_supervision(self) -> Any:
        """Detections of the `supervision` library; the names are in `data["class_name"]`."""
        supervision, numpy = needs("supervision"), needs("numpy")
        return supervision.Detections(
            xyxy=numpy.array(list(self._corners()), numpy.float32).reshape(-1, 4),
            confidence=numpy.array([one.score for one in self], numpy.float32),
            class_id=numpy.array([one.label for one in self], int),
            data={"class_name": numpy.array([one.name for one in self], str)},
        )

    def _corners(self) -> Iterator[tuple[float, float, float, float]]:
        """Left, top, right, bottom in pixels."""
        for ymin, xmin, ymax, xmax in (one.box for one in self):
            yield xmin * self.width, ymin * self.height, xmax * self.width, ymax * self.height
