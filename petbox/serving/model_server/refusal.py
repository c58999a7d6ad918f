"""A request that is refused: TensorFlow's canonical error code and the sentence that says why.

The status of each code is that of TensorFlow Serving's `http_server.cc`.
"""

from __future__ import annotations

STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class Refusal(Exception):
    """An error of the request or of the graph, as the client is to read it."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @property
    def status(self) -> int:
        return STATUS[self.code]

    def __str__(self) -> str:
        """As TensorFlow prints a status inside another error's text."""
        return f"{self.code}: {self.message}"
