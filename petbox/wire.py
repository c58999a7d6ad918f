"""The wire format: TensorFlow Serving's predict JSON, as this project uses it.

Requests are written and responses are read here. Standard library only.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from petbox.errors import WireError

Box = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax in fractions of the image


@dataclass(frozen=True)
class Detection:
    """One object: its class id, its score, its box, and its class name if the model sent one.

    The `threshold` is the score from which the model trusts its detections of this class.
    """

    label: int
    score: float
    box: Box
    name: str | None = None
    threshold: float | None = None


class Engine(Protocol):
    """What finds objects in images: a server, an endpoint, or a model in this process."""

    def detect(self, image: bytes) -> list[Detection]:
        """The objects in `image`, a whole file; InvalidImage if it rejects the file."""


# Requests


def request(images: Iterable[bytes], *, signature: str = "") -> bytes:
    """The body of a request for `images`, each a whole JPEG or PNG file."""
    texts = [_base64()(image) for image in images]
    body: dict[str, Any] = {"signature_name": signature} if signature else {}
    body["instances"] = [{"b64": ""} for _ in texts]
    # Base64 needs no escapes, and json.dumps would spend most of the time looking for them.
    parts = json.dumps(body, separators=(",", ":")).encode("ascii").rsplit(b'""', len(texts))
    for place, text in enumerate(texts):
        parts.insert(2 * place + 1, text)
    return b'"'.join(parts)


@functools.cache
def _base64() -> Callable[[bytes], bytes]:
    """pybase64's encoder, which takes a tenth of the time, or else Python's own."""
    try:
        from pybase64 import b64encode
    except ImportError:
        return base64.b64encode
    return b64encode


# Responses


def detections(body: bytes) -> list[list[Detection]]:
    """The detections of each image in a predict response, in the model's order."""
    response = _object(body)
    if "error" in response:
        raise WireError(f"the server rejected the request: {_error(response)}")
    predictions = response.get("predictions")
    if not isinstance(predictions, list):
        raise WireError(_invalid('has no list "predictions"', body))
    return [_of_one_image(p, f"predictions[{n}]") for n, p in enumerate(predictions)]


def error(body: bytes) -> str | None:
    """The text of a response `{"error": …}`, None for any other."""
    try:
        response = _object(body)
    except WireError:
        return None
    return _error(response) if "error" in response else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        # TensorFlow Serving copies strings as they are, so a response may not be valid UTF-8. Its
        # bare NaN and Infinity are not valid JSON either, but Python reads them.
        response = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise WireError(_invalid("is not JSON", body)) from error
    if not isinstance(response, dict):
        raise WireError(_invalid("is not a JSON object", body))
    return response


def _error(response: dict[str, Any]) -> str:
    parts = [str(response[key]) for key in ("error", "hint") if response.get(key)]
    return " ".join("; ".join(parts).split())  # in one line, as part of a sentence


def _of_one_image(prediction: Any, where: str) -> list[Detection]:
    if not isinstance(prediction, dict):
        raise _wrong(where, "is not an object; is the model a detector?")
    count = _count(prediction, where)
    # The lists are padded to a fixed length; entries after the first `count` are padding.
    labels = _first(count, prediction, "detection_classes", where)
    scores = _first(count, prediction, "detection_scores", where)
    boxes = _first(count, prediction, "detection_boxes", where)
    names: list[Any] = [None] * count
    if "detection_names" in prediction:
        names = _first(count, prediction, "detection_names", where)
    thresholds: list[Any] = [None] * count
    if "detection_thresholds" in prediction:
        thresholds = _first(count, prediction, "detection_thresholds", where)
    return [
        Detection(
            label=_whole(labels[n], f"{where}.detection_classes[{n}]"),
            score=_number(scores[n], f"{where}.detection_scores[{n}]"),
            box=_box(boxes[n], f"{where}.detection_boxes[{n}]"),
            name=_name(names[n], f"{where}.detection_names[{n}]"),
            threshold=_threshold(thresholds[n], f"{where}.detection_thresholds[{n}]"),
        )
        for n in range(count)
    ]


def _count(prediction: dict[str, Any], where: str) -> int:
    if "num_detections" not in prediction:
        raise _wrong(where, 'has no "num_detections"; is the model a detector?')
    count = _whole(prediction["num_detections"], f"{where}.num_detections")
    if count < 0:
        raise _wrong(f"{where}.num_detections", f"is {count}")
    return count


def _first(count: int, prediction: dict[str, Any], key: str, where: str) -> list[Any]:
    values = prediction.get(key)
    if not isinstance(values, list):
        raise _wrong(where, f'has no list "{key}"')
    if len(values) < count:
        raise _wrong(f"{where}.{key}", f"has {len(values)} values for {count} detections")
    return values[:count]


def _whole(value: Any, where: str) -> int:
    """TensorFlow's detectors return counts and classes as floats, `3.0`."""
    number = _number(value, where)
    if not number.is_integer():  # as NaN and Infinity are not
        raise _wrong(where, f"is {value!r}, not a whole number")
    return int(number)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, f"is {value!r:.40}, not a number")
    try:
        return float(value)
    except OverflowError as error:  # a whole number of hundreds of digits
        raise _wrong(where, "is too large a number") from error


def _box(value: Any, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise _wrong(where, f"is {value!r:.40}, not a list of four numbers")
    ymin, xmin, ymax, xmax = (_number(edge, where) for edge in value)
    return ymin, xmin, ymax, xmax


def _name(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong(where, f"is {value!r:.40}, not a name")
    return value


def _threshold(value: Any, where: str) -> float | None:
    return None if value is None else _number(value, where)


def _wrong(where: str, why: str) -> WireError:
    return WireError(f"not a response of TensorFlow Serving's predict API: {where} {why}")


def _invalid(why: str, body: bytes) -> str:
    start = " ".join(body[:80].decode("utf-8", "replace").split())
    shown = f"; it starts with: {start}" if start else "; it is empty"
    return f"not a response of TensorFlow Serving's predict API: it {why}{shown}"
