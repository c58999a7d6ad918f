"""The smallest model behind API Gateway: which kind of animal has these sixteen traits?

    GET /zoo?X=[0,0,1,0,0,0,1,1,1,1,1,0,0,1,0,0]   {"answer": 2, "rating": [...], "name": "reptile"}

Standard library and boto3 only, and no word about animals: what the inputs may be and what the
answers are called is in the weights that train_zoo.py exports. They are read from S3 once, and
again when the object there is another (its ETag); it is asked after at most every
ZOO_REFRESH_SECONDS, so that all other calls touch no network. Anything that cannot be read leaves
the weights in use as they are.
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
# What reading a file that is no weights may end with.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
NOT_MODIFIED = "304"
# S3 says AccessDenied of an object that is not there to whoever may not list the bucket.
GONE = ("NoSuchKey", "NoSuchBucket", "AccessDenied", "404", "403")


class BadRequest(Exception):
    """The caller's X is not what the model takes."""


class NoWeights(Exception):
    """There is nothing to answer with."""


class Model:
    """A softmax classifier over inputs that each take one of a few values."""

    def __init__(self, exported: dict[str, Any]) -> None:
        self.names: list[str] = exported["names"]
        self.bias = _numbers(exported["bias"], len(self.names))
        rows = [_numbers(row, len(self.names)) for row in exported["weights"]]
        self.inputs: list[tuple[str, dict[float, list[float]]]] = []
        for one in exported["inputs"]:
            # Of two values the second has a row of weights, of more each one has.
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
            # In Python true is 1; in JSON it is no number.
            if type(value) not in (int, float) or value not in by_value:
                *others, last = map(str, by_value)
                wanted = f"{', '.join(others)} or {last}"
                raise BadRequest(f"X[{at}] ({name}) is {_shown(value)}; it must be {wanted}")


def softmax(logits: list[float]) -> list[float]:
    highest = max(logits)  # or exp would leave the numbers there are
    powers = [math.exp(logit - highest) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def _numbers(row: list[float], count: int) -> list[float]:
    if len(row) != count or not all(math.isfinite(number) for number in row):
        raise ValueError(f"{count} finite numbers should be in {_shown(row)}")
    return row


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class Weights:
    """The model whose weights lie at an address in S3, as new as `refresh` seconds ago."""

    def __init__(self, address: str, refresh: float) -> None:
        self.bucket, _, self.key = address.removeprefix("s3://").partition("/")
        if not address.startswith("s3://") or not self.key:
            raise ValueError(f"ZOO_WEIGHTS is {address!r}; write it like s3://bucket/weights.json")
        self.address, self.refresh = address, refresh
        # The caller waits as long, so that it must end before the function's own time does.
        waits = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
        self.s3 = boto3.client("s3", config=waits)
        self.model: Model | None = None
        self.etag, self.looked = "", -math.inf

    def current(self) -> Model:
        now = time.time()  # a frozen container's monotonic clock may stand still
        if self.model is None or abs(now - self.looked) >= self.refresh:
            self.looked = now
            self._look()
        if self.model is None:
            raise NoWeights("the model has no weights yet; train it with serverless/zoo")
        return self.model

    def _look(self) -> None:
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
            print(f"{self.address}: {code}, {self._left()}")
        except BotoCoreError as error:
            print(f"{self.address}: {error}, {self._left()}")
        except UNREADABLE as error:
            why = f"{type(error).__name__}: {error}"
            print(f"{self.address}: not weights of train_zoo.py ({why}), {self._left()}")

    def _left(self) -> str:
        return f"{self.etag} goes on" if self.model else "there is no model to answer with"


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answers API Gateway's events, payload 1.0 (REST) and 2.0 (HTTP API, function URL)."""
    try:
        return _response(200, WEIGHTS.current().answer(_numbers_asked_about(event)))
    except BadRequest as error:
        return _response(400, {"error": str(error)})
    except NoWeights as error:
        return _response(503, {"error": str(error)})


def _numbers_asked_about(event: dict[str, Any]) -> Any:
    one = (event.get("queryStringParameters") or {}).get("X")
    several = (event.get("multiValueQueryStringParameters") or {}).get("X") or [one]  # 1.0 only
    if len(several) > 1:
        raise BadRequest(f"X is given {len(several)} times; give it once")
    if one is None:
        raise BadRequest("X is missing; ask like /zoo?X=[0,0,1,...]")
    try:
        return json.loads(one, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"X is not JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}


WEIGHTS = Weights(
    os.environ.get("ZOO_WEIGHTS", ""), float(os.environ.get("ZOO_REFRESH_SECONDS", "30"))
)
