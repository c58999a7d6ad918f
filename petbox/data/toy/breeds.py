"""The toy breeds: five that differ in shape and coat, drawn at random from ovals and strokes.

An animal is drawn on a tile of its own, part by part from tail to whiskers. Backgrounds and images
with several animals are in `petbox.data.toy.scenes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from petbox.errors import needs

needs("PIL", "train")
needs("numpy", "train")

import numpy as np  # noqa: E402  # after the check for the extra
import numpy.typing as npt  # noqa: E402
from PIL import Image, ImageColor, ImageDraw  # noqa: E402

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom exclusive
Points = Sequence[tuple[float, float]]
Random = np.random.Generator


@dataclass(frozen=True)
class Breed:
    """A breed's looks; capitalized names are cats, as in Oxford-IIIT Pet."""

    name: str
    coat: str
    dark: str
    light: str
    eyes: str
    ears: Literal["pointed", "large", "floppy", "puffs"]
    marks: Literal["stripes", "tuxedo", "points", "spots", "curls"]
    head: tuple[float, float]  # half width and half height, of a tile 100 wide

    @property
    def species(self) -> str:
        return "cat" if self.name[0].isupper() else "dog"


BREEDS = (  # a breed's class id is its position here, alphabetical without regard to case
    Breed("curly_poodle", "#c9a184", "#8a6048", "#e5cdb8", "#3b2a20", "puffs", "curls", (24, 25)),
    Breed("Marmalade", "#f0a040", "#b0521a", "#fde6c0", "#7fc64a", "pointed", "stripes", (34, 27)),
    Breed("Midnight", "#34343e", "#17171f", "#f6f4f0", "#f4d03a", "pointed", "tuxedo", (31, 28)),
    Breed("Siam_Point", "#efe3cd", "#5b463c", "#fbf6ea", "#4aa3ea", "large", "points", (27, 28)),
    Breed("spotted_hound", "#fafafa", "#2b2b30", "#ffffff", "#5a3a1e", "floppy", "spots", (27, 31)),
)
INK: Color = (38, 30, 34)
TILE = (100, 124)  # an animal is drawn on a tile of this many units
FLOPPY_EAR = ((0.45, -0.92), (0.95, -0.85), (1.38, -0.2), (1.42, 0.55), (1.12, 0.8), (0.8, -0.2))
UNIT = 4  # pixels a unit: larger than ever needed, then scaled down, which smooths the edges


def animal(breed: Breed, side: float, rng: Random) -> Image.Image:
    """One animal, about `side` pixels at its longer side, cut to what is drawn of it."""
    pen = Pen(breed, rng)
    for part in (_tail, _body, _ears_behind, _head, _marks, _ears_before, _face):
        part(pen)
    image = pen.image.crop(_opaque_box(pen.image))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale, stretch = side / max(image.size), rng.uniform(0.9, 1.1)
    size = (image.width * scale * min(1, stretch), image.height * scale / max(1, stretch))
    image = image.resize((round(size[0]), round(size[1])), Image.Resampling.BOX)
    image = image.rotate(rng.uniform(-11, 11), Image.Resampling.BILINEAR, expand=True)
    return image.crop(_opaque_box(image))


def _opaque_box(image: Image.Image) -> Box:
    """The tight box around the pixels that are more than half opaque."""
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 127)).getbbox()
    assert box is not None
    return box


class Pen:
    """Draws one animal in units of its tile, with a thin ink line around each part."""

    def __init__(self, breed: Breed, rng: Random) -> None:
        self.breed, self.rng = breed, rng
        tint = rng.integers(-14, 15, 3)
        self.coat, self.dark, self.light = (
            _tinted(rgb(color), tint) for color in (breed.coat, breed.dark, breed.light)
        )
        self.image = Image.new("RGBA", (TILE[0] * UNIT, TILE[1] * UNIT), (*INK, 0))
        self._draw = ImageDraw.Draw(self.image)
        self.head = (50.0, 44.0)
        self.head_width = breed.head[0] * rng.uniform(0.95, 1.05)
        self.head_height = breed.head[1] * rng.uniform(0.95, 1.05)

    def oval(
        self, x: float, y: float, rx: float, ry: float, fill: Color, line: Color | None = INK
    ) -> None:
        box = tuple(UNIT * v for v in (x - rx, y - ry, x + rx, y + ry))
        self._draw.ellipse(box, fill=fill, outline=line, width=UNIT if line else 0)

    def shape(self, points: Points, fill: Color, line: Color | None = INK) -> None:
        outline = [(UNIT * x, UNIT * y) for x, y in points]
        self._draw.polygon(outline, fill=fill)
        if line:
            self._draw.line(
                [*outline, outline[0], outline[1]], fill=line, width=UNIT, joint="curve"
            )

    def stroke(self, points: Points, color: Color, width: float) -> None:
        """A soft line with round ends."""
        at = [(UNIT * x, UNIT * y) for x, y in points]
        self._draw.line(at, fill=color, width=round(UNIT * width), joint="curve")
        for x, y in (at[0], at[-1]):
            r = UNIT * width / 2
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def arc(
        self, x: float, y: float, r: float, start: int, end: int, color: Color, width: float
    ) -> None:
        box = tuple(UNIT * v for v in (x - r, y - r, x + r, y + r))
        self._draw.arc(box, start, end, fill=color, width=round(UNIT * width))

    def on_head(self, x: float, y: float) -> tuple[float, float]:
        """The point `x`, `y` of the head, whose edges are at -1 and 1."""
        return self.head[0] + x * self.head_width, self.head[1] + y * self.head_height


