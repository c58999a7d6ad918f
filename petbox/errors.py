"""What can go wrong in a way the user can mend.

    PetboxError
    ├── DataError        a picture, an annotation, a record, a label map
    ├── ModelError       a checkpoint, a run or a SavedModel
    ├── WireError        an answer or a request that is not of the wire format
    │   └── InvalidImage an image that the detector cannot or will not decode
    ├── ServiceError     a server that is not there, refuses, or fails
    └── MissingExtra     a part of petbox that was not installed

A message names the thing, what is wrong with it and what to do. `petbox.cli.program` turns these
into one line and exit code 1; every other exception is our own mistake and keeps its traceback.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class PetboxError(Exception):
    """Anything the user can mend; the message says how."""


class DataError(PetboxError):
    """A picture, an annotation, a record or a label map that is not as it should be."""


class ModelError(PetboxError):
    """A checkpoint, a run or a SavedModel that is missing or does not fit."""


class WireError(PetboxError):
    """A request or an answer that is not of the wire format, or an answer that is an error."""


class InvalidImage(WireError):
    """An image that the detector cannot or will not decode; the next one may be fine."""


class ServiceError(PetboxError):
    """A server that is not there, refuses, or fails."""


class MissingExtra(PetboxError):
    """A part of petbox that was not installed."""


INSTALLED_AS = {"PIL": "Pillow", "official": "tf-models-official"}  # where the names differ


def needs(module: str, extra: str) -> ModuleType:
    """The imported `module`, or the pip line that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise  # something under it is broken, which installing the extra does not mend
        top = module.split(".")[0]
        raise MissingExtra(
            f"{INSTALLED_AS.get(top, top)} is not installed; in the petbox checkout type: "
            f"pip install './[{extra}]'"
        ) from error
