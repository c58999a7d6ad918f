"""What is wrong in a data set, collected so that all of it is reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from petbox.data.annotations import BadBox, Dataset, Found, UnknownClass, remarks
from petbox.errors import DataError

SHOWN = 20
DROPPED = "bad box dropped"
LEFT_OUT = "left out, all its boxes are bad"


class BadData(DataError):
    """Several problems; its text has the first ones, `problems` has all."""

    def __init__(self, problems: Sequence[str], more: str = "") -> None:
        self.problems = list(problems)
        lines = [f"{len(problems)} problems in the data:", *problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"... and {len(problems) - SHOWN} more{more}")
        super().__init__("\n  ".join(lines))


class Problems:
    """The problems of a data set while it is read and written.

    With `drop_boxes`, bad boxes are no problems: they are left out and counted.
    """

    def __init__(self, *, drop_boxes: bool = False) -> None:
        self._drop_boxes = drop_boxes
        self._found: list[str] = []
        self._dropped: set[str] = set()
        self._unknown: dict[str, list[str]] = {}  # by class

    def add(self, problem: DataError | str) -> None:
        if isinstance(problem, BadData):
            self._found += problem.problems
        else:
            self._found.append(str(problem))

    @contextmanager
    def collected(self, boxes_of: str = "") -> Iterator[None]:
        """Notes an error of the data; `boxes_of` is the file whose boxes are read, if any are."""
        try:
            yield
        except BadBox as error:
            if self._drop_boxes and boxes_of:
                self._dropped.add(boxes_of)
            else:
                self.add(error)
        except UnknownClass as error:
            self._unknown.setdefault(error.name, []).append(str(error))
        except DataError as error:
            self.add(error)

    def check(self) -> None:
        """Raises an error with the problems, in the order of the files' names.

        Of an unknown class it has the first file alone.
        """
        unknown = [min(problems, key=_naturally) for problems in self._unknown.values()]
        found = sorted([*self._found, *unknown], key=_naturally)
        if len(found) == 1:
            raise DataError(found[0])
        if found:
            raise BadData(found)

    def without_dropped(self, dataset: Dataset) -> Dataset:
        """The same with remarks; an image whose boxes were all dropped is no background."""
        found = Found(list)
        photos = {}
        for split, given in dataset.photos.items():
            kept = []
            for photo in given:
                dropped = not self._dropped.isdisjoint((str(photo.path), photo.annotation))
                if dropped:
                    found[DROPPED if photo.animals else LEFT_OUT].append(photo.path.name)
                if photo.animals or not dropped:
                    kept.append(photo)
            photos[split] = tuple(kept)
        return replace(dataset, photos=photos, remarks={**dataset.remarks, **remarks(found)})


def _naturally(text: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text)]
