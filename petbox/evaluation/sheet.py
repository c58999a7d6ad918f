"""Sheets of evaluated pictures: what is there and what was found, drawn into each, and words below.

Pictures are read again from the records, and only those that are shown.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petbox.data.records import examples
from petbox.evaluation.coco_metrics import Judgement
from petbox.evaluation.comparison import Compared
from petbox.evaluation.mistakes import SURE, misses, shown

if TYPE_CHECKING:  # Pillow is asked for when there is something to draw
    from PIL.Image import Image

MOST = 24
COLUMNS = 4
CELL = (300, 240)
GAP = 8
KEY = (
    "Dashed: what is there. In colour: what was found, and how sure; "
    f"below {SURE:.0%} only where it is right."
)


@dataclass(frozen=True)
class Entry:
    """A picture for a sheet."""

    picture: Compared
    matches: Mapping[int, int | None]  # COCO's pairs in it
    text: str = ""


def worst(
    pictures: Sequence[Compared], judgement: Judgement, names: Mapping[int, str]
) -> list[Entry]:
    """The pictures with something wrong in them, the worst first: where most is most wrong."""
    bad = []
    for picture, matches in zip(pictures, judgement.matches, strict=True):
        if wrong := misses(picture, matches, names):
            text = "; ".join(miss.text for miss in wrong)
            badness = sum(miss.badness for miss in wrong)
            bad.append((badness, Entry(picture, matches, text)))
    bad.sort(key=lambda pair: (-pair[0], pair[1].picture.number))
    return [entry for _, entry in bad]


def sample(pictures: Sequence[Compared], judgement: Judgement, most: int = MOST) -> list[Entry]:
    """Pictures taken evenly from all, for what a detector usually does."""
    every = max(1, len(pictures) / most)
    places = [int(at * every) for at in range(min(most, len(pictures)))]
    return [Entry(pictures[at], judgement.matches[at]) for at in places]


def sheet(
    entries: Iterable[Entry], title: str, names: Mapping[int, str], records: Path, split: str
) -> bytes:
    """A PNG of the entries' pictures in their order, in rows under a title."""
    from petbox.images import draw

    wanted = {entry.picture.number: entry for entry in entries}
    cells = {}
    if wanted:
        for example in examples(records, split):
            if example.source_id in wanted:
                entry = wanted[example.source_id]
                cells[example.source_id] = _cell(entry, example.name, example.encoded, names)
    width = COLUMNS * CELL[0] + (COLUMNS + 1) * GAP
    rows = draw.contact_sheet([cells[n] for n in wanted if n in cells], COLUMNS, width, GAP)
    file = io.BytesIO()
    draw.titled(rows, f"{title} {KEY}" if wanted else title).save(file, format="PNG")
    return file.getvalue()


def _cell(entry: Entry, name: str, encoded: bytes, names: Mapping[int, str]) -> Image:
    from PIL import Image, ImageOps

    from petbox.images import draw

    with Image.open(io.BytesIO(encoded)) as picture:
        # As large as it will be shown first, so that lines and letters are alike in all.
        small = ImageOps.contain(picture.convert("RGB"), CELL, Image.Resampling.LANCZOS)
    found = set(entry.matches.values())  # a box of the same name says what these are
    truth = [
        ("" if at in found else "a crowd" if one.crowd else names[one.label], one.box)
        for at, one in enumerate(entry.picture.truth)
    ]
    result = draw.drawn(small, shown(entry.picture, entry.matches), names, truth)
    if not entry.text:
        return draw.captioned(result, name, CELL, lines=1)
    return draw.captioned(result, f"{name}: {entry.text}", CELL)
