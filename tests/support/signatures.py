"""Stand-in models of any signature behind gateways; they return what they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests
from support.peer import Request, Response, peer
from support.serving import LONG, front

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


class Models(ExitStack):
    """A model and its gateway are started for the first request to them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.replies: list[bytes] = []

    def _port(self, inputs: Tensors, outputs: Tensors | None, batch: bool) -> int:
        key = json.dumps([inputs, outputs, batch])
        if key not in self.ports:
            model = echo(inputs, outputs)

            def answer(asked: Request) -> Response:
                if "predict" in asked.path and self.replies:
                    return Response(200, self.replies.pop())
                return model(asked)

            engine = self.enter_context(peer(answer))
            place = self.folder / str(len(self.ports))
            started = front(place, engine.port, settings={"batch": batch})
            self.ports[key] = self.enter_context(started)
        return self.ports[key]

    def post(
        self,
        inputs: Tensors,
        body: str | bytes,
        kind: str,
        accept: str = "",
        *,
        outputs: Tensors | None = None,
        batch: bool = False,
        reply: bytes | None = None,
    ) -> requests.Response:
        """Sends a body to the model with these inputs; `reply` is its response instead."""
        url = f"http://127.0.0.1:{self._port(inputs, outputs, batch)}/invocations"
        if reply is not None:
            self.replies.append(reply)
        data = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": kind, "Accept": accept}
        return requests.post(url, data=data, headers=headers, timeout=LONG)


def predictions(answer: requests.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def error(answer: requests.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])
