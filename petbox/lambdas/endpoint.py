"""The detector of the Lambda functions in front of an endpoint, from their environment.

ENDPOINT_NAME is the endpoint, COMPONENT_NAME one of its inference components; images over
REQUEST_MB are sent as smaller copies.
"""

from __future__ import annotations

from petbox.client import transport
from petbox.client.detector import Detector
from petbox.lambdas import settings


def detector(timeout: float = transport.SECONDS, retry_for: float = 0.0) -> Detector:
    return Detector(
        endpoint=settings.needed("ENDPOINT_NAME"),
        component=settings.text("COMPONENT_NAME") or None,
        limit=settings.number("REQUEST_MB", 25, 0.1, 25),
        fit=True,
        timeout=timeout,
        retry_for=retry_for,
        wait_for=retry_for,
    )
