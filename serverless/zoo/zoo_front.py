"""The smallest model behind API Gateway: the kind of animal that has these sixteen traits.

    GET /zoo?X=[0,0,1,0,0,0,1,1,1,1,1,0,0,1,0,0]   {"answer": 2, "rating": [...], "name": "reptile"}
    GET /                                          classes, columns, and the weights in use

Uses the standard library and boto3 only, and knows nothing of animals: the weights that `petbox zoo
train` exports hold the inputs and the classes' names. They are read from S3 once, and again when
the object's ETag changes; S3 is called at most every ZOO_REFRESH_SECONDS, so all other calls use no
network. If new weights cannot be read, those in use stay. Each response has the ETag of the weights
that made it, so that responses of different weights can be told apart.
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
MOST = 1e100  # of a caller's number, so that nothing overflows
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


class Choice:
    """An input that takes one of a few values."""

    def __init__(self, exported: dict[str, Any], rows: list[list[float]], classes: int) -> None:
        self.name: str = exported["name"]
        self.column = exported
        values = exported["values"]
        # Of two values only the second has a row of weights; otherwise each of them has one.
        unweighted = values[:1] if len(values) == 2 else []
        self.by_value = {value: [0.0] * classes for value in unweighted}
        self.by_value |= {value: rows.pop(0) for value in values[len(unweighted) :]}

    def logits(self, value: Any) -> list[float]:
        # In Python True equals 1; in JSON it is not a number.
        if type(value) not in (int, float, str) or value not in self.by_value:
            *others, last = map(str, self.by_value)
            raise ValueError(f"it must be {', '.join(others)}{' or ' * bool(others)}{last}")
        return self.by_value[value]


class Number:
    """An input that takes any number."""

    def __init__(self, exported: dict[str, Any], rows: list[list[float]], _classes: int) -> None:
        self.name: str = exported["name"]
        self.column = {"name": self.name, "values": "number"}
        self.mean, self.deviation = _numbers([exported["mean"], exported["deviation"]], 2)
        self.row = [weight / self.deviation for weight in rows.pop(0)]

    def logits(self, value: Any) -> list[float]:
        if type(value) not in (int, float) or not abs(value) <= MOST:
            raise ValueError("it must be a number")
        return [weight * (value - self.mean) for weight in self.row]


class Model:
    """A softmax classifier."""

    def __init__(self, exported: dict[str, Any]) -> None:
        self.names: list[str] = exported["names"]
        classes = len(self.names)
        self.bias = _numbers(exported["bias"], classes)
        rows = [_numbers(row, classes) for row in exported["weights"]]
        self.inputs = [
            (Choice if "values" in one else Number)(one, rows, classes)
            for one in exported["inputs"]
        ]
        if rows or not self.inputs:
            raise ValueError(f"{len(rows)} rows of weights belong to no input")

    def answer(self, x: Any) -> dict[str, Any]:
        if not isinstance(x, list):
            raise BadRequest(f"X is {_shown(x)}, not a list of {len(self.inputs)} values")
        if len(x) != len(self.inputs):
            names = ", ".join(one.name for one in self.inputs)
            raise BadRequest(f"X has {len(x)} values, not {len(self.inputs)}: {names}")
        rows = []
        for at, (value, one) in enumerate(zip(x, self.inputs, strict=True)):
            try:
                rows.append(one.logits(value))
            except ValueError as error:
                text = f"X[{at}] ({one.name}) is {_shown(value)}; {error}"
                raise BadRequest(text) from error
        rating = softmax([math.fsum(column) for column in zip(self.bias, *rows, strict=True)])
        best = rating.index(max(rating))
        return {"answer": best, "rating": rating, "name": self.names[best]}

    def described(self) -> dict[str, Any]:
        return {"classes": self.names, "columns": [one.column for one in self.inputs]}


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
        self.problem: str | None = None

    def current(self) -> Model:
        now = time.time()  # a frozen container's monotonic clock may stand still
        if self.model is None or abs(now - self.checked_at) >= self.refresh:
            self.checked_at = now
            self._refresh()
        if self.model is None:
            raise NoWeights("the model has no weights yet; train it with petbox zoo train")
        return self.model

    def _refresh(self) -> None:
        known = {"IfNoneMatch": self.etag} if self.model else {}
        try:
            found = self.s3.get_object(Bucket=self.bucket, Key=self.key, **known)
            if found["ContentLength"] > MOST_BYTES:
                raise ValueError(f"has {found['ContentLength']} bytes")
            self.model = Model(json.loads(found["Body"].read(), parse_constant=_no_constant))
            before = f" in place of {self.etag}" if self.etag else ""
            self.etag, self.problem = found["ETag"], None
            print(f"{self.address}: loaded {self.etag}{before}")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == NOT_MODIFIED:
                self.problem = None
                return
            if code in GONE:
                self.model, self.etag = None, ""
            self._keep(code)
        except BotoCoreError as error:
            self._keep(str(error))
        except UNREADABLE as error:
            self._keep(f"not weights of petbox zoo train ({type(error).__name__}: {error})")

    def _keep(self, problem: str) -> None:
        self.problem = problem
        state = f"{self.etag} stays in use" if self.model else "there is no model"
        print(f"{self.address}: {problem}, {state}")

    def described(self) -> dict[str, Any]:
        """`problem` is why the object that is in S3 now is not in use."""
        return {"address": self.address, "etag": self.etag, "problem": self.problem}


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answers API Gateway's events, payload 1.0 (REST) and 2.0 (HTTP API, function URL)."""
    try:
        model = WEIGHTS.current()
        if _is_root(event):
            return _response(200, {**model.described(), "weights": WEIGHTS.described()})
        return _response(200, model.answer(_parsed_x(event)))
    except BadRequest as error:
        return _response(400, {"error": str(error)})
    except NoWeights as error:
        return _response(503, {"error": str(error)})


def _is_root(event: dict[str, Any]) -> bool:
    """Whether it is GET / without an X; in payload 2.0 a named stage stands before the path."""
    path = str(event.get("rawPath") or event.get("path") or "")
    stage = (event.get("requestContext") or {}).get("stage", "")
    given = "X" in (event.get("queryStringParameters") or {})
    return not given and path.rstrip("/") in ("", f"/{stage}")


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
    if WEIGHTS.etag:
        headers["ETag"] = WEIGHTS.etag
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}


WEIGHTS = Weights(
    os.environ.get("ZOO_WEIGHTS", ""), float(os.environ.get("ZOO_REFRESH_SECONDS", "30"))
)
