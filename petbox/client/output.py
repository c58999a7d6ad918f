"""What was found in pictures, written to stdout: a table, or lines of tabs, JSON or CSV.

Lines are written as soon as they are known; a table when all are, or when the work breaks off.
Boxes stay in fractions, percent in the table; asks and draws nothing.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from petbox.errors import needs
from petbox.wire import Detection


@dataclass(frozen=True)
class Found:
    """What one picture came to: its detections, the surest first, or why there are none."""

    picture: str
    size: tuple[int, int] = (0, 0)  # width and height, upright
    detections: tuple[Detection, ...] = ()
    error: str = ""


List = Callable[[Found], None]

BREAKS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # a file's name may hold even these


@contextmanager
def listing(*, as_json: bool = False, as_csv: bool = False) -> Iterator[List]:
    """Takes what was found in each picture, in turn."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names are any bytes, terminals not always UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    if as_json:
        yield lambda found: print(json_line(found), flush=True)
    elif as_csv:
        print(csv_lines([CSV_HEAD]), end="", flush=True)
        yield lambda found: print(csv_lines(csv_rows(found)), end="", flush=True)
    elif sys.stdout.isatty():
        needs("rich", "client")
        everything: list[Found] = []
        try:
            yield everything.append
        finally:
            if everything:
                _print_table(everything)
    else:
        yield lambda found: print(tabbed_lines(found), end="", flush=True)


def json_line(found: Found) -> str:
    if found.error:
        return json.dumps({"picture": found.picture, "error": found.error})
    width, height = found.size
    detections = [
        {"label": one.name, "id": one.label, "score": one.score, "box": one.box}
        for one in found.detections
    ]
    picture = {"picture": found.picture, "width": width, "height": height}
    return json.dumps({**picture, "detections": detections})


def tabbed_lines(found: Found) -> str:
    """Picture, label, score, ymin, xmin, ymax, xmax; a line a detection, none if there is none."""
    lines = []
    for one in found.detections:
        numbers = (f"{number:.4f}" for number in (one.score, *one.box))
        cells = (found.picture, one.name or "", *numbers)
        lines.append("\t".join(cell.translate(BREAKS) for cell in cells) + "\n")
    return "".join(lines)


def _print_table(everything: Sequence[Found]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from petbox.images.draw import colour

    table = Table("picture", "label")
    for column in ("score", "left", "top", "right", "bottom"):
        table.add_column(column, justify="right")
    table.columns[0].overflow = "fold"
    for found in everything:
        picture = Text(found.picture.translate(BREAKS))
        if not found.detections:
            note = Text("failed", "red") if found.error else Text("nothing found", "dim")
            table.add_row(picture, note)
        for one in found.detections:
            label = Text(one.name or "", "rgb({},{},{})".format(*colour(one.label)))
            ymin, xmin, ymax, xmax = one.box
            edges = (f"{edge:.0%}" for edge in (xmin, ymin, xmax, ymax))
            table.add_row(picture, label, f"{one.score:.0%}", *edges)
            picture = Text()  # once is enough
    Console().print(table)


CSV_HEAD = ("picture", "width", "height", "label", "id", "score", "ymin", "xmin", "ymax", "xmax")


def csv_rows(found: Found) -> Iterator[Sequence[object]]:
    """A row a detection, none if there is none. Boxes stay in fractions."""
    for one in found.detections:
        yield (found.picture, *found.size, one.name or "", one.label, one.score, *one.box)


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
