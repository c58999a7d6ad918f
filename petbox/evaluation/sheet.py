"""Sheets of evaluated images: the truth and the detections drawn on each, a caption below.

Images are read again from the records, and only those that are shown.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petbox.data.records import examples
from petbox.evaluation.coco_metrics import EvaluatedImage, Metrics, Truth
from petbox.evaluation.mistakes import mistakes, shown
from petbox.wire import Detection

if TYPE_CHECKING:  # Pillow is imported when there is something to draw
    from PIL.Image import Image

MOST = 24
COLUMNS = 4
CELL = (300, 240)
GAP = 8
KEY = (
    "Dashed: the truth. In color: the detections with their scores; "
    "below its class's threshold only if right."
)


@dataclass(frozen=True)
class Entry:
    image: EvaluatedImage
    matches: Mapping[int, int | None]  # COCO's
    shown: Sequence[Detection]
    text: str = ""


def worst(
    images: Sequence[EvaluatedImage],
    metrics: Metrics,
    names: Mapping[int, str],
    scores: Mapping[int, float],
) -> list[Entry]:
    """The images with mistakes, the worst first: those with the largest sum of badness."""
    bad = []
    for image, matches in zip(images, metrics.matches, strict=True):
        if wrong := mistakes(image, matches, names, scores):
            text = "; ".join(one.text for one in wrong)
            badness = sum(one.badness for one in wrong)
            bad.append((badness, Entry(image, matches, shown(image, matches, scores), text)))
    bad.sort(key=lambda pair: (-pair[0], pair[1].image.number))
    return [entry for _, entry in bad]


def sample(
    images: Sequence[EvaluatedImage],
    metrics: Metrics,
    scores: Mapping[int, float],
    most: int = MOST,
) -> list[Entry]:
    """An even sample of all images, to show what a detector usually does."""
    every = max(1, len(images) / most)
    indices = [int(at * every) for at in range(min(most, len(images)))]
    chosen = [(images[at], metrics.matches[at]) for at in indices]
    return [Entry(image, matches, shown(image, matches, scores)) for image, matches in chosen]


def sheet(
    entries: Iterable[Entry], title: str, names: Mapping[int, str], records: Path, split: str
) -> bytes:
    """A PNG of the entries in their order, in rows under a title."""
    from petbox.images import draw

    chosen = {entry.image.number: entry for entry in entries}
    cells = {}
    if chosen:
        for number, example in enumerate(examples(records, split)):
            if number in chosen:
                cells[number] = _cell(chosen[number], example.name, example.encoded, names)
    width = COLUMNS * CELL[0] + (COLUMNS + 1) * GAP
    rows = draw.contact_sheet([cells[n] for n in chosen if n in cells], COLUMNS, width, GAP)
    file = io.BytesIO()
    draw.titled(rows, f"{title} {KEY}" if chosen else title).save(file, format="PNG")
    return file.getvalue()


def _ignored(one: Truth) -> str:
    return "a crowd" if one.crowd else "difficult" if one.difficult else ""


def _cell(entry: Entry, name: str, encoded: bytes, names: Mapping[int, str]) -> Image:
    from PIL import Image, ImageOps

    from petbox.images import draw

    with Image.open(io.BytesIO(encoded)) as image:
        # Scaled before drawing, so that lines and letters have the same size in all.
        small = ImageOps.contain(image.convert("RGB"), CELL, Image.Resampling.LANCZOS)
    found = set(entry.matches.values())  # named by the detections that match them
    truth = [
        ("" if at in found else _ignored(one) or names[one.label], one.box)
        for at, one in enumerate(entry.image.truth)
    ]
    result = draw.drawn(small, entry.shown, names, truth)
    if not entry.text:
        return draw.captioned(result, name, CELL, lines=1)
    return draw.captioned(result, f"{name}: {entry.text}", CELL)
