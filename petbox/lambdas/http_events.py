"""Events of API Gateway's, answered: a picture comes in, what is in it goes out as JSON.

`POST /detect` takes a form with the field `img`, a bare picture, {"url": …} or {"b64": …}.
`?min_score=0.3` changes what counts as sure, `?draw=1` asks for the picture with its boxes. Takes
the events of REST APIs, HTTP APIs and function URLs. Keeps nothing, and knows no detector.
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
from pybase64 import b64decode  # by a tenth of the time of Python's own
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from petbox.client.retry import Busy
from petbox.errors import DataError, InvalidImage, PetboxError
from petbox.images import photos
from petbox.lambdas import answer as lambdas_answer
from petbox.lambdas import safe_fetch, settings
from petbox.lambdas.answer import MB, Finder
from petbox.wire import Detection

PATH = "/detect"
FIELD = "img"
MOST_ANSWERED = 6 * MB - 64 * 1024  # Lambda's own limit, less what goes around the body
FETCHED = safe_fetch.Limits(seconds=8.0)
TAKEN = "send a form with the field img, a bare picture (image/jpeg), or JSON with url or b64"


class Refused(DataError):
    """A request that cannot be answered, with the status that says so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HttpEvents:
    """The handler of a function that API Gateway calls."""

    def __init__(self, service: str, finder: Finder) -> None:
        self._finder = finder
        self._min_score = settings.number("MIN_SCORE", 0.5, 0, 1)
        self._logger = Logger(service=service)
        self._metrics = Metrics(namespace="petbox", service=service)
        origins = settings.listed("CORS_ORIGINS")
        self._rest = self._app(APIGatewayRestResolver, origins)
        self._http = self._app(APIGatewayHttpResolver, origins)
        self._told = self._logger.inject_lambda_context(self._metrics.log_metrics(self._answered))

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._told(event, context)
        return answer

    def _answered(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        app = self._http if event.get("version") == "2.0" else self._rest
        answer: dict[str, Any] = app(event, context)
        return answer

    def _app(self, resolver: Any, origins: Sequence[str]) -> Any:
        cors = CORSConfig(origins[0], list(origins[1:]), max_age=600) if origins else None
        app = resolver(cors=cors)
        app.post(PATH)(lambda: self._detect(app.current_event))
        app.not_found(lambda _error: self._no_such_thing(app.current_event))
        app.exception_handler(PetboxError)(self._refuse)
        app.exception_handler(Exception)(self._break)
        return app

    def _detect(self, event: Any) -> Response[str | bytes]:
        query = event.query_string_parameters or {}
        min_score, draw = _score(query, self._min_score), _switch(query, "draw")
        photo = photos.photo("the picture", _picture(event.raw_event))
        found = self._finder.find(photo, min_score)
        self._count("Pictures")
        if draw:
            return Response(HTTPStatus.OK, "image/jpeg", _within_lambdas_limit(photo, found))
        return _json(HTTPStatus.OK, lambdas_answer.answer(photo, found))

    def _refuse(self, error: PetboxError) -> Response[str | bytes]:
        """Of a request or a detector that is not as it should be."""
        status = _status(error)
        headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        self._count("Failed" if fault else "Refused")
        (self._logger.error if fault else self._logger.info)("%d %s", status, error)
        if fault:  # whose text names things of the account
            told = "the detector has too much to do" if headers else "the detector does not answer"
            return _json(status, {"error": f"{told}; try again in a while"}, headers)
        return _json(status, {"error": str(error)})

    def _break(self, _error: Exception) -> Response[str | bytes]:
        """Of a mistake of ours: its traceback is in the log, and nothing of it in the answer."""
        self._logger.exception("the function failed")
        self._count("Failed")
        reason = "the function failed; its log says why"
        return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": reason})

    def _no_such_thing(self, event: Any) -> Response[str | bytes]:
        self._count("Refused")
        if event.path.rstrip("/") == PATH:
            status, allow = HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"}
            return _json(status, {"error": f"{PATH} takes POST only"}, allow)
        return _json(HTTPStatus.NOT_FOUND, {"error": f"no such path; there is POST {PATH}"})

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, 1)


# What is asked


def _score(query: Mapping[str, str], default: float) -> float:
    text = query.get("min_score", str(default))
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
    return b64decode(body, validate=True) if event.get("isBase64Encoded") else str(body).encode()


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
        return b64decode("".join(asked["b64"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"b64: not base64 ({error})") from error


# What is answered


def _json(
    status: HTTPStatus, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response[str | bytes]:
    return Response(status, "application/json", json.dumps(answer), dict(headers or {}))


def _within_lambdas_limit(photo: photos.Photo, found: Sequence[Detection]) -> bytes:
    drawn = lambdas_answer.drawn(photo, found)
    if 4 * len(drawn) / 3 > MOST_ANSWERED:  # in base64
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the drawn picture has {len(drawn) / MB:.1f} MB, and Lambda answers at most 6 MB, in "
            "base64; send a smaller picture, or ask without draw",
        )
    return drawn


def _status(error: PetboxError) -> HTTPStatus:
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, safe_fetch.TooLarge):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if isinstance(error, safe_fetch.NotAPicture):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if isinstance(error, (DataError, InvalidImage)):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, Busy) else HTTPStatus.BAD_GATEWAY
