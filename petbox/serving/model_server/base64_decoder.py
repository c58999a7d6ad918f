"""Base64 of the standard alphabet, as `b64decode(text, validate=True)`."""

from __future__ import annotations

import base64
from collections.abc import Callable

b64decode: Callable[..., bytes] = base64.b64decode
try:  # pybase64 takes a tenth of the time, but a LiteRT server needs few packages
    import pybase64

    b64decode = pybase64.b64decode
except ImportError:
    pass
