"""The HTTP front: API Gateway hands over a picture, the endpoint looks at it, the answer is JSON.

`POST /detect` takes a form with the field `img`, a bare picture, {"url": …} or {"b64": …}.
`?min_score=0.3` changes what counts as sure, `?draw=1` asks for the picture with its boxes. Takes
the events of REST APIs, HTTP APIs and function URLs. Keeps nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    APIGatewayRestResolver,
    CORSConfig,
    Response,
)
from aws_lambda_powertools.event_handler.router import Router
from aws_lambda_powertools.metrics import MetricUnit
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from petbox import client, lambda_settings, photos, picture_answer, safe_fetch
from petbox.errors import DataError, PetboxError
from petbox.picture_answer import MB, Finder, PictureRefused
from petbox.retrying import Busy

FIELD = "img"
MOST_ANSWERED = 6 * MB - 64 * 1024  # Lambda's own limit, less what goes around the body
SECONDS = 18.0  # with what a fetched picture takes; API Gateway gives up after 29
FETCHED = safe_fetch.Limits(seconds=8.0)
TAKEN = "send a form with the field img, a bare picture (image/jpeg), or JSON with url or b64"

logger = Logger(service="http_front")
metrics = Metrics(namespace="petbox", service="http_front")
router = Router()
finder = Finder(
    client.Detector(
        picture_answer.telling_refusals(
            client.at_endpoint(lambda_settings.needed("ENDPOINT_NAME"), SECONDS)
        )
    ),
    most=int(lambda_settings.number("REQUEST_MB", 25, 0.1, 25) * MB),
)
MIN_SCORE = lambda_settings.number("MIN_SCORE", 0.5, 0, 1)
ORIGINS = lambda_settings.listed("CORS_ORIGINS")


class Refused(DataError):
    """A request that cannot be answered, with the status that says so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@router.post("/detect")
def detect() -> Response[str | bytes]:
    event = router.current_event
    query = event.query_string_parameters or {}
    min_score, draw = _min_score(query), _switch(query, "draw")
    photo = photos.photo("the picture", _picture(event.raw_event))
    found = finder.find(photo, min_score)
    metrics.add_metric("Pictures", MetricUnit.Count, 1)
    if draw:
        return Response(HTTPStatus.OK, "image/jpeg", _within_lambdas_limit(photo, found))
    return _json(HTTPStatus.OK, picture_answer.answer(photo, found))


def _within_lambdas_limit(photo: photos.Photo, found: Any) -> bytes:
    drawn = picture_answer.drawn(photo, found)
    if 4 * len(drawn) / 3 > MOST_ANSWERED:  # in base64
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the drawn picture has {len(drawn) / MB:.1f} MB, and Lambda answers at most 6 MB, in "
            "base64; send a smaller picture, or ask without draw",
        )
    return drawn


# What is asked


def _min_score(query: Mapping[str, str]) -> float:
    text = query.get("min_score", str(MIN_SCORE))
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise Refused(HTTPStatus.BAD_REQUEST, f"min_score={text}: not a number from 0 to 1")
    return score


def _switch(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "0").lower()
    if text not in ("0", "1", "true", "false"):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name}={text}: neither 0 nor 1")
    return text in ("1", "true")


