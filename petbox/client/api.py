"""petbox's HTTP API in AWS as an engine: an image goes there, its detections come back.

docs/http-api.md has the format. Which of them count, the API decides unless a minimum score is
given. An image over Lambda's limit is uploaded to S3 with a form that the API signs.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import secrets
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError

from petbox import wire
from petbox.client.http_transport import Http
from petbox.client.limits import LAMBDA
from petbox.errors import InvalidImage, ServiceError, WireError

JSON = "application/json"
MESSAGE = re.compile(rb"<Message>([^<]{1,300})")  # of S3's errors


class Api:
    def __init__(self, server: Http, seconds: float) -> None:
        self._server, self._seconds = server, seconds

    def detect(self, image: bytes) -> list[wire.Detection]:
        if 4 * len(image) / 3 <= LAMBDA:  # it comes there in base64
            return _detections(self._server.send(image))
        upload = json.dumps({"upload": self._uploaded(image)}).encode()
        return _detections(self._server.send(upload, JSON))

    def close(self) -> None:
        self._server.close()

    def _uploaded(self, image: bytes) -> str:
        try:
            form = json.loads(self._server.send(b"", JSON, "upload=1"))
            url, fields, key = str(form["url"]), dict(form["fields"]), str(form["upload"])
        except InvalidImage as error:
            raise InvalidImage(
                f"{error}; --fit (in Python fit=True) sends a smaller copy"
            ) from error
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _not_ours() from error
        if not url.startswith(("https://", "http://")):
            raise _not_ours()
        body, kind = _form(fields, image)
        request = urllib.request.Request(url, body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=self._seconds):
                return key
        except (OSError, http.client.HTTPException) as error:
            reason = MESSAGE.search(error.read()) if isinstance(error, HTTPError) else None
            why = f"{error}: {reason[1].decode(errors='replace')}" if reason else str(error)
            raise ServiceError(f"the upload to S3 failed ({why}); try again") from error


def _form(fields: Mapping[str, str], image: bytes) -> tuple[bytes, str]:
    """S3 ignores what comes after the field `file`."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
    parts = [f"{head.format(name, '')}{value}\r\n" for name, value in fields.items()]
    before = "".join(parts) + head.format("file", '; filename="image"')
    body = before.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _detections(body: bytes) -> list[wire.Detection]:
    try:
        return [_detection(one) for one in json.loads(body)["detections"]]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _not_ours() from error


def _detection(one: dict[str, Any]) -> wire.Detection:
    """With a threshold that it reaches: the API has left out what does not."""
    ymin, xmin, ymax, xmax = map(float, one["box"])
    name, score = str(one["label"]), float(one["score"])
    return wire.Detection(int(one["id"]), score, (ymin, xmin, ymax, xmax), name, -math.inf)


def _not_ours() -> WireError:
    return WireError("not a response of petbox's HTTP API (docs/http-api.md); check the address")
