"""The S3 front: for an image that arrives under a prefix, results/KEY.json is written.

The endpoint detects; petbox/lambdas/s3_events.py describes how an event is processed.
"""

from __future__ import annotations

from petbox.lambdas.endpoint import detector
from petbox.lambdas.s3_events import S3Events

RETRY_FOR = 20.0  # seconds to retry a busy endpoint before leaving the event to the queue

handler = S3Events("s3_front", detector(retry_for=RETRY_FOR))
