"""One of a model's signatures, as the server sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from petbox.serving.model_server.signature_def import definition_json, dtype_name

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Signature:
    inputs: dict[str, str]  # dtypes by name, in TensorFlow's spelling: `float`, `half`, `string`
    outputs: list[str]
    method: str = "tensorflow/serving/predict"
    definition: str = field(default="", repr=False)  # as protobuf text, for error messages
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)  # as JSON

    @staticmethod
    def of(definition: Any) -> Signature:
        """From a SignatureDef of signature_def.py."""
        return Signature(
            inputs={
                name: dtype_name(definition.inputs[name].dtype)
                for name in sorted(definition.inputs)
            },
            outputs=sorted(definition.outputs),
            method=definition.method_name,
            definition=str(definition),
            metadata=definition_json(definition),
        )
