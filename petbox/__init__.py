"""petbox: train, export, serve and call an object detector.

    detector = petbox.Detector("http://localhost:8080")
    found = detector.detect("cat.jpg")

Importing this package loads only the standard library. Each name below is loaded on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers and editors take it for true; typing is slow to import
if TYPE_CHECKING:
    from petbox import errors
    from petbox.client.detections import Box, Detection, Detections
    from petbox.client.detector import Detector
    from petbox.serving.in_process import open_model

__version__ = "0.1.0"
__all__ = ["Box", "Detection", "Detections", "Detector", "__version__", "errors", "open_model"]

_PLACES = {
    "Box": "petbox.client.detections:Box",
    "Detection": "petbox.client.detections:Detection",
    "Detections": "petbox.client.detections:Detections",
    "Detector": "petbox.client.detector:Detector",
    "errors": "petbox.errors",
    "open_model": "petbox.serving.in_process:open_model",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'petbox' has no attribute {name!r}")
    import importlib

    place, _, member = _PLACES[name].partition(":")
    module = importlib.import_module(place)
    globals()[name] = value = getattr(module, member) if member else module
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
