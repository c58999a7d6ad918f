"""Errors as TensorFlow statuses (a canonical code and a message), and their HTTP statuses."""

from __future__ import annotations

HTTP_STATUS = {  # as in TensorFlow Serving's `http_server.cc`
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


class StatusError(Exception):
    """An error in the request or in the graph, as sent to the client."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @property
    def status(self) -> int:
        return HTTP_STATUS[self.code]

    def __str__(self) -> str:
        """As TensorFlow prints a status inside another error message."""
        return f"{self.code}: {self.message}"
