"""A model's signature: what goes in, what comes out, and the call. No TensorFlow in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Signature:
    inputs: dict[str, str]  # dtypes by name, in TensorFlow's words: `float`, `half`, `string`
    outputs: list[str]
    call: Callable[..., list[Any]] = field(repr=False)  # arrays in the order of `inputs`
    method: str = "tensorflow/serving/predict"
    definition: str = field(default="", repr=False)  # protobuf's text of it, for error messages
