"""The exceptions of petbox: what can go wrong in a way that the user can fix.

    PetboxError
    ├── DataError        an image, an annotation, a record, a label map
    ├── ModelError       a checkpoint, a run or a SavedModel
    ├── WireError        a request or a response that is not in the wire format
    │   └── InvalidImage an image that the detector rejects
    ├── ServiceError     a server that is unreachable, rejects, or fails
    │   └── Busy         a server that is overloaded right now
    │       └── NoCapacity  an inference component that is scaled to zero
    └── MissingExtra     a part of petbox that is not installed

A message names the thing, what is wrong with it and what to do. `petbox.cli.program` prints these
as one line and exits with 1; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class PetboxError(Exception):
    """Anything the user can fix; the message says how."""


class DataError(PetboxError):
    """An invalid or missing image, annotation, record or label map."""


class ModelError(PetboxError):
    """A missing or unsuitable checkpoint, run or SavedModel."""


class WireError(PetboxError):
    """A request or response that is not in the wire format, or a response that is an error."""


class InvalidImage(WireError):
    """The detector rejects this image; other images may be fine."""


class ServiceError(PetboxError):
    """A server that is unreachable, rejects the request, or fails."""


class Busy(ServiceError):
    """An overloaded server; a retry `after` so many seconds may succeed."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class NoCapacity(Busy):
    """An inference component without a copy; the call that it rejects makes it start one."""


class MissingExtra(PetboxError):
    """A part of petbox that is not installed."""


INSTALLED_AS = {  # where the names differ
    "PIL": "Pillow",
    "ai_edge_litert": "ai-edge-litert",
    "official": "tf-models-official",
}


def needs(module: str, extra: str = "") -> ModuleType:
    """The imported `module`; MissingExtra says which pip command installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise  # one of its own dependencies is missing, which the extra does not install
        top = module.split(".")[0]
        name = INSTALLED_AS.get(top, top)
        if not extra:
            raise MissingExtra(f"{name} is not installed; type: pip install {name}") from error
        raise MissingExtra(
            f"{name} is not installed; in the petbox checkout type: pip install './[{extra}]'"
        ) from error
