"""petbox's HTTP API in AWS as an engine: an image goes there, its detections come back.

docs/http-api.md has the format. Which of them count, the API decides unless a minimum score is
given.
"""

from __future__ import annotations

import json
import math
from typing import Any

from petbox import wire
from petbox.client.transport import Transport
from petbox.errors import WireError


class Api:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def detect(self, image: bytes) -> list[wire.Detection]:
        body = self._transport.send(image)
        try:
            return [_detection(one) for one in json.loads(body)["detections"]]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise WireError(
                "not a response of petbox's HTTP API (docs/http-api.md); check the address"
            ) from error

    def close(self) -> None:
        self._transport.close()


def _detection(one: dict[str, Any]) -> wire.Detection:
    """With a threshold that it reaches: the API has left out what does not."""
    ymin, xmin, ymax, xmax = map(float, one["box"])
    name, score = str(one["label"]), float(one["score"])
    return wire.Detection(int(one["id"]), score, (ymin, xmin, ymax, xmax), name, -math.inf)
