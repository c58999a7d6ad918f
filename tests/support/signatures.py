"""A stand-in model server whose model has any signature; its predictions are its instances."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from support.peer import Request, Response

Tensors = Mapping[str, tuple[str, list[int] | None]]  # type without DT_, and shape


def echo(inputs: Tensors, outputs: Tensors | None = None) -> Callable[[Request], Response]:
    signature = {"inputs": _tensors(inputs), "outputs": _tensors(outputs or {"y": ("FLOAT", [-1])})}
    signatures = {"signature_def": {"serving_default": signature}}
    metadata = json.dumps({"metadata": {"signature_def": signatures}}).encode()

    def answer(asked: Request) -> Response:
        if asked.path.endswith("/metadata"):
            return Response(200, metadata)
        rows = asked.body.replace(b'"instances"', b'"predictions"', 1)
        return Response(200, rows.replace(b'"inputs"', b'"outputs"', 1))

    return answer


def _tensors(tensors: Tensors) -> dict[str, Any]:
    return {
        name: {
            "dtype": f"DT_{kind}",
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in shape or []],
                "unknown_rank": shape is None,
            },
        }
        for name, (kind, shape) in tensors.items()
    }
