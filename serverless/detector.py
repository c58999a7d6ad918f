"""The detector in Lambda, without an endpoint: the model runs in the function's own process.

Takes the events of both fronts: API Gateway's, and S3's if DEAD_LETTER_URL is set. The model lies
in the function (MODEL, by default the folder `model` beside this file), or in S3 as model.tar.gz
(MODEL=s3://…, with its SHA-256 in MODEL_SHA256), and is run by what its folder asks for. If it
cannot be loaded, the function starts nevertheless, and says why of each picture.
"""

# ruff: noqa: E402  # the imports are part of what is timed
from __future__ import annotations

import time

BEGAN = time.monotonic()

import tempfile
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from petbox.errors import DataError, PetboxError
from petbox.lambdas import settings
from petbox.lambdas.answer import Finder
from petbox.lambdas.eager import Begun
from petbox.lambdas.http_events import HttpEvents
from petbox.wire import Detection, Engine

SECONDS = 8.0  # of the ten that Lambda gives a start, from BEGAN on
SERVICE = "detector"
logger = Logger(service=SERVICE)
MODEL = settings.text("MODEL", str(Path(__file__).with_name("model")))
SHA256 = settings.text("MODEL_SHA256")


def load() -> Engine:
    """The detector; a failure is logged at once, for it is raised only when a picture comes."""
    try:
        return loaded()
    except Exception as error:
        ours = not isinstance(error, PetboxError)
        logger.error("the detector cannot be loaded: %s", error, exc_info=ours)
        raise


def loaded() -> Engine:
    from petbox.lambdas import local_detector

    if "://" not in MODEL:
        return local_detector.load(Path(MODEL))
    from petbox.lambdas import model_archive

    return local_detector.load(model_archive.fetched(MODEL, SHA256, Path(tempfile.gettempdir())))


class OnItsWay:
    """The detector, which may still be loading when the first picture comes."""

    def __init__(self) -> None:
        self.begun = Begun(load)

    def detect(self, picture: bytes) -> list[Detection]:
        return self.begun.result().detect(picture)


detector = OnItsWay()
finder = Finder(detector)
http = HttpEvents(SERVICE, finder)
s3: Any = None
if settings.text("DEAD_LETTER_URL"):
    from petbox.lambdas.s3_events import S3Events

    s3 = S3Events(SERVICE, finder)
detector.begun.wait(max(0.0, BEGAN + SECONDS - time.monotonic()))


def handler(event: dict[str, Any], context: Any) -> Any:
    if "Records" not in event:
        return http(event, context)
    if s3 is None:
        raise DataError("an event of S3's, and DEAD_LETTER_URL is not set; set it")
    return s3(event, context)
