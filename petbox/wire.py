"""The wire format: TensorFlow Serving's predict JSON, as this project uses it.

Whatever crosses a network is written and read here. Standard library only, so that the module
runs in Lambda with nothing beside it. Knows nothing of sockets, statuses or pictures' contents.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from petbox.errors import WireError

INPUT = "inputs"  # the model's only input, as the Object Detection API calls it

Box = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax in fractions of the picture


@dataclass(frozen=True)
class Detection:
    """One pet found: its label, how sure the model is, its box, and its name if one was sent."""

    label: int
    score: float
    box: Box
    name: str | None = None


class Engine(Protocol):
    """Whatever finds things in images: a server, an endpoint, or a model in this process."""

    def detect(self, image: bytes) -> list[Detection]:
        """What is in `image`, the whole of a file; InvalidImage if that is to blame."""


# What is asked


def request(images: Iterable[bytes], *, named: bool = False, signature: str = "") -> bytes:
    """The body that asks about `images`, each a whole JPEG or PNG file."""
    # Base64 needs no escapes, and json.dumps takes longer to look for them than all else does.
    texts = [_base64()(image) for image in images]
    form = request_base64([""] * len(texts), named=named, signature=signature)
    parts = form.rsplit(b'""', len(texts))
    for place, text in enumerate(texts):
        parts.insert(2 * place + 1, text)
    return b'"'.join(parts)


@functools.cache
def _base64() -> Callable[[bytes], bytes]:
    """Python's own encoder, or where it is one that takes a tenth of the time."""
    try:
        from pybase64 import b64encode
    except ImportError:
        return base64.b64encode
    return b64encode


def request_base64(texts: Iterable[str], *, named: bool = False, signature: str = "") -> bytes:
    """The same for pictures that are base64 already, as API Gateway delivers them.

    `named` says which input each is for, which a model of one input does not need.
    """
    pictures = [{"b64": text} for text in texts]
    instances = [{INPUT: picture} for picture in pictures] if named else pictures
    body = {"signature_name": signature} if signature else {}
    return json.dumps({**body, "instances": instances}, separators=(",", ":")).encode("ascii")


# What is answered


def detections(body: bytes) -> list[list[Detection]]:
    """What a predict answer says: for each picture its detections, in the model's order."""
    answer = _object(body)
    if "error" in answer:
        raise WireError(f"the server refused the request: {_error(answer)}")
    predictions = answer.get("predictions")
    if not isinstance(predictions, list):
        raise WireError(_not_understood('has no list "predictions"', body))
    return [_of_one_picture(p, f"predictions[{n}]") for n, p in enumerate(predictions)]


def error(body: bytes) -> str | None:
    """The text of an answer `{"error": …}`, None if it is another."""
    try:
        answer = _object(body)
    except WireError:
        return None
    return _error(answer) if "error" in answer else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        # TensorFlow Serving copies strings as they are, so an answer need not be proper UTF-8.
        # Its bare NaN and Infinity, which are no JSON either, are words that Python knows.
        answer = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise WireError(_not_understood("is not JSON", body)) from error
    if not isinstance(answer, dict):
        raise WireError(_not_understood("is not a JSON object", body))
    return answer


def _error(answer: dict[str, Any]) -> str:
    return " ".join(str(answer["error"]).split())  # one line, for it becomes part of one


def _of_one_picture(prediction: Any, where: str) -> list[Detection]:
    if not isinstance(prediction, dict):
        raise _wrong(where, "is not an object; is the model a detector?")
    count = _count(prediction, where)
    # The lists are padded to a fixed length; what follows the first `count` is filler.
    labels = _first(count, prediction, "detection_classes", where)
    scores = _first(count, prediction, "detection_scores", where)
    boxes = _first(count, prediction, "detection_boxes", where)
    names: list[Any] = [None] * count
    if "detection_names" in prediction:
        names = _first(count, prediction, "detection_names", where)
    return [
        Detection(
            label=_whole(labels[n], f"{where}.detection_classes[{n}]"),
            score=_number(scores[n], f"{where}.detection_scores[{n}]"),
            box=_box(boxes[n], f"{where}.detection_boxes[{n}]"),
            name=_name(names[n], f"{where}.detection_names[{n}]"),
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
    """TensorFlow's detectors count in floats, `3.0`."""
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


def _wrong(where: str, why: str) -> WireError:
    return WireError(f"not an answer of TensorFlow Serving's predict API: {where} {why}")


def _not_understood(why: str, body: bytes) -> str:
    start = " ".join(body[:80].decode("utf-8", "replace").split())
    shown = f"; it starts with: {start}" if start else "; it is empty"
    return f"not an answer of TensorFlow Serving's predict API: it {why}{shown}"