def _picture(event: Mapping[str, Any]) -> bytes:
    """The picture's file, in whichever way it was sent."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    whole = headers.get("content-type", "")
    kind = whole.split(";")[0].strip().lower()
    if kind == "application/json":
        return _of_json(_body(event))
    if kind == "multipart/form-data":
        return _of_form(_bytes(event), whole)
    if kind.startswith("image/") or kind == "application/x-image":
        return _bytes(event)
    raise Refused(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {kind or 'is missing'}: {TAKEN}"
    )


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not body:
        raise Refused(HTTPStatus.BAD_REQUEST, f"no body; {TAKEN}")
    return base64.b64decode(body) if event.get("isBase64Encoded") else str(body).encode()


def _bytes(event: Mapping[str, Any]) -> bytes:
    body = _body(event)
    if not event.get("isBase64Encoded"):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "the picture came as text, which spoils it; API Gateway must have */* among its "
            "binary media types",
        )
    return body


def _of_form(body: bytes, content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refused(HTTPStatus.BAD_REQUEST, "the form's Content-Type has no boundary")
    pictures: list[bytes] = []

    def file(part: Any) -> None:
        if part.field_name == FIELD.encode():
            part.file_object.seek(0)
            pictures.append(part.file_object.read())

    def field(part: Any) -> None:  # without a file's name
        if part.field_name == FIELD.encode():
            pictures.append(part.value or b"")

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        form = FormParser("multipart/form-data", field, file, boundary=boundary, config=in_memory)
        form.write(body)
        form.finalize()
    except FormParserError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"not a proper form: {error}") from error
    if len(pictures) != 1:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"the form has {len(pictures)} fields {FIELD}; send one"
        )
    return pictures[0]


def _of_json(body: bytes) -> bytes:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON; {TAKEN}") from error
    given = [key for key in ("url", "b64") if isinstance(asked, dict) and key in asked]
    if len(given) != 1 or not isinstance(asked[given[0]], str):
        raise Refused(
            HTTPStatus.BAD_REQUEST, 'the JSON must be {"url": "https://…"} or {"b64": "…"}'
        )
    if given == ["url"]:
        return safe_fetch.fetch(asked["url"], FETCHED)
    try:
        return base64.b64decode("".join(asked["b64"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"b64: not base64 ({error})") from error


# What is answered


def _json(
    status: HTTPStatus, answer: Mapping[str, Any], headers: dict[str, str] | None = None
) -> Response[str | bytes]:
    return Response(status, "application/json", json.dumps(answer), headers)


def _refuse(error: PetboxError) -> Response[str | bytes]:
    """Of a request or an endpoint that is not as it should be."""
    status = _status(error)
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    metrics.add_metric("Failed" if fault else "Refused", MetricUnit.Count, 1)
    logger.log(logging.ERROR if fault else logging.INFO, "%d %s", status, error)
    if fault:  # whose text names things of the account
        told = "the detector has too much to do" if headers else "the detector does not answer"
        return _json(status, {"error": f"{told}; try again in a while"}, headers)
    return _json(status, {"error": str(error)})


def _status(error: PetboxError) -> HTTPStatus:
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, safe_fetch.TooLarge):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if isinstance(error, safe_fetch.NotAPicture):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if isinstance(error, (DataError, PictureRefused)):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, Busy) else HTTPStatus.BAD_GATEWAY


def _break(_error: Exception) -> Response[str | bytes]:
    """Of a mistake of ours: its traceback is in the log, and nothing of it in the answer."""
    logger.exception("the front failed")
    metrics.add_metric("Failed", MetricUnit.Count, 1)
    return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "the front failed; its log says why"})


def _app(resolver: Any) -> Any:
    cors = CORSConfig(ORIGINS[0], ORIGINS[1:], max_age=600) if ORIGINS else None
    app = resolver(cors=cors)
    app.include_router(router)
    app.exception_handler(PetboxError)(_refuse)
    app.exception_handler(Exception)(_break)

    @app.not_found
    def not_found(_error: Exception) -> Response[str | bytes]:
        metrics.add_metric("Refused", MetricUnit.Count, 1)
        if app.current_event.path.rstrip("/") == "/detect":
            status, allow = HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"}
            return _json(status, {"error": "/detect takes POST only"}, allow)
        return _json(HTTPStatus.NOT_FOUND, {"error": "no such path; there is POST /detect"})

    return app


REST, HTTP = _app(APIGatewayRestResolver), _app(APIGatewayHttpResolver)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (HTTP if event.get("version") == "2.0" else REST)(event, context)
    return answer
