"""Imports TensorFlow without its startup messages.

Its C++ side logs lines about CPU features and a missing GPU in every process. They are turned off
before the import, unless the user has set TF_CPP_MIN_LOG_LEVEL.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from petbox.errors import needs


class Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def light_import(without: tuple[str, ...], later: tuple[str, ...]) -> Iterator[None]:
    """For libraries that import much that is never used here, which would take as long again.

    They try to import the packages `without` and can do without them. Those named in `later` are
    imported when something of them is used. No garbage is collected, because the collector would
    go through all of the new objects again and again.
    """
    stand_ins: dict[str, Any] = {**dict.fromkeys(without), **{name: Later(name) for name in later}}
    stand_ins = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    collects = gc.isenabled()
    gc.disable()
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name, Later) is stand_in:
                del sys.modules[name]
        if collects:
            gc.enable()


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("absl").setLevel(logging.ERROR)
# TensorFlow's own Keras and its clients for Google Cloud. TF Vision has tf_keras, and `tf.keras`
# imports Keras 3 when it is first used.
with light_import(("keras", "googleapiclient", "oauth2client", "scipy.sparse"), ("requests",)):
    tf: Any = needs("tensorflow", "tf")  # it has no types
tf.get_logger().setLevel(logging.ERROR)
# Traces without AutoGraph, which would first rewrite every Keras layer that is called. That takes
# longer than building the detector, and nothing here needs it.
as_written: Any = tf.autograph.experimental.do_not_convert


def traced(function: Callable[..., Any], *specs: Any, **attributes: Any) -> Any:
    """The concrete function of tensors of the shapes in `specs`."""
    made = tf.function(as_written(function), experimental_attributes=attributes)
    return made.get_concrete_function(*specs)
