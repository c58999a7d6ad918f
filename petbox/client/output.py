"""Detections on stdout: a table, or lines with tabs, in JSON or in CSV.

Lines are written as soon as they are known; a table at the end, or when the work breaks off. Boxes
stay in fractions, and are percent in the table.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from petbox.cli.program import say
from petbox.client.detections import COLUMNS, Detections
from petbox.errors import DataError, needs

Show = Callable[..., None]  # takes Detections, and what else JSON says of them

ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # file names may hold even these


@contextmanager
def listing(*, as_json: bool = False, as_csv: bool = False, table: bool = True) -> Iterator[Show]:
    """Yields what is called with the detections of each image, in turn.

    Without `table` a terminal gets the lines with tabs as well, each as soon as it is known.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names are any bytes, terminals not always UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    if as_json:
        yield lambda found, **more: print(json.dumps(found.to_dict() | more), flush=True)
    elif as_csv:
        print(csv_lines([COLUMNS]), end="", flush=True)
        yield lambda found, **_: print(csv_lines(found.rows()), end="", flush=True)
    elif table and sys.stdout.isatty():
        with _table() as show:
            yield show
    else:
        yield lambda found, **_: print(tabbed_lines(found), end="", flush=True)


def show_each(
    show: Show,
    results: Iterable[Detections],
    count: int,
    advance: Callable[[int, str], object] | None = None,
) -> None:
    """Shows all `count` results, and says of each that failed why; raises if any did."""
    failed = 0
    for found in results:
        show(found)
        if found.error:
            failed += 1
            if count == 1:
                raise found.error
            say(f"error: {found.error}")
        if advance:
            advance(1, "")
    if failed:
        raise DataError(f"{failed} of {count} images failed; see the errors above")


def tabbed_lines(found: Detections) -> str:
    """Image, label, score, ymin, xmin, ymax, xmax; a line for each detection."""
    lines = []
    for one in found:
        numbers = (f"{number:.4f}" for number in (one.score, *one.box))
        cells = (found.name, one.name, *numbers)
        lines.append("\t".join(cell.translate(ESCAPED) for cell in cells) + "\n")
    return "".join(lines)


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


@contextmanager
def _table() -> Iterator[Show]:
    needs("rich", "client")
    from rich.console import Console
    from rich.table import Table

    table = Table("image", "label")
    for column in ("score", "left", "top", "right", "bottom"):
        table.add_column(column, justify="right")
    table.columns[0].overflow = "fold"
    try:
        yield lambda found: _add_rows(table, found)
    finally:
        if table.row_count:
            Console().print(table)


def _add_rows(table: Any, found: Detections) -> None:
    from rich.text import Text

    from petbox.images.draw import color

    name = Text(found.name.translate(ESCAPED))
    if not found:
        note = Text("failed", "red") if found.error else Text("nothing found", "dim")
        table.add_row(name, note)
    for one in found:
        label = Text(one.name, "rgb({},{},{})".format(*color(one.label)))
        ymin, xmin, ymax, xmax = one.box
        edges = (f"{edge:.0%}" for edge in (xmin, ymin, xmax, ymax))
        table.add_row(name, label, f"{one.score:.0%}", *edges)
        name = Text()  # only in the first row of an image
