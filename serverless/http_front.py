"""The HTTP front: API Gateway hands over a picture, the endpoint looks at it, the answer is JSON.

What may be asked, and what is answered, stands in petbox/lambdas/http_events.py.
"""

from __future__ import annotations

from petbox.lambdas.endpoint import finder
from petbox.lambdas.http_events import HttpEvents

SECONDS = 18.0  # with what a fetched picture takes; API Gateway gives up after 29

handler = HttpEvents("http_front", finder(SECONDS))
