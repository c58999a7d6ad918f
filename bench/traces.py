"""Counts the graphs that TensorFlow traces more than once, for training_speed.py and the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import petbox.tf  # noqa: F401  # before TensorFlow itself, in silence

from tensorflow.python.framework import func_graph  # isort: skip

LARGE = 100  # ops; the branches of a condition are graphs as well


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each large graph is traced, by its function and the inputs' shapes."""
    found: Counter[str] = Counter()
    original = func_graph.func_graph_from_py_func

    def trace(name: str, *args: Any, **more: Any) -> Any:
        graph = original(name, *args, **more)
        if len(graph.get_operations()) >= LARGE:
            shapes = ", ".join(f"{one.dtype.name} {one.shape}" for one in graph.inputs)
            found[f"{name}({shapes})"] += 1
        return graph

    func_graph.func_graph_from_py_func = trace
    try:
        yield found
    finally:
        func_graph.func_graph_from_py_func = original
