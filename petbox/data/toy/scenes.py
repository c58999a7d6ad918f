"""Toy scenes: one to three animals of one breed on a noisy background, and their boxes.

All randomness comes from the generator passed in, so a scene is always the same for the same seed.
`petbox.data.toy.command` writes the files and lists.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from petbox.data.toy.breeds import INK, Box, Breed, Color, Random, animal, rgb

Pixels = npt.NDArray[np.float32]


def scene(breed: Breed, rng: Random) -> tuple[Image.Image, list[Box]]:
    """A background with one to three animals of `breed`, and the box of each."""
    size = _image_size(rng)
    image = _background(size, rng)
    boxes: list[Box] = []
    for share in _shares(rng):
        pet = animal(breed, share * min(size), rng)
        box = _free_box(size, pet.size, boxes, rng)
        if box:
            _paste(image, pet, box)
            boxes.append(box)
    return image, boxes


def _image_size(rng: Random) -> tuple[int, int]:
    long = int(rng.integers(260, 421))
    short = max(180, round(long * rng.uniform(0.62, 1.0)))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _shares(rng: Random) -> list[float]:
    """How much of the image's side each animal takes: fewer animals are larger ones."""
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    low, high = {1: (0.45, 0.72), 2: (0.38, 0.54), 3: (0.33, 0.44)}[count]
    return sorted(rng.uniform(low, high, count).tolist(), reverse=True)


def _free_box(
    size: tuple[int, int], pet: tuple[int, int], others: list[Box], rng: Random
) -> Box | None:
    """A box that overlaps no other animal; None if the image is full.

    The first animal always fits, because it is smaller than the image.
    """
    for _ in range(60):
        left = int(rng.integers(0, size[0] - pet[0] + 1))
        top = int(rng.integers(0, size[1] - pet[1] + 1))
        box = (left, top, left + pet[0], top + pet[1])
        if not any(_overlap(box, other) for other in others):
            return box
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _paste(image: Image.Image, pet: Image.Image, box: Box) -> None:
    """Pastes the animal on its shadow."""
    left, top, right, bottom = box
    wide, high = right - left, (bottom - top) // 12
    shadow = Image.new("L", (wide + 4 * high, 4 * high))
    ImageDraw.Draw(shadow).ellipse((high, high, wide + 3 * high, 3 * high), fill=120)
    shadow = shadow.filter(ImageFilter.BoxBlur(high / 2))
    image.paste(INK, (left - 2 * high, bottom - 3 * high), shadow)
    image.paste(pet, (left, top), pet)


def _background(size: tuple[int, int], rng: Random) -> Image.Image:
    """Wall and ground in two colors, a few soft or sharp objects, clouds of noise, grain."""
    width, height = size
    upper, lower = np.array(_pastel(rng)), np.array(_pastel(rng))
    horizon = rng.uniform(0.15, 0.5) * height
    down = np.clip((np.arange(height) - horizon) / (height * rng.uniform(0.02, 0.5)) + 0.5, 0, 1)
    column = upper + (lower - upper) * down[:, None, None]  # [height, 1, 3]
    image = _objects(Image.fromarray(column.astype(np.uint8)).resize(size), rng)
    noise = _clouds(size, 4, rng) * 26 + _clouds(size, 24, rng) * 16
    noise += rng.standard_normal((height, width), np.float32) * int(rng.integers(4, 13))
    pixels = np.asarray(image, np.float32) + noise[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _pastel(rng: Random) -> Color:
    hue, saturation, light = rng.integers(0, 360), rng.integers(12, 52), rng.integers(52, 84)
    return rgb(f"hsl({hue},{saturation}%,{light}%)")


def _clouds(size: tuple[int, int], cells: int, rng: Random) -> Pixels:  # [height, width]
    small = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR))


def _objects(image: Image.Image, rng: Random) -> Image.Image:
    """Adds balls, cushions and planks, which are not pets."""
    layer = image.copy()
    draw = ImageDraw.Draw(layer)
    for _ in range(int(rng.integers(3, 10))):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        w, h = rng.uniform(0.04, 0.22, 2) * min(image.size)
        box = (x - w, y - h, x + w, y + h)
        kind = rng.integers(3)
        if kind == 0:
            draw.ellipse((x - w, y - w, x + w, y + w), fill=_pastel(rng))
        elif kind == 1:
            draw.rounded_rectangle(box, radius=min(w, h) * 0.5, fill=_pastel(rng))
        else:
            draw.line((x - 3 * w, y - h, x + 3 * w, y + h), fill=_pastel(rng), width=int(w / 3) + 1)
    if rng.random() < 0.5:
        layer = layer.filter(ImageFilter.BoxBlur(rng.uniform(1, 4)))
    return Image.blend(image, layer, rng.uniform(0.5, 1.0))
