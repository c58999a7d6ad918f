"""A CSV as a table of numbers: the model's inputs, and the class of each row.

The UCI zoo data has no header and always the same columns. Any other CSV has a header, and a column
to predict. A column of numbers is one input, standardized; of texts, one input for each of them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbox.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_TEXTS = 50  # in a column; more of them are names or ids, which predict nothing
YES_NO = (0, 1)
# The zoo's columns, as the UCI repository describes them. Legs are categories here, not an amount:
# six mean insect, and neither four nor eight mean half of one.
COLUMNS = (
    "hair feathers eggs milk airborne aquatic predator toothed backbone breathes venomous fins "
    "legs tail domestic catsize"
)
ZOO = {**dict.fromkeys(COLUMNS.split(), YES_NO), "legs": (0, 2, 4, 5, 6, 8)}
KINDS = ("mammal", "bird", "reptile", "fish", "amphibian", "insect", "invertebrate")


@dataclass(frozen=True)
class Choice:
    """One of a few values; of two, only the second has weights."""

    name: str
    values: tuple[int, ...] | tuple[str, ...]

    def columns(self, cells: Sequence[str]) -> list[Floats]:
        weighted = self.values[1:] if len(self.values) == 2 else self.values
        return [np.array([cell == str(value) for cell in cells], float) for value in weighted]

    def exported(self) -> dict[str, Any]:
        return {"name": self.name, "values": self.values}


@dataclass(frozen=True)
class Number:
    """Any number, from which the mean is subtracted before it is divided by the deviation."""

    name: str
    mean: float
    deviation: float

    @classmethod
    def of(cls, name: str, numbers: Sequence[float]) -> Number:
        # Of equal numbers the deviation is 0; then their input is 0 whatever it is divided by.
        return cls(name, float(np.mean(numbers)), float(np.std(numbers)) or 1.0)

    def columns(self, cells: Sequence[str]) -> list[Floats]:
        return [(np.array(cells, float) - self.mean) / self.deviation]

    def exported(self) -> dict[str, Any]:
        return {"name": self.name, "mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class Table:
    inputs: tuple[Choice | Number, ...]
    names: tuple[str, ...]  # of the classes
    x: Floats  # [rows, columns]
    kinds: Ints  # [rows]: the class of each

    @classmethod
    def of(
        cls,
        inputs: Sequence[Choice | Number],
        columns: Sequence[Sequence[str]],
        names: Sequence[str],
        kinds: Sequence[int],
    ) -> Table:
        parts = zip(inputs, columns, strict=True)
        x = np.stack([part for one, cells in parts for part in one.columns(cells)], axis=1)
        return cls(tuple(inputs), tuple(names), x, np.array(kinds, np.int64))

    def distinct(self) -> Ints:
        """A number for each row, equal for identical rows."""
        return np.unique(self.x, axis=0, return_inverse=True)[1].reshape(-1)


def zoo(text: str, source: str) -> Table:
    """The UCI zoo data: 16 traits and the kind, in numbers; lines that begin with # are skipped."""
    allowed = {**ZOO, "type": range(len(KINDS))}
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(allowed):
            raise DataError(
                f"{source}: line {number} has {len(cells)} cells, not {len(allowed)}; "
                "give the UCI zoo data, or name the column to predict with --label"
            )
        for cell, (name, values) in zip(cells, allowed.items(), strict=True):
            if cell not in map(str, values):
                valid = ", ".join(map(str, values))
                raise DataError(f"{source}: line {number}: {name} is {cell!r}, not one of {valid}")
        rows.append(cells)
    if not rows:
        raise DataError(f"{source}: contains no animals; give the zoo data as CSV")
    *columns, kinds = zip(*rows, strict=True)
    inputs = [Choice(name, values) for name, values in ZOO.items()]
    return Table.of(inputs, columns, KINDS, [int(kind) for kind in kinds])


def labeled(text: str, source: str, label: str, drop: Collection[str]) -> Table:
    """Any CSV with a header; `label` is the column to predict."""
    try:
        lines = [(number, cells) for number, cells in _lines(text) if any(cells)]
    except csv.Error as error:
        raise DataError(f"{source}: not a CSV file: {error}; save it as CSV again") from error
    if not lines:
        raise DataError(f"{source}: is empty; give a CSV with a header")
    _, header = lines.pop(0)
    _check_header(header, source, label, drop)
    for number, cells in lines:
        if len(cells) != len(header):
            raise DataError(
                f"{source}: line {number} has {len(cells)} cells, not {len(header)}; correct it"
            )
        for name, cell in zip(header, cells, strict=True):
            if not cell and name not in drop:
                raise DataError(
                    f"{source}: line {number}: {name} is empty; fill it in, remove the line, or "
                    f"leave the column out with --drop"
                )
    columns = dict(zip(header, zip(*(cells for _, cells in lines), strict=True), strict=False))
    names = sorted(set(columns.get(label, ())))
    if len(names) < 2:
        raise DataError(f"{source}: {label} has {len(names)} classes; at least 2 are needed")
    kinds = [names.index(cell) for cell in columns.pop(label)]
    kept = {name: cells for name, cells in columns.items() if name not in drop}
    inputs = [_input(name, cells, source) for name, cells in kept.items()]
    return Table.of(inputs, list(kept.values()), names, kinds)


def _lines(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]


def _check_header(header: list[str], source: str, label: str, drop: Collection[str]) -> None:
    if len(header) == 1:
        raise DataError(f"{source}: has one column, {header[0]}; separate the cells by commas")
    for at, name in enumerate(header, 1):
        if not name:
            raise DataError(f"{source}: column {at} has no name; name it in the first line")
        if header.count(name) > 1:
            raise DataError(f"{source}: two columns are called {name}; rename one")
    for flag, named in (("--label", [label]), ("--drop", list(drop))):
        for name in named:
            if name not in header:
                known = ", ".join(header)
                raise DataError(f"{source}: has no column {name}; {flag} must be one of {known}")
    if label in drop:
        raise DataError(f"{source}: {label} is the label; do not --drop it")
    if not set(header) - {label, *drop}:
        raise DataError(f"{source}: has no column beside {label}; --drop fewer")


def _input(name: str, cells: Sequence[str], source: str) -> Choice | Number:
    numbers = [number for cell in cells if (number := _number(cell)) is not None]
    if len(numbers) == len(cells):
        return Number.of(name, numbers)
    texts = sorted(set(cells))
    if len(texts) > MOST_TEXTS:
        example = next(cell for cell in cells if _number(cell) is None)
        raise DataError(
            f"{source}: {name} has {len(texts)} texts, such as {example!r}; the maximum is "
            f"{MOST_TEXTS}; make them numbers, or leave the column out with --drop"
        )
    return Choice(name, tuple(texts))


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None
