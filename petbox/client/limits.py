"""How large a request a detector accepts, known before one is sent.

SageMaker passes 25 MB to an endpoint and 4 MB to a serverless one, API Gateway 6 MB to a Lambda
function, counted after base64, which adds a third to an image. Which of the first two an endpoint
is, is looked up once, and only when a request is over the smaller limit: few are, and not everyone
who may invoke an endpoint may describe it.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.sizes import MIB

REAL_TIME = 25 * MIB
SERVERLESS = 4 * MIB
LAMBDA = int(5.9 * MIB)  # of its 6 MB the event around the image takes some
UPLOADED = 4 * 20_000_000 // 3  # of which Lambda reads an image from S3


@dataclass(frozen=True)
class Limit:
    """The most bytes of a request, and whose limit that is."""

    most: int
    whose: str

    def __str__(self) -> str:
        return f"{self.whose} takes {self.most / MIB:g} MB"


FindLimit = Callable[[int], Limit]  # the limit that counts for a request of so many bytes


def fixed(megabytes: float) -> FindLimit:
    limit = Limit(int(megabytes * MIB), "the server, by --limit (in Python limit),")
    return lambda _size: limit


def of_server(url: str, most: int = REAL_TIME) -> FindLimit:
    limit = Limit(most, url)
    return lambda _size: limit


def of_endpoint(name: str) -> FindLimit:
    smaller = Limit(SERVERLESS, f"endpoint {name}")
    look_up = functools.cache(_look_up)
    lock = threading.Lock()

    def find(size: int) -> Limit:
        if size <= smaller.most:
            return smaller
        with lock:  # so that it is looked up once
            return look_up(name)

    return find


def _look_up(name: str) -> Limit:
    sagemaker = Account().client("sagemaker")
    try:
        with session.calling(f"endpoint {name}"):
            endpoint = sagemaker.describe_endpoint(EndpointName=name)
    except session.CallFailed as error:
        logging.getLogger(__name__).warning(
            "%s; assuming a limit of 25 MB; for a serverless endpoint use --limit 4 (in Python "
            "limit=4)",
            error,
        )
        return Limit(REAL_TIME, f"endpoint {name}")
    variants = endpoint.get("ProductionVariants", ())  # none while it is being created
    if any("CurrentServerlessConfig" in variant for variant in variants):
        return Limit(SERVERLESS, f"endpoint {name} is serverless and")
    return Limit(REAL_TIME, f"endpoint {name}")
