"""The finder of the serverless fronts: it asks the endpoint that their environment names.

ENDPOINT_NAME is asked; of a picture that is over REQUEST_MB it gets a smaller copy.
"""

from __future__ import annotations

import time

from petbox import wire
from petbox.client import detector as client_detector
from petbox.client import retry
from petbox.errors import InvalidImage, WireError
from petbox.lambdas import settings
from petbox.lambdas.answer import MB, Finder


def finder(seconds: float = client_detector.SECONDS, patience: float = 0.0) -> Finder:
    """Waits so long for an answer, and so long besides for an endpoint that is busy."""
    ask = client_detector.at_endpoint(settings.needed("ENDPOINT_NAME"), seconds)
    if patience:
        ask = retry.patient(ask, time.sleep, patience=patience)
    most = int(settings.number("REQUEST_MB", 25, 0.1, 25) * MB)
    around = len(wire.request([b""], signature=client_detector.DETECT))
    room = max(0, most - around) // 4 * 3  # base64 makes four of three
    return Finder(client_detector.Detector(_telling_refusals(ask)), room)


def _telling_refusals(ask: client_detector.Ask) -> client_detector.Ask:
    """`ask`, whose refusals can be told from answers that make no sense."""

    def asking(body: bytes) -> bytes:
        try:
            return ask(body)
        except WireError as error:
            raise InvalidImage(str(error)) from error

    return asking