def _tail(pen: Pen) -> None:
    marks = pen.breed.marks
    if marks == "curls":
        pen.oval(80, 92, 8, 8, pen.light)
        return
    bend = pen.rng.uniform(-4, 6)
    path = _smooth([(62, 110), (78, 112), (86 + bend, 104), (87 + bend, 92), (82 + bend, 84)])
    pen.stroke(path, INK, 9)
    pen.stroke(path, pen.dark if marks == "points" else pen.coat, 7)
    if marks in ("stripes", "tuxedo"):
        pen.stroke(path[-6:], pen.dark if marks == "stripes" else pen.light, 7)


def _body(pen: Pen) -> None:
    pen.oval(50, 94, 25, 27, pen.coat)
    for x in (37, 63):
        pen.oval(x, 115, 11, 7, pen.dark if pen.breed.marks == "points" else pen.light)


def _ears_behind(pen: Pen) -> None:
    """Cats' ears stand up behind the head's edge."""
    if pen.breed.species == "dog":
        return
    large = pen.breed.ears == "large"
    color = pen.dark if large else pen.coat
    tip = (-1.08, -1.45) if large else (-0.82, -1.42)
    for side in (-1, 1):
        outer = [(-1.0, -0.1), tip, (-0.12, -0.85)]
        pen.shape([pen.on_head(side * x, y) for x, y in outer], color)
        inner = [(-0.84, -0.35), (tip[0] * 0.95, tip[1] * 0.9), (-0.32, -0.8)]
        pen.shape([pen.on_head(side * x, y) for x, y in inner], (232, 160, 160), None)


def _head(pen: Pen) -> None:
    x, y = pen.head
    if pen.breed.marks == "curls":  # a cloud, not an oval
        for turn in np.linspace(0, 2 * np.pi, 11, endpoint=False):
            pen.oval(*pen.on_head(0.8 * np.cos(turn), 0.8 * np.sin(turn)), 9, 9, pen.coat)
        for turn in np.linspace(0, 2 * np.pi, 13, endpoint=False):
            pen.oval(50 + 21 * np.cos(turn), 94 + 21 * np.sin(turn), 7, 7, pen.coat)
        pen.oval(50, 94, 22, 22, pen.coat, None)
        pen.oval(x, y, pen.head_width, pen.head_height, pen.coat, None)
    else:
        pen.oval(x, y, pen.head_width, pen.head_height, pen.coat)


def _marks(pen: Pen) -> None:
    """The coat's pattern, kept within the animal."""
    mask = pen.image.getchannel("A")
    draw = {"stripes": _stripes, "tuxedo": _tuxedo, "points": _points, "spots": _spots}
    draw.get(pen.breed.marks, _curls)(pen)
    pen.image.putalpha(mask)


def _stripes(pen: Pen) -> None:
    for x in (-0.36, 0.0, 0.36):
        pen.stroke([pen.on_head(x, -0.97), pen.on_head(x * 0.8, -0.45)], pen.dark, 5)
    for side in (-1, 1):
        for y in (0.0, 0.3, 0.6):
            pen.stroke(
                [pen.on_head(side * 1.0, y), pen.on_head(side * 0.68, y + 0.03)], pen.dark, 4
            )
        for y in (82, 92, 102):
            pen.stroke([(50 + side * 25, y), (50 + side * 12, y + 3)], pen.dark, 4)
    pen.oval(*pen.on_head(0, 0.48), 13, 10, pen.light, None)


def _tuxedo(pen: Pen) -> None:
    pen.oval(50, 92, 13, 20, pen.light, None)
    pen.shape([pen.on_head(*p) for p in ((0, -0.6), (-0.5, 0.75), (0.5, 0.75))], pen.light, None)
    pen.oval(*pen.on_head(0, 0.55), 16, 11, pen.light, None)


def _points(pen: Pen) -> None:
    for layer in range(5):  # the mask fades into the coat
        share = layer / 4
        color = _mixed(pen.coat, pen.dark, share)
        pen.oval(*pen.on_head(0, 0.26), 22 - 7 * share, 23 - 7 * share, color, None)


