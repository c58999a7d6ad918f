"""The finder of the serverless fronts: it asks the endpoint that their environment names.

ENDPOINT_NAME is asked; of a picture that is over REQUEST_MB it gets a smaller copy.
"""

from __future__ import annotations

import time

from petbox import client, lambda_settings, retrying, wire
from petbox.errors import WireError
from petbox.picture_answer import MB, Finder, PictureRefused


def finder(seconds: float = client.SECONDS, patience: float = 0.0) -> Finder:
    """Waits so long for an answer, and so long besides for an endpoint that is busy."""
    ask = client.at_endpoint(lambda_settings.needed("ENDPOINT_NAME"), seconds)
    if patience:
        ask = retrying.patient(ask, time.sleep, patience=patience)
    most = int(lambda_settings.number("REQUEST_MB", 25, 0.1, 25) * MB)
    around = len(wire.request([b""], signature=client.DETECT))
    room = max(0, most - around) // 4 * 3  # base64 makes four of three
    return Finder(client.Detector(_telling_refusals(ask)), room)


def _telling_refusals(ask: client.Ask) -> client.Ask:
    """`ask`, whose refusals can be told from answers that make no sense."""

    def asking(body: bytes) -> bytes:
        try:
            return ask(body)
        except WireError as error:
            raise PictureRefused(str(error)) from error

    return asking
