"""API Gateway's events: an image comes in, its detections go out as JSON.

`POST /detect` takes a form with the field `img`, a bare image, {"url": …}, {"b64": …} or
{"upload": …}. `?min_score=0.3` sets the lowest score, `?draw=1` returns the image with its boxes,
`?upload=1` returns a form to upload a larger image with. Accepts events of REST APIs, HTTP APIs and
function URLs.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    APIGatewayRestResolver,
    CORSConfig,
    Response,
)
from aws_lambda_powertools.metrics import MetricUnit
from pybase64 import b64decode  # in a tenth of the time of Python's own
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from petbox.cli.sizes import MIB
from petbox.client import download, sources  # noqa: F401  # Pillow loads now, not with an image
from petbox.client.detections import Detections
from petbox.client.detector import Detector
from petbox.errors import Busy, DataError, InvalidImage, PetboxError
from petbox.images import heic
from petbox.lambdas import settings
from petbox.lambdas.image_uploads import ImageUploads
from petbox.lambdas.summary import summary

PATH = "/detect"
STAGE = "/v1"  # which is part of the path if the API has a domain name of its own
FIELD = "img"
MOST_RETURNED = 6 * MIB - 64 * 1024  # Lambda's own limit, less what goes around the body
DOWNLOAD = download.Limits(seconds=8.0)
ACCEPTED = (
    "send a form with the field img, a bare image (image/jpeg), or JSON with url, b64 or upload"
)


class BadRequest(DataError):
    """A request that is rejected with `status`."""

    def __init__(self, reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.status = status


class HttpEvents:
    """The handler of a function that API Gateway calls."""

    def __init__(self, service: str, detector: Detector) -> None:
        self._detector = detector
        self._min_score = settings.optional_number("MIN_SCORE", 0, 1)
        self._uploads = ImageUploads(settings.text("UPLOADS_BUCKET"), DOWNLOAD.most)
        self._logger = Logger(service=service)
        self._metrics = Metrics(namespace="petbox", service=service)
        origins = settings.listed("CORS_ORIGINS")
        self._rest = self._app(APIGatewayRestResolver, origins)
        self._http = self._app(APIGatewayHttpResolver, origins)
        counted = self._metrics.log_metrics(self._respond)
        self._respond_logged = self._logger.inject_lambda_context(counted)

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        return self._respond_logged(event, context)

    def _respond(self, event: dict[str, Any], context: Any) -> Any:
        app = self._http if event.get("version") == "2.0" else self._rest
        return app(event, context)

    def _app(self, resolver: Any, origins: Sequence[str]) -> Any:
        cors = None
        if origins:
            cors = CORSConfig(
                origins[0],
                list(origins[1:]),
                allow_headers=["X-Amz-Content-Sha256"],  # AWS's signer for JavaScript sends it
                expose_headers=["Retry-After"],
                max_age=600,
            )
        app = resolver(cors=cors, strip_prefixes=[STAGE])
        app.post(PATH)(lambda: self._detect(app.current_event))
        app.not_found(lambda _error: self._not_found(app.current_event))
        app.exception_handler(PetboxError)(self._reject)
        app.exception_handler(Exception)(self._crash)
        return app

    def _detect(self, event: Any) -> Response[str | bytes]:
        query = event.query_string_parameters or {}
        if _switch(query, "upload"):
            return _json(HTTPStatus.OK, self._uploads.form())
        min_score, draw = _score(query, self._min_score), _switch(query, "draw")
        image = self._image(event.raw_event)
        heic.reject("the image", image)
        found = self._detector.detect(image, min_score=min_score)
        self._count("Pictures")
        if draw:
            return Response(HTTPStatus.OK, "image/jpeg", _within_lambdas_limit(found))
        return _json(HTTPStatus.OK, summary(found))

    def _image(self, event: Mapping[str, Any]) -> bytes:
        """The image's file, in whichever way it was sent."""
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        content_type = headers.get("content-type", "")
        kind = content_type.split(";")[0].strip().lower()
        if kind == "application/json":
            return self._from_json(_body(event))
        if kind == "multipart/form-data":
            return _from_form(_bytes(event), content_type)
        if kind.startswith("image/") or kind == "application/x-image":
            return _bytes(event)
        reason = f"Content-Type {kind or 'is missing'}: {ACCEPTED}"
        raise BadRequest(reason, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def _from_json(self, body: bytes) -> bytes:
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON; {ACCEPTED}") from error
        ways = ("url", "b64", "upload")
        given = [key for key in ways if isinstance(fields, dict) and key in fields]
        if len(given) != 1 or not isinstance(fields[given[0]], str):
            raise BadRequest(
                'the JSON must be {"url": "https://…"}, {"b64": "…"} or {"upload": "…"}'
            )
        (value,) = (fields[key] for key in given)
        if given == ["url"]:
            return download.fetch(value, DOWNLOAD)
        if given == ["upload"]:
            return self._uploads.read(value)
        if value.startswith("data:"):  # as a browser's FileReader makes it
            raise BadRequest("b64: is a data: URL; send what follows its comma")
        try:
            return b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"b64: not base64 ({error}); encode the image file again") from error

    def _reject(self, error: PetboxError) -> Response[str | bytes]:
        """The response to an invalid request, or when the detector fails."""
        status = _status(error)
        headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        self._count("Failed" if fault else "Refused")
        (self._logger.error if fault else self._logger.info)("%d %s", status, error)
        if fault:  # the error's own text names things of the account
            reason = "the detector is overloaded" if headers else "the detector does not respond"
            return _json(status, {"error": f"{reason}; try again later"}, headers)
        return _json(status, {"error": str(error)})

    def _crash(self, _error: Exception) -> Response[str | bytes]:
        """The response to a bug: its traceback is in the log, and none of it in the response."""
        self._logger.exception("the function failed")
        self._count("Failed")
        reason = "the function failed; its log says why"
        return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": reason})

    def _not_found(self, event: Any) -> Response[str | bytes]:
        self._count("Refused")
        if event.path.removeprefix(STAGE).rstrip("/") == PATH:
            status, allow = HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"}
            return _json(status, {"error": f"{PATH} takes POST only"}, allow)
        return _json(HTTPStatus.NOT_FOUND, {"error": f"no such path; there is POST {PATH}"})

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, 1)