def _spots(pen: Pen) -> None:
    for _ in range(13):
        x, y = pen.rng.uniform(24, 76), pen.rng.uniform(66, 112)
        r = pen.rng.uniform(2.5, 5)
        pen.oval(x, y, r, r * pen.rng.uniform(0.7, 1.2), pen.dark, None)
    for x, y in ((-0.35, -0.75), (0.25, -0.85), (0.7, 0.35), (-0.75, 0.4), (0.0, -0.5)):
        r = pen.rng.uniform(2.2, 4)
        pen.oval(*pen.on_head(x, y), r, r, pen.dark, None)
    pen.oval(*pen.on_head(0.42, -0.12), 10, 11, pen.dark, None)  # the patch over one eye


def _curls(pen: Pen) -> None:
    for _ in range(70):
        x, y = pen.rng.uniform(20, 80), pen.rng.uniform(16, 114)
        start = int(pen.rng.integers(0, 360))
        pen.arc(x, y, pen.rng.uniform(3, 5), start, start + 240, pen.dark, 1.4)
    pen.oval(*pen.on_head(0, 0.32), 15, 15, pen.light, None)


def _ears_before(pen: Pen) -> None:
    """Dogs' ears hang before the head."""
    if pen.breed.ears == "floppy":
        for side in (-1, 1):
            ear = [pen.on_head(side * x, y) for x, y in FLOPPY_EAR]
            pen.shape(_smooth([*ear, ear[0]]), pen.dark)
    elif pen.breed.ears == "puffs":
        for side in (-1, 1):
            for x, y, r in ((1.25, -0.25, 9), (1.4, 0.15, 10), (1.3, 0.55, 9)):
                pen.oval(*pen.on_head(side * x, y), r, r, pen.dark)
        for x in (-0.45, 0.0, 0.45):
            pen.oval(*pen.on_head(x, -1.05), 9, 9, pen.light)


def _face(pen: Pen) -> None:
    blink = pen.rng.random() < 0.1
    gaze = pen.rng.uniform(-1.2, 1.2)
    lid = (165, 155, 160) if pen.breed.marks in ("tuxedo", "spots") else INK  # visible on black too
    for side in (-1, 1):
        x, y = pen.on_head(side * 0.42, -0.08)
        if blink:
            pen.arc(x, y - 2, 6, 20, 160, lid, 1.6)
        else:
            _eye(pen, x, y, gaze)
    (_cat_mouth if pen.breed.species == "cat" else _dog_mouth)(pen)


def _eye(pen: Pen, x: float, y: float, gaze: float) -> None:
    cat = pen.breed.species == "cat"
    color = rgb(pen.breed.eyes)
    pen.oval(x, y, 6.4, 7 if cat else 6.4, color if cat else (255, 255, 255))
    if cat:
        pen.oval(x + gaze, y, 2.6, 5.6, INK, None)
    else:
        pen.oval(x + gaze, y + 0.6, 4.6, 4.6, color, None)
        pen.oval(x + gaze, y + 0.6, 2.8, 2.8, INK, None)
    pen.oval(x + gaze - 1.6, y - 2.2, 1.5, 1.5, (255, 255, 255), None)


def _cat_mouth(pen: Pen) -> None:
    x, y = pen.on_head(0, 0.4)
    pen.shape([(x - 3.6, y - 2), (x + 3.6, y - 2), (x, y + 2.4)], (224, 122, 130))
    line = (235, 230, 228) if pen.breed.marks == "points" else INK
    for side in (-1, 1):
        pen.arc(x + side * 3.6, y + 3, 3.6, 0, 180, line, 1.2)
        for lift in (-3, 0, 3):
            pen.stroke(
                [(x + side * 12, y + 3 + lift / 2), (x + side * 27, y + 2 + lift)], line, 0.7
            )


def _dog_mouth(pen: Pen) -> None:
    x, y = pen.on_head(0, 0.36)
    pen.oval(x, y + 5, 13, 9, pen.light)
    if pen.rng.random() < 0.6:
        pen.oval(x, y + 14, 4.4, 6.5, (236, 112, 128))
        pen.stroke([(x, y + 11), (x, y + 16)], (190, 70, 90), 0.8)
    for side in (-1, 1):
        pen.arc(x + side * 4.6, y + 5, 4.6, 0, 180, INK, 1.4)
    pen.oval(x, y, 6, 4.4, INK)
    pen.oval(x - 1.6, y - 1.4, 1.6, 1, (150, 145, 150), None)


def rgb(color: str) -> Color:
    red, green, blue, *_ = ImageColor.getrgb(color)
    return red, green, blue


def _tinted(color: Color, tint: npt.NDArray[np.int64]) -> Color:
    red, green, blue = np.clip(np.array(color) + tint, 0, 255).tolist()
    return red, green, blue


def _mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _smooth(points: Points) -> Points:
    """The same path with its corners cut twice (Chaikin)."""
    for _ in range(2):
        cut = [
            (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t)
            for a, b in pairwise(points)
            for t in (0.25, 0.75)
        ]
        points = [points[0], *cut, points[-1]]
    return points
