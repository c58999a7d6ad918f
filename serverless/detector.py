"""The detector in Lambda, without an endpoint: the model runs in the function's own process.

Accepts the events of both fronts: API Gateway's, and S3's if DEAD_LETTER_URL is set. The model lies
in the function (MODEL, by default the folder `model` beside this file), or in S3 as model.tar.gz
(MODEL=s3://…, with its SHA-256 in MODEL_SHA256). If it cannot be loaded, the function starts
nevertheless, and reports the reason for each image.
"""

# ruff: noqa: E402  # the imports are part of what is timed
from __future__ import annotations

import time

STARTED = time.monotonic()

import tempfile
import threading
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from petbox.client.detector import Detector
from petbox.errors import DataError, MissingExtra, ModelError, PetboxError
from petbox.lambdas import settings
from petbox.lambdas.eager import Eager, seconds_to_start
from petbox.lambdas.http_events import HttpEvents
from petbox.wire import Detection, Engine

SERVICE = "detector"
logger = Logger(service=SERVICE)
MODEL = settings.text("MODEL", str(Path(__file__).with_name("model")))
SHA256 = settings.text("MODEL_SHA256")


def load() -> Engine:
    """The model; a failure is logged at once, because it is raised only when an image comes."""
    try:
        return loaded()
    except Exception as error:
        bug = not isinstance(error, PetboxError)
        logger.error("the detector cannot be loaded: %s", error, exc_info=bug)
        raise


def loaded() -> Engine:
    from petbox.serving.in_process import open_model

    folder = Path(MODEL)
    if "://" in MODEL:
        from petbox.lambdas import model_archive

        folder = model_archive.fetched(MODEL, SHA256, Path(tempfile.gettempdir()))
    try:
        return open_model(folder)
    except (ModuleNotFoundError, MissingExtra) as error:
        raise ModelError(
            f"{folder}: this function cannot run it ({error}); a SavedModel needs the image "
            "(serverless/detector.Dockerfile), a LiteRT model the zip (scripts/package_lambda.sh), "
            "and a model for OpenVINO runs in neither"
        ) from error


class LoadingEngine:
    """The model, which may still be loading when the first image comes.

    It takes one image at a time: all processors work on it, and memory holds the tensors of one.
    """

    def __init__(self) -> None:
        self.model = Eager(load)
        self._one_at_a_time = threading.Lock()

    def detect(self, image: bytes) -> list[Detection]:
        with self._one_at_a_time:
            return self.model.result().detect(image)


engine = LoadingEngine()
detector = Detector(engine=engine, fit=True)
http = HttpEvents(SERVICE, detector)
s3: Any = None
if settings.text("DEAD_LETTER_URL"):
    from petbox.lambdas.s3_events import S3Events

    s3 = S3Events(SERVICE, detector)
engine.model.wait(max(0.0, STARTED + seconds_to_start() - time.monotonic()))


def handler(event: dict[str, Any], context: Any) -> Any:
    if "Records" not in event:
        return http(event, context)
    if s3 is None:
        raise DataError("an event from S3, but DEAD_LETTER_URL is not set; set it")
    return s3(event, context)
