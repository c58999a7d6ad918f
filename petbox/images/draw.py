"""Boxes, names and scores drawn on images, and images laid out on a sheet.

Detections are boxes in the color of their class; ground truth is dashed and white.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence

from petbox.errors import needs
from petbox.wire import Box, Detection

needs("PIL", "client")

from PIL import Image, ImageDraw, ImageFont, ImageOps  # noqa: E402  # after the check for the extra

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in pixels

WHITE: Color = (255, 255, 255)
_SMALLEST = 9  # pixels of a font that can still be read
_WRITTEN, _LINE = 13, 18  # pixels of the font of captions and titles, and of their lines


def drawn(
    image: Image.Image,
    detections: Iterable[Detection],
    names: Mapping[int, str],
    truth: Iterable[tuple[str, Box]] = (),
) -> Image.Image:
    """A copy of `image` with a box and a label for each detection; dashed boxes for the truth.

    A class that is not in `names` is shown by the detection's own name, or else by its number. Each
    box of the truth has its own text, which may be empty.
    """
    result = image.convert("RGB")  # a copy, whatever the mode
    result.info.clear()  # a palette's transparent color would damage the saved copy
    pen = ImageDraw.Draw(result)
    found = sorted(detections, key=lambda detection: detection.score)  # the highest score on top
    true = [(text, _rectangle(box, result.size)) for text, box in truth]
    width = max(2, round(min(result.size) / 130))
    for detection in found:
        box = _rectangle(detection.box, result.size)
        pen.rectangle(box, None, color(detection.label), width)
    for _, box in true:
        _dashes(pen, box, width)
    occupied: list[Rectangle] = []
    for detection in reversed(found):  # the highest score places its label first
        text, box = _label(detection, names, result.size), _rectangle(detection.box, result.size)
        occupied.append(_chip(pen, result.size, text, color(detection.label), box, occupied))
    for text, box in true:
        if text:
            occupied.append(_chip(pen, result.size, text, WHITE, box, occupied, at_foot=True))
    return result


def color(label: int) -> Color:
    """The color of a class, the same in every image; neighboring classes differ widely."""
    hue = (label * 0.618034) % 1  # multiples of the golden ratio never come close to each other
    lightness = (0.42, 0.58)[label // 2 % 2]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def contact_sheet(
    images: Sequence[Image.Image], columns: int = 4, width: int = 1200, gap: int = 8
) -> Image.Image:
    """The images in rows that fill the width, each whole and in its own proportions."""
    rows = [images[at : at + columns] for at in range(0, len(images), columns)]
    heights = [_row_height(row, columns, width, gap) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + gap * (len(rows) + 1)), "white")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for image in row:
            size = (round(height * image.width / image.height), height)
            sheet.paste(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), (left, top))
            left += size[0] + gap
        top += height + gap
    return sheet


def captioned(image: Image.Image, text: str, size: tuple[int, int], lines: int = 3) -> Image.Image:
    """The image fitted into `size`, with `text` beneath it, cut after so many lines."""
    result = Image.new("RGB", (size[0], size[1] + lines * _LINE), "white")
    fitted = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    result.paste(fitted, ((size[0] - fitted.width) // 2, size[1] - fitted.height))
    rows = _wrapped(text, size[0])
    if len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1][:-1] + "…"]
    _write(result, (0, size[1]), rows)
    return result


def titled(sheet: Image.Image, text: str, gap: int = 8) -> Image.Image:
    """The sheet with `text` above it."""
    rows = _wrapped(text, sheet.width - 2 * gap)
    high = gap + len(rows) * _LINE
    result = Image.new("RGB", (sheet.width, sheet.height + high), "white")
    result.paste(sheet, (0, high))
    _write(result, (gap, gap), rows)
    return result


def _write(image: Image.Image, corner: tuple[int, int], rows: Iterable[str]) -> None:
    for at, row in enumerate(rows):
        position = (corner[0], corner[1] + at * _LINE)
        ImageDraw.Draw(image).text(position, row, "black", _of_size(_WRITTEN))


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
    """The height at which the row fills the width; a short last row counts as filled up."""
    proportions = sum(image.width / image.height for image in row) * columns / len(row)
    return max(1, int((width - gap * (columns + 1)) / proportions))


def _rectangle(box: Box, size: tuple[int, int]) -> Rectangle:
    """The box in pixels, within the image and never inverted."""
    ymin, xmin, ymax, xmax = (min(max(edge, 0.0), 1.0) for edge in box)
    right, bottom = size[0] - 1, size[1] - 1
    left, top = round(xmin * right), round(ymin * bottom)
    return left, top, max(left, round(xmax * right)), max(top, round(ymax * bottom))


def _label(detection: Detection, names: Mapping[int, str], size: tuple[int, int]) -> str:
    """Name and score; only the score, beside the color of the box, if both do not fit."""
    score = f"{detection.score:.0%}"
    text = f"{names.get(detection.label, detection.name or str(detection.label))} {score}"
    return text if _fits(text, _SMALLEST, size) else score


def _chip(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    text: str,
    ground: Color,
    box: Rectangle,
    occupied: Sequence[Rectangle],
    *,
    at_foot: bool = False,
) -> Rectangle:
    """Draws a label at the box, clear of `occupied`; returns its position."""
    font = _font(text, size)
    wide, high = font.getlength(text), float(sum(font.getmetrics()))
    pad = max(2.0, high / 5)
    chip = _position((wide + 2 * pad, high + pad), box, size, occupied, at_foot=at_foot)
    pen.rounded_rectangle(chip, radius=pad, fill=ground)
    pen.text((chip[0] + pad, chip[1] + pad / 2), text, _readable_on(ground), font)
    return chip


def _dashes(pen: ImageDraw.ImageDraw, box: Rectangle, width: int) -> None:
    """White dashes on black, which show on any image and on any box beneath."""
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
    """A font in proportion to the image, smaller where `text` would not fit."""
    letters = max(round(min(size) / 24), 11)
    while letters > _SMALLEST and not _fits(text, letters, size):
        letters -= 1
    return _of_size(letters)


def _fits(text: str, letters: int, size: tuple[int, int]) -> bool:
    return _of_size(letters).getlength(text) <= size[0] - letters


def _of_size(letters: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=letters)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the default font of a given size always is
    return font


def _position(
    chip: tuple[float, float],
    box: Rectangle,
    size: tuple[int, int],
    occupied: Sequence[Rectangle],
    *,
    at_foot: bool = False,
) -> Rectangle:
    """Above the box, else inside at its top, else at its bottom: the first position that is free.

    In the opposite order with `at_foot`.
    """
    wide, high = chip
    left = max(0.0, min(box[0], size[0] - wide))
    tops = [box[1] - high, box[1], box[3] - high, box[3]]
    if at_foot:
        tops.reverse()
    positions = [
        (left, top, left + wide, top + high) for top in tops if top >= 0 and top + high <= size[1]
    ]
    free = [one for one in positions if not any(_overlap(one, other) for other in occupied)]
    return next(iter(free or positions), (left, 0.0, left + wide, high))


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _readable_on(ground: Color) -> str:
    red, green, blue = ground
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
