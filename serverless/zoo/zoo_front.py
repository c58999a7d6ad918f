"""The smallest model behind API Gateway: the kind of animal that has these sixteen traits.

    GET /zoo?X=[0,0,1,0,0,0,1,1,1,1,1,0,0,1,0,0]   {"answer": 2, "rating": [...], "name": "reptile"}

Uses the standard library and boto3 only, and knows nothing of animals: the weights that
train_zoo.py exports hold the inputs' values and the classes' names. They are read from S3 once, and
again when the object's ETag changes; S3 is called at most every ZOO_REFRESH_SECONDS, so all other
calls use no network. If new weights cannot be read, those in use stay.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

MOST_SHOWN = 40  # characters of a caller's value in a message
MOST_BYTES = 1_000_000  # of a file that may be weights; they are a few thousand
# What parsing an invalid file may raise.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
NOT_MODIFIED = "304"
# S3 answers AccessDenied for a missing object to callers without permission to list the bucket.
GONE = ("NoSuchKey", "NoSuchBucket", "AccessDenied", "404", "403")


class BadRequest(Exception):
    """X is not a valid input of the model."""


class NoWeights(Exception):
    """There are no weights to predict with."""


class Model:
    """A softmax classifier over inputs that each take one of a few values."""

    def __init__(self, exported: dict[str, Any]) -> None:
        self.names: list[str] = exported["names"]
        self.bias = _numbers(exported["bias"], len(self.names))
        rows = [_numbers(row, len(self.names)) for row in exported["weights"]]
        self.inputs: list[tuple[str, dict[float, list[float]]]] = []
        for one in exported["inputs"]:
            # A binary input has one row of weights, for its second value; others have one for each.
            unweighted = one["values"][:1] if len(one["values"]) == 2 else []
            weighted = one["values"][len(unweighted) :]
            by_value = {value: [0.0] * len(self.names) for value in unweighted}
            by_value |= {value: rows.pop(0) for value in weighted}
            self.inputs.append((one["name"], by_value))
        if rows or not self.inputs:
            raise ValueError(f"{len(rows)} rows of weights belong to no input")

    def answer(self, x: Any) -> dict[str, Any]:
        self.check(x)
        ratings = zip(x, self.inputs, strict=True)
        rows = [by_value[value] for value, (_, by_value) in ratings]
        rating = softmax([math.fsum(column) for column in zip(self.bias, *rows, strict=True)])
        best = rating.index(max(rating))
        return {"answer": best, "rating": rating, "name": self.names[best]}

    def check(self, x: Any) -> None:
        if not isinstance(x, list):
            raise BadRequest(f"X is {_shown(x)}, not a list of {len(self.inputs)} numbers")
        if len(x) != len(self.inputs):
            names = ", ".join(name for name, _ in self.inputs)
            raise BadRequest(f"X has {len(x)} numbers, not {len(self.inputs)}: {names}")
        for at, (value, (name, by_value)) in enumerate(zip(x, self.inputs, strict=True)):
            # In Python True equals 1; in JSON it is not a number.
            if type(value) not in (int, float) or value not in by_value:
                *others, last = map(str, by_value)
                valid = f"{', '.join(others)} or {last}"
                raise BadRequest(f"X[{at}] ({name}) is {_shown(value)}; it must be {valid}")


def softmax(logits: list[float]) -> list[float]:
    highest = max(logits)  # subtracted, so that exp does not overflow
    powers = [math.exp(logit - highest) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def _numbers(row: list[float], count: int) -> list[float]:
    if len(row) != count or not all(math.isfinite(number) for number in row):
        raise ValueError(f"expected {count} finite numbers in {_shown(row)}")
    return row


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class Weights:
    """The model whose weights are at an address in S3, at most `refresh` seconds old."""

    def __init__(self, address: str, refresh: float) -> None:
        self.bucket, _, self.key = address.removeprefix("s3://").partition("/")
        if not address.startswith("s3://") or not self.key:
            raise ValueError(f"ZOO_WEIGHTS is {address!r}; write it like s3://bucket/weights.json")
        self.address, self.refresh = address, refresh
        # The client waits meanwhile, so this must end before the function's timeout.
        waits = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
        self.s3 = boto3.client("s3", config=waits)
        self.model: Model | None = None
        self.etag, self.checked_at = "", -math.inf

    def current(self) -> Model:
        now = time.time()  # a frozen container's monotonic clock may stand still
        if self.model is None or abs(now - self.checked_at) >= self.refresh:
            self.checked_at = now
            self._refresh()
        if self.model is None:
            raise NoWeights("the model has no weights yet; train it with serverless/zoo")
        return self.model

    def _refresh(self) -> None:
        known = {"IfNoneMatch": self.etag} if self.model else {}
        try:
            found = self.s3.get_object(Bucket=self.bucket, Key=self.key, **known)
            if found["ContentLength"] > MOST_BYTES:
                raise ValueError(f"has {found['ContentLength']} bytes")
            self.model = Model(json.loads(found["Body"].read(), parse_constant=_no_constant))
            self.etag = found["ETag"]
            print(f"{self.address}: loaded {self.etag}")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == NOT_MODIFIED:
                return
            if code in GONE:
                self.model = None
            print(f"{self.address}: {code}, {self._state()}")
        except BotoCoreError as error:
            print(f"{self.address}: {error}, {self._state()}")
        except UNREADABLE as error:
            why = f"{type(error).__name__}: {error}"
            print(f"{self.address}: not weights of train_zoo.py ({why}), {self._state()}")

    def _state(self) -> str:
        return f"{self.etag} stays in use" if self.model else "there is no model"


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answers API Gateway's events, payload 1.0 (REST) and 2.0 (HTTP API, function URL)."""
    try:
        return _response(200, WEIGHTS.current().answer(_parsed_x(event)))
    except BadRequest as error:
        return _response(400, {"error": str(error)})
    except NoWeights as error:
        return _response(503, {"error": str(error)})


def _parsed_x(event: dict[str, Any]) -> Any:
    one = (event.get("queryStringParameters") or {}).get("X")
    several = (event.get("multiValueQueryStringParameters") or {}).get("X") or [one]  # 1.0 only
    if len(several) > 1:
        raise BadRequest(f"X is given {len(several)} times; give it once")
    if one is None:
        raise BadRequest("X is missing; call it like /zoo?X=[0,0,1,...]")
    try:
        return json.loads(one, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"X is not JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}


WEIGHTS = Weights(
    os.environ.get("ZOO_WEIGHTS", ""), float(os.environ.get("ZOO_REFRESH_SECONDS", "30"))
)
