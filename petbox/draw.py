"""Boxes, names and scores drawn onto pictures, and pictures laid out on a sheet.

The only place that counts in pixels. Chooses nothing: what is handed in is drawn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence

from petbox.errors import needs
from petbox.wire import Detection

needs("PIL", "client")

from PIL import Image, ImageDraw, ImageFont  # noqa: E402  # after the check for the extra

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in pixels

_SMALLEST = 9  # letters that can still be read, in pixels


def drawn(
    picture: Image.Image, detections: Iterable[Detection], names: Mapping[int, str]
) -> Image.Image:
    """A copy of `picture` with a box and a label for each detection.

    A label that is not in `names` goes by the detection's own name, or else by its number.
    """
    result = picture.convert("RGB")  # a copy, whatever the mode
    result.info.clear()  # a palette's transparent colour would spoil the saved copy
    pen = ImageDraw.Draw(result)
    found = sorted(detections, key=lambda detection: detection.score)  # the surest on top
    width = max(2, round(min(result.size) / 130))
    for detection in found:
        pen.rectangle(_rectangle(detection, result.size), None, colour(detection.label), width)
    taken: list[Rectangle] = []
    for detection in reversed(found):  # the surest chooses its label's place first
        taken.append(_label(pen, result.size, detection, names, taken))
    return result


def colour(label: int) -> Colour:
    """The class's own colour, the same in every picture; neighbours differ widely."""
    hue = (label * 0.618034) % 1  # the golden ratio never comes near where it was
    lightness = (0.42, 0.58)[label // 2 % 2]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def contact_sheet(
    pictures: Sequence[Image.Image], columns: int = 4, width: int = 1200, gap: int = 8
) -> Image.Image:
    """The pictures in rows that fill the width, each whole and in its own proportions."""
    rows = [pictures[at : at + columns] for at in range(0, len(pictures), columns)]
    heights = [_row_height(row, columns, width, gap) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + gap * (len(rows) + 1)), "white")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for picture in row:
            size = (round(height * picture.width / picture.height), height)
            sheet.paste(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (left, top))
            left += size[0] + gap
        top += height + gap
    return sheet


def _row_height(row: Sequence[Image.Image], columns: int, width: int, gap: int) -> int:
    """As high as fills the width; a short last row counts as filled with its like."""
    proportions = sum(picture.width / picture.height for picture in row) * columns / len(row)
    return max(1, int((width - gap * (columns + 1)) / proportions))


def _rectangle(detection: Detection, size: tuple[int, int]) -> Rectangle:
    """The box in pixels, within the picture and never turned around."""
    ymin, xmin, ymax, xmax = (min(max(edge, 0.0), 1.0) for edge in detection.box)
    right, bottom = size[0] - 1, size[1] - 1
    left, top = round(xmin * right), round(ymin * bottom)
    return left, top, max(left, round(xmax * right)), max(top, round(ymax * bottom))


def _label(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    detection: Detection,
    names: Mapping[int, str],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Draws a chip with name and score by the box, clear of `taken`; gives where it lies."""
    score = f"{detection.score:.0%}"
    text = f"{names.get(detection.label, detection.name or str(detection.label))} {score}"
    if not _fits(text, _SMALLEST, size):
        text = score  # the box's colour must do for the name
    font = _font(text, size)
    wide, high = font.getlength(text), float(sum(font.getmetrics()))
    pad = max(2.0, high / 5)
    box = _rectangle(detection, size)
    chip = _place((wide + 2 * pad, high + pad), box, size, taken)
    ground = colour(detection.label)
    pen.rounded_rectangle(chip, radius=pad, fill=ground)
    pen.text((chip[0] + pad, chip[1] + pad / 2), text, _readable_on(ground), font)
    return chip


def _font(text: str, size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    """Letters in proportion to the picture, smaller where `text` would not fit into it."""
    letters = max(round(min(size) / 24), 11)
    while letters > _SMALLEST and not _fits(text, letters, size):
        letters -= 1
    return _of_size(letters)


def _fits(text: str, letters: int, size: tuple[int, int]) -> bool:
    return _of_size(letters).getlength(text) <= size[0] - letters


def _of_size(letters: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=letters)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the default of a given size always is
    return font


def _place(
    chip: tuple[float, float],
    box: Rectangle,
    size: tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Above the box, else inside at its top, else at its foot; the first that is free."""
    wide, high = chip
    left = max(0.0, min(box[0], size[0] - wide))
    tops = (box[1] - high, box[1], box[3] - high, box[3])
    places = [
        (left, top, left + wide, top + high) for top in tops if top >= 0 and top + high <= size[1]
    ]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return next(iter(free or places), (left, 0.0, left + wide, high))


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _readable_on(ground: Colour) -> str:
    red, green, blue = ground
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