# Requests


def _score(query: Mapping[str, str], default: float | None) -> float | None:
    if "min_score" not in query:
        return default
    text = query["min_score"]
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise BadRequest(f"min_score={text}: not a number from 0 to 1")
    return score


def _switch(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "0").lower()
    if text not in ("0", "1", "true", "false"):
        raise BadRequest(f"{name}={text}: neither 0 nor 1")
    return text in ("1", "true")


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not body:
        raise BadRequest(f"no body; {ACCEPTED}")
    return b64decode(body, validate=True) if event.get("isBase64Encoded") else str(body).encode()


def _bytes(event: Mapping[str, Any]) -> bytes:
    body = _body(event)
    if not event.get("isBase64Encoded"):
        raise BadRequest(
            "the image came as text, which damages it; add */* to API Gateway's binary media types",
        )
    return body


def _from_form(body: bytes, content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest(
            "the form's Content-Type has no boundary; let the HTTP client set the header"
        )
    images: list[bytes] = []

    def file(part: Any) -> None:
        if part.field_name == FIELD.encode():
            part.file_object.seek(0)
            images.append(part.file_object.read())

    def field(part: Any) -> None:  # without a file's name
        if part.field_name == FIELD.encode():
            images.append(part.value or b"")

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        form = FormParser("multipart/form-data", field, file, boundary=boundary, config=in_memory)
        form.write(body)
        form.finalize()
    except FormParserError as error:
        raise BadRequest(f"not a valid multipart form ({error}); {ACCEPTED}") from error
    if len(images) != 1:
        raise BadRequest(f"the form has {len(images)} fields {FIELD}; send one")
    return images[0]


# Responses


def _json(
    status: HTTPStatus, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response[str | bytes]:
    return Response(status, "application/json", json.dumps(body), dict(headers or {}))


def _within_lambdas_limit(found: Detections) -> bytes:
    drawn = found.jpeg()
    if 4 * len(drawn) / 3 > MOST_RETURNED:  # in base64
        raise BadRequest(
            f"the drawn image has {len(drawn) / MIB:.1f} MB, and Lambda returns at most 6 MB, in "
            "base64; send a smaller image, or leave out draw",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
    return drawn


def _status(error: PetboxError) -> HTTPStatus:
    if isinstance(error, BadRequest):
        return error.status
    if isinstance(error, download.TooLarge):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if isinstance(error, download.NotAnImage):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if isinstance(error, (DataError, InvalidImage)):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, Busy) else HTTPStatus.BAD_GATEWAY
