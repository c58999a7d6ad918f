"""The fields of a `pipeline.config`: which were read, and what they were converted to.

Fields that were not read are listed at the end, so that none can be lost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from petbox.data import text_proto
from petbox.data.text_proto import Field
from petbox.errors import DataError

T = TypeVar("T", int, float, bool, str)

NETWORK = "model.faster_rcnn."  # the longest prefix, left out in the table
KINDS = {
    int: "a whole number from 0",
    float: "a number from 0",
    bool: "true or false",
    str: "text in quotes",
}
TRUTHS = {"true": True, "True": True, "t": True, "1": True}
TRUTHS |= {"false": False, "False": False, "f": False, "0": False}


@dataclass(frozen=True)
class Converted:
    """Their fields and the results by our dotted names."""

    theirs: str
    ours: Mapping[str, Any]
    remark: str = ""


@dataclass(frozen=True)
class Skipped:
    theirs: str
    why: str


class Ledger:
    """The fields of a file, read by dotted path."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.converted: list[Converted] = []
        self.skipped: list[Skipped] = []
        self._fields = text_proto.parse(text, source)
        self._read: set[int] = set()  # by identity: two fields may be equal

    @property
    def changes(self) -> dict[str, Any]:
        return {name: value for row in self.converted for name, value in row.ours.items()}

    def all(self, path: str, within: Field | None = None) -> list[Field]:
        """The fields at a path, without marking them as read."""
        found: list[Field] = []
        groups = [self._fields if within is None else within.message or ()]
        for name in path.split("."):
            found = [each for group in groups for each in group if each.name == name]
            groups = [each.message or () for each in found]
        return found

    def one(self, path: str, kind: type[T], within: Field | None = None) -> T | None:
        found = self.all(path, within)
        if len(found) > 1:
            raise self.wrong(found[1], f"{path} is given twice (first in line {found[0].line})")
        return self.value(found[0], kind) if found else None

    def either(self, path: str, default: T, within: Field | None = None) -> T:
        """The value at a path, or the Object Detection API's default."""
        value = self.one(path, type(default), within)
        return default if value is None else value

    def many(self, path: str, kind: type[T]) -> list[T]:
        return [self.value(each, kind) for each in self.all(path)]

    def value(self, each: Field, kind: type[T]) -> T:
        self.mark(each)
        if (value := _value(each, kind)) is None:
            raise self.wrong(each, f"{each} is not {KINDS[kind]}")
        return cast(T, value)

    def mark(self, *fields: Field) -> None:
        """Marks fields as read; of a group, only the group itself."""
        self._read |= {id(each) for each in fields}

    def convert(self, theirs: str, ours: Mapping[str, Any], remark: str = "") -> None:
        self.converted.append(Converted(theirs.removeprefix(NETWORK), ours, remark))

    def skip(self, theirs: str, why: str) -> None:
        self.skipped.append(Skipped(theirs.removeprefix(NETWORK), why))

    def skip_unread(self, reasons: Sequence[tuple[str, str]], otherwise: str) -> None:
        """Skips the unread fields, each with the first reason whose pattern matches its path."""
        self._skip_unread(self._fields, "", reasons, otherwise)

    def _skip_unread(
        self, fields: Sequence[Field], at: str, reasons: Sequence[tuple[str, str]], otherwise: str
    ) -> None:
        for each in fields:
            path = at + each.name
            why = next((why for pattern, why in reasons if re.search(pattern, path)), otherwise)
            if each.message and (why == otherwise or self._partly_read(each)):
                self._skip_unread(each.message, path + ".", reasons, otherwise)
            elif id(each) not in self._read:
                self.skip(f"{at}{each}", why)

    def _partly_read(self, field: Field) -> bool:
        return id(field) in self._read or any(map(self._partly_read, field.message or ()))

    def wrong(self, field: Field, why: str) -> DataError:
        return field.wrong(self.source, why)

    def groups(self, path: str, names: Sequence[str]) -> Iterator[Field]:
        """The groups at `path` with one of the names; marks them as read."""
        for name in names:
            for each in self.all(path + name):
                self.mark(each)
                yield each


def _value(field: Field, kind: type) -> int | float | bool | str | None:
    if field.message is not None or field.quoted != (kind is str):
        return None
    if kind is str:
        return field.text
    if kind is bool:
        return TRUTHS.get(field.text)
    try:
        number = int(field.text, 0) if kind is int else float(field.text.rstrip("fF"))
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
