"""What an engine gives the model server: a folder loaded as a model, and runs of its signatures.

An engine stands behind these two protocols, and knows nothing of HTTP, versions or JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from petbox.serving.model_server.signature import Signature

Tensors = dict[str, "np.ndarray[Any, Any]"]  # by the names of the signature


@dataclass(frozen=True)
class EngineOptions:
    """What the server's flags set; an engine ignores what it has not."""

    timeout_ms: int = 30_000  # per call; 0 for no limit
    tags: tuple[str, ...] = ("serve",)
    inter_op_threads: int = 0  # 0 lets the engine choose
    intra_op_threads: int = 0


class LoadedModel(Protocol):
    """A model in memory. It is freed with its last reference, and needs no `close`."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        """The outputs by name, for one array per input; may be called from several threads.

        Strings are arrays of dtype `object` with bytes. Dtypes and shapes are the client's: the
        engine checks them. Raises StatusError, with the message for the client.
        """


class Engine(Protocol):
    @property
    def name(self) -> str:
        """With its version, for the log and the metrics: `TensorFlow 2.20.0`."""

    def load(self, folder: Path) -> LoadedModel:
        """The model in this version's folder; StatusError if it cannot be loaded."""
