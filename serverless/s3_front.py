"""The S3 front: a picture that arrives under a prefix is looked at, and results/KEY.json written.

The endpoint looks; how an event is settled stands in petbox/lambdas/s3_events.py.
"""

from __future__ import annotations

from petbox.lambdas.endpoint import finder
from petbox.lambdas.s3_events import S3Events

PATIENCE = 20.0  # seconds that a busy endpoint is waited for before the queue waits instead

handler = S3Events("s3_front", finder(patience=PATIENCE))
