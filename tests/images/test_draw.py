"""Drawing: boxes where they belong, readable labels, the original image unchanged."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops

from petbox.images.draw import color, contact_sheet, drawn
from petbox.wire import Detection

NAMES = {1: "Abyssinian", 2: "american_bulldog"}
GREY = (200, 200, 200)
Box = tuple[float, float, float, float]


def plain(width: int = 200, height: int = 100, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), GREY).convert(mode)


def found(box: Box = (0.5, 0.25, 0.9, 0.75), label: int = 1, score: float = 0.9) -> Detection:
    return Detection(label=label, score=score, box=box)


def changed(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The box of all pixels that are not the plain image's."""
    return ImageChops.difference(image, plain(*image.size)).getbbox()


def test_the_image_handed_in_is_not_touched() -> None:
    image = plain()
    drawn(image, [found()], NAMES)
    assert changed(image) is None


def test_without_detections_the_image_is_the_same() -> None:
    assert changed(drawn(plain(), [], NAMES)) is None


def test_the_box_is_drawn_at_its_edges() -> None:
    image = drawn(plain(400, 400), [found((0.25, 0.5, 0.75, 1.0))], NAMES)
    at = [(200, 200), (399, 200), (300, 299)]  # left, right, bottom
    assert {image.getpixel(place) for place in at} == {color(1)}
    assert image.getpixel((300, 250)) == GREY


@pytest.mark.parametrize(
    "box",
    [(0, 0, 1, 1), (-0.5, -1, 1.5, 2), (0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (1, 1, 2, 2)],
    ids=["whole", "larger", "empty", "turned around", "outside"],
)
@pytest.mark.parametrize("size", [(1, 1), (3, 400), (64, 48), (2000, 1500)])
def test_any_box_on_any_image_is_drawn(box: Box, size: tuple[int, int]) -> None:
    assert drawn(plain(*size), [found(box)], NAMES).size == size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    assert drawn(plain(mode=mode), [found()], NAMES).mode == "RGB"


def test_a_label_without_a_name_is_still_drawn() -> None:
    assert changed(drawn(plain(), [found(label=99)], NAMES)) is not None


def test_names_and_scores_differ_in_the_image() -> None:
    one, other, third = (
        drawn(plain(), [found(score=score)], names)
        for score, names in ((0.9, NAMES), (0.8, NAMES), (0.9, {1: "Bengal"}))
    )
    assert len({one.tobytes(), other.tobytes(), third.tobytes()}) == 3


def test_the_order_of_detections_does_not_matter() -> None:
    several = [found(score=0.9), found((0.1, 0.1, 0.8, 0.8), 2, 0.7)]
    forth, back = drawn(plain(), several, NAMES), drawn(plain(), several[::-1], NAMES)
    assert forth.tobytes() == back.tobytes()


def test_a_class_keeps_its_color_and_has_it_alone() -> None:
    colors = [color(label) for label in range(1, 91)]
    assert colors == [color(label) for label in range(1, 91)]
    assert len(set(colors)) == len(colors)


def test_two_labels_at_one_place_do_not_cover_each_other() -> None:
    both = drawn(plain(800, 600), [found(), found(label=2, score=0.8)], NAMES)
    alone = drawn(plain(800, 600), [found(label=2, score=0.8)], NAMES)
    first = drawn(plain(800, 600), [found()], NAMES)
    assert count(both, color(1)) >= 0.9 * chip_area(first, color(1))
    assert count(both, color(2)) >= 0.9 * chip_area(alone, color(2))


def count(image: Image.Image, expected: tuple[int, int, int]) -> int:
    return sum(image.getpixel((x, y)) == expected for x in range(800) for y in range(200, 340))


def chip_area(image: Image.Image, expected: tuple[int, int, int]) -> int:
    """The label's pixels, without the box's line."""
    return sum(image.getpixel((x, y)) == expected for x in range(800) for y in range(200, 300))


def test_a_sheet_is_as_wide_as_requested_and_keeps_proportions() -> None:
    sheet = contact_sheet([plain(200, 100), plain(100, 200), plain(300, 300)], columns=2, width=600)
    assert sheet.width == 600
    white = Image.new("RGB", sheet.size, "white")
    assert ImageChops.difference(sheet, white).getbbox() is not None


@pytest.mark.parametrize("number", [0, 1, 3, 4, 9])
def test_a_sheet_of_any_number_of_images(number: int) -> None:
    assert contact_sheet([plain()] * number, columns=4, width=400).width == 400


def test_a_short_last_row_is_no_higher_than_the_others() -> None:
    gap, width = 10, 410
    full = contact_sheet([plain()] * 4, columns=2, width=width, gap=gap)
    short = contact_sheet([plain()] * 3, columns=2, width=width, gap=gap)
    assert full.size == short.size
