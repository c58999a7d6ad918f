"""Boxes, names and scores drawn onto pictures, and pictures laid out on a sheet.

What was found is a box in its class's colour; what is there in truth is dashed and white. The only
place that counts in pixels. Chooses nothing: what is handed in is drawn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence

from petbox.errors import needs
from petbox.wire import Box, Detection

needs("PIL", "client")

from PIL import Image, ImageDraw, ImageFont, ImageOps  # noqa: E402  # after the check for the extra

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in pixels

WHITE: Colour = (255, 255, 255)
_SMALLEST = 9  # letters that can still be read, in pixels
_WRITTEN, _LINE = 13, 18  # letters of captions and titles, and their lines


def drawn(
    picture: Image.Image,
    detections: Iterable[Detection],
    names: Mapping[int, str],
    truth: Iterable[tuple[str, Box]] = (),
) -> Image.Image:
    """A copy of `picture` with a box and a label for each detection; dashed ones for the truth.

    A label that is not in `names` goes by the detection's own name, or else by its number. What
    is true has its words with it, which may be none.
    """
    result = picture.convert("RGB")  # a copy, whatever the mode
    result.info.clear()  # a palette's transparent colour would spoil the saved copy
    pen = ImageDraw.Draw(result)
    found = sorted(detections, key=lambda detection: detection.score)  # the surest on top
    true = [(text, _rectangle(box, result.size)) for text, box in truth]
    width = max(2, round(min(result.size) / 130))
    for detection in found:
        box = _rectangle(detection.box, result.size)
        pen.rectangle(box, None, colour(detection.label), width)
    for _, box in true:
        _dashes(pen, box, width)
    taken: list[Rectangle] = []
    for detection in reversed(found):  # the surest chooses its label's place first
        taken.append(_label(pen, result.size, detection, names, taken))
    for text, box in true:
        if text:
            taken.append(_chip(pen, result.size, text, WHITE, box, taken, at_foot=True))
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


def captioned(
    picture: Image.Image, text: str, size: tuple[int, int], lines: int = 3
) -> Image.Image:
    """The picture made to fit into `size`, and `text` beneath it, cut after so many lines."""
    result = Image.new("RGB", (size[0], size[1] + lines * _LINE), "white")
    fitted = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    result.paste(fitted, ((size[0] - fitted.width) // 2, size[1] - fitted.height))
    rows = _wrapped(text, size[0])
    if len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1][:-1] + "…"]
    _write(result, (0, size[1]), rows)
    return result


def titled(sheet: Image.Image, text: str, gap: int = 8) -> Image.Image:
    """The sheet with a text above it."""
    rows = _wrapped(text, sheet.width - 2 * gap)
    high = gap + len(rows) * _LINE
    result = Image.new("RGB", (sheet.width, sheet.height + high), "white")
    result.paste(sheet, (0, high))
    _write(result, (gap, gap), rows)
    return result


def _write(image: Image.Image, corner: tuple[int, int], rows: Iterable[str]) -> None:
    for at, row in enumerate(rows):
        place = (corner[0], corner[1] + at * _LINE)
        ImageDraw.Draw(image).text(place, row, "black", _of_size(_WRITTEN))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines no wider than `width`, broken at spaces, or anywhere in a longer word."""
    font, rows = _of_size(_WRITTEN), [""]
    for word in text.split():
        line = f"{rows[-1]} {word}".lstrip()
        if font.getlength(line) <= width:
            rows[-1] = line
            continue
        if rows[-1]:
            rows.append("")
        for letter in word:
            if font.getlength(rows[-1] + letter) > width:
                rows.append("")
            rows[-1] += letter
    return rows


def _row_height(row: Sequence[Image.Image], columns: int, width: int, gap: int) -> int:
    """As high as fills the width; a short last row counts as filled with its like."""
    proportions = sum(picture.width / picture.height for picture in row) * columns / len(row)
    return max(1, int((width - gap * (columns + 1)) / proportions))


def _rectangle(box: Box, size: tuple[int, int]) -> Rectangle:
    """The box in pixels, within the picture and never turned around."""
    ymin, xmin, ymax, xmax = (min(max(edge, 0.0), 1.0) for edge in box)
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
    box, ground = _rectangle(detection.box, size), colour(detection.label)
    return _chip(pen, size, text, ground, box, taken)


def _chip(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    text: str,
    ground: Colour,
    box: Rectangle,
    taken: Sequence[Rectangle],
    *,
    at_foot: bool = False,
) -> Rectangle:
    font = _font(text, size)
    wide, high = font.getlength(text), float(sum(font.getmetrics()))
    pad = max(2.0, high / 5)
    chip = _place((wide + 2 * pad, high + pad), box, size, taken, at_foot=at_foot)
    pen.rounded_rectangle(chip, radius=pad, fill=ground)
    pen.text((chip[0] + pad, chip[1] + pad / 2), text, _readable_on(ground), font)
    return chip


def _dashes(pen: ImageDraw.ImageDraw, box: Rectangle, width: int) -> None:
    """White dashes on black, which show on any picture and on any box beneath."""
    left, top, right, bottom = map(round, box)
    pen.rectangle(box, None, "black", width)
    dash = 4 * width
    for x in range(left, right, 2 * dash):
        for y in (top, bottom - width + 1):
            pen.rectangle((x, y, min(x + dash - 1, right), y + width - 1), "white")
    for y in range(top, bottom, 2 * dash):
        for x in (left, right - width + 1):
            pen.rectangle((x, y, x + width - 1, min(y + dash - 1, bottom)), "white")


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
    *,
    at_foot: bool = False,
) -> Rectangle:
    """Above the box, else inside at its top, else at its foot; the first that is free.

    The other way around for what belongs `at_foot`.
    """
    wide, high = chip
    left = max(0.0, min(box[0], size[0] - wide))
    tops = [box[1] - high, box[1], box[3] - high, box[3]]
    if at_foot:
        tops.reverse()
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
