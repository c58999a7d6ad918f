"""How large a request a detector takes, known before one is sent.

SageMaker passes on 25 MB to an endpoint and 4 MB to a serverless one, counted after base64, which
adds a third to a picture. Which of the two an endpoint is, is asked once, and only when a request
is too large for the smaller: few are, and who may call an endpoint may not always look at it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.program import say

MB = 1024 * 1024  # as SageMaker and nginx count them
REAL_TIME = 25 * MB
SERVERLESS = 4 * MB


@dataclass(frozen=True)
class Limit:
    """The most bytes of a request, and who says so."""

    most: int
    whose: str

    def __str__(self) -> str:
        return f"{self.whose} takes {self.most / MB:g} MB"


Find = Callable[[int], Limit]  # the limit that counts for a request of so many bytes


def given(megabytes: float) -> Find:
    limit = Limit(int(megabytes * MB), "the server, says --limit,")
    return lambda _size: limit


def of_server(url: str) -> Find:
    limit = Limit(REAL_TIME, url)
    return lambda _size: limit


def of_endpoint(name: str) -> Find:
    smaller = Limit(SERVERLESS, f"endpoint {name}")
    look = functools.cache(_look)
    one_at_a_time = threading.Lock()

    def find(size: int) -> Limit:
        if size <= smaller.most:
            return smaller
        with one_at_a_time:  # so that it is asked once
            return look(name)

    return find


def _look(name: str) -> Limit:
    try:
        serverless = _is_serverless(name)
    except session.Trouble as trouble:
        say(f"{trouble}; taking its limit for 25 MB; if it is serverless say --limit 4")
        return Limit(REAL_TIME, f"endpoint {name}")
    if serverless:
        return Limit(SERVERLESS, f"endpoint {name} is serverless and")
    return Limit(REAL_TIME, f"endpoint {name}")


def _is_serverless(name: str) -> bool:
    sagemaker = Account().client("sagemaker")
    with session.calling(f"endpoint {name}"):
        endpoint = sagemaker.describe_endpoint(EndpointName=name)
    variants = endpoint.get("ProductionVariants", ())  # none while it is being made
    return any("CurrentServerlessConfig" in variant for variant in variants)
