"""Cross-validation: which rows each model does not see, and how right it is on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbox.cli import program
from petbox.errors import DataError
from petbox.training.zoo.options import TrainOptions
from petbox.training.zoo.table import Ints, Table

Masks = NDArray[np.bool_]  # [models, rows]


def held_out(table: Table, options: TrainOptions) -> Masks:
    """The held-out rows of each model.

    The first half splits rows, the second distinct rows: with rows, a held-out row may have a
    duplicate among the training rows.
    """
    distinct = table.distinct()
    if (count := int(distinct.max()) + 1) < options.folds:
        raise DataError(
            f"{options.data}: {count} distinct rows are too few for {options.folds} folds; "
            "lower --folds"
        )
    generator = np.random.default_rng(options.seed)
    masks = []
    for of in (np.arange(len(distinct)), distinct):
        for _ in range(options.repeats):
            fold = _folds(of, table.kinds, options.folds, generator)
            masks += [fold == number for number in range(options.folds)]
    return np.array(masks)


def _folds(of: Ints, kinds: Ints, count: int, generator: np.random.Generator) -> Ints:
    """Each row's fold: the numbers in `of` are split, stratified by their first row's class."""
    numbers, first = np.unique(of, return_index=True)
    order = np.lexsort((generator.random(len(numbers)), kinds[first]))  # by class, then at random
    fold = np.empty(len(numbers), np.int64)
    fold[order] = np.arange(len(numbers)) % count
    return fold[np.searchsorted(numbers, of)]


def evaluated(right: Masks, masks: Masks, table: Table, options: TrainOptions) -> dict[str, Any]:
    """The accuracy on held-out rows, for both ways of splitting."""
    rows = len(table.kinds)
    shares = (right & masks).reshape(2, options.repeats, options.folds * rows).sum(2) / rows
    by: dict[str, dict[str, float]] = {}
    for name, found in zip(("rows", "distinct"), shares, strict=True):
        by[name] = {"mean": found.mean(), "least": found.min(), "most": found.max()}
        mean, least, most = by[name].values()
        way = f"{options.folds}-fold cross-validation, {options.repeats} times"
        of = {"rows": "rows", "distinct": "distinct rows"}[name]
        program.say(f"accuracy {mean:.3f} ({least:.3f} to {most:.3f}): {way}, folds of {of}")
    counts = {"rows": rows, "distinct": int(table.distinct().max()) + 1}
    return {**counts, "folds": options.folds, "repeats": options.repeats, "accuracy": by}
