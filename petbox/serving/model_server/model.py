"""One version of a model, as served: its name, its number, and the engine's model behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.serving.model_server.engine import Engine, LoadedModel, Tensors
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.status import StatusError


@dataclass
class Model:
    """A loaded version; may be called from several threads."""

    name: str
    version: int
    engine: str  # its name and version
    loaded: LoadedModel

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self.loaded.signatures

    def definitions(self) -> dict[str, Any]:
        """All signatures, as shown in the metadata."""
        return {name: each.metadata for name, each in self.signatures.items()}

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        inputs = self.signatures[signature].inputs
        if len(tensors) != len(inputs):
            raise _mismatch(sorted(tensors), sorted(inputs))
        for name in tensors.keys() - inputs.keys():
            raise StatusError(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in "
                f"the set {{{','.join(sorted(inputs))}}}."
            )
        return self.loaded.run(signature, tensors)


def load(name: str, version: int, folder: Path, engine: Engine) -> Model:
    return Model(name, version, engine.name, engine.load(folder))


def _mismatch(given: list[str], expected: list[str]) -> StatusError:
    missing = ",".join(sorted(set(expected) - set(given)))
    return StatusError(
        f"input size does not match signature: {len(given)}!={len(expected)} "
        f"len({{{','.join(given)}}}) != len({{{','.join(expected)}}}). "
        f"Sent extra: {{}}. Missing but required: {{{missing}}}."
    )
