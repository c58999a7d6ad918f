"""What is wrong in a data set, collected so that all of it is reported at once."""

from __future__ import annotations

from petbox.errors import DataError

SHOWN = 20


class Problems:
    """The files with a fault each, in the order they were read."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, problem: DataError | str) -> None:
        self.found.append(str(problem))

    def check(self) -> None:
        """Raises an error with the first problems and the number of all."""
        if len(self.found) == 1:
            raise DataError(self.found[0])
        if self.found:
            more = len(self.found) - SHOWN
            lines = [f"{len(self.found)} problems in the data:", *self.found[:SHOWN]]
            raise DataError("\n  ".join([*lines, f"... and {more} more"] if more > 0 else lines))
