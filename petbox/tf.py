"""Imports TensorFlow without its startup messages.

Its C++ side logs lines about CPU features and a missing GPU in every process. They are turned off
before the import, unless the user has set TF_CPP_MIN_LOG_LEVEL.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from petbox.errors import needs


@contextmanager
def no_collection() -> Iterator[None]:
    """For large imports: the garbage collector would go through all of it again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def silent() -> Iterator[None]:
    """For converters and sessions, which log in C++ whatever the settings are."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("absl").setLevel(logging.ERROR)
# TensorFlow would also import Keras 3, which takes 1.5 s and is not used: TF Vision has tf_keras.
# `tf.keras` imports it when it is first used.
hide_keras = sys.modules.setdefault("keras", cast(ModuleType, None)) is None
try:
    with no_collection():
        tf: Any = needs("tensorflow", "tf")  # it has no types
finally:
    if hide_keras:
        del sys.modules["keras"]
tf.get_logger().setLevel(logging.ERROR)
# Traces without AutoGraph, which would first rewrite every Keras layer that is called. That takes
# longer than building the detector, and nothing here needs it.
as_written: Any = tf.autograph.experimental.do_not_convert
