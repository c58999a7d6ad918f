"""The HTTP front: API Gateway passes an image, the endpoint detects, the response is JSON.

petbox/lambdas/http_events.py describes requests and responses.
"""

from __future__ import annotations

from petbox.lambdas.endpoint import detector
from petbox.lambdas.http_events import HttpEvents

SECONDS = 18.0  # with the time to fetch an image; API Gateway gives up after 29

handler = HttpEvents("http_front", detector(SECONDS))
