"""Asks a detector: an address that answers `POST /invocations`, or a SageMaker endpoint by name.

Takes pictures as they are to be sent (`petbox.photos` makes them so) and gives detections. What
is wrong with one picture is a WireError, and the next may well do; what is wrong with the server
is a ServiceError, and asking on is useless. Never retries a picture that was refused.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from petbox import __version__, wire
from petbox.errors import PetboxError, ServiceError, WireError, needs

URL = "http://localhost:8080"
SECONDS = 65.0  # SageMaker's own limit is 60
DETECT = "detect"  # the signature whose answer holds names; models made elsewhere lack it
NO_DETECT = f'signature name: "{DETECT}" not found'  # in TensorFlow Serving's answer
SETTINGS = "AWS_PROFILE and AWS_REGION say which account and region are meant"
OF_THE_PICTURE = (400, 413, 415, 422, 500)  # by any other status the next fares no better

Ask = Callable[[bytes], bytes]  # a predict request in, the answer out


class Detector:
    """A detector somewhere; its detections have names if the model there knows them.

    `everything` asks for all that the model found; else it leaves out what it is unsure of, if
    it was exported by petbox.
    """

    def __init__(self, ask: Ask, *, everything: bool = False) -> None:
        self._ask = ask
        self._signature = "" if everything else DETECT

    def detect(self, picture: bytes) -> list[wire.Detection]:
        """What is in `picture`, a JPEG or PNG file, in the model's order."""
        try:
            answer = self._ask(wire.request([picture], signature=self._signature))
        except WireError as error:
            if not self._signature or NO_DETECT not in str(error):
                raise
            self._signature = ""  # from now on
            return self.detect(picture)
        predictions = wire.detections(answer)
        if len(predictions) != 1:
            raise WireError(f"asked about one picture, got {len(predictions)} predictions")
        return predictions[0]


# Over HTTP


def at_url(url: str = URL, seconds: float = SECONDS) -> Ask:
    """Asks the server at `url` over one kept connection."""
    connection, path = _connection(url, seconds)
    headers = {"Content-Type": "application/json", "User-Agent": f"petbox/{__version__}"}

    def ask(body: bytes) -> bytes:
        kept = connection.sock is not None
        try:
            return post(body)
        except ConnectionError as error:
            connection.close()
            if not kept:
                raise _gone(url, error) from error
        except TimeoutError as error:
            raise ServiceError(
                f"{url}: no answer within {seconds:g} s; is the server overloaded?"
            ) from error
        except OSError as error:
            raise _gone(url, error) from error
        except http.client.HTTPException as error:
            raise ServiceError(
                f"{url}: not a proper HTTP answer ({error!r}); is it the right port, "
                "and does the server still run?"
            ) from error
        return ask(body)  # the server had closed an idle connection, as it may at any time

    def post(body: bytes) -> bytes:
        with contextlib.suppress(BrokenPipeError):  # a refusal may come before all is sent
            connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise _judgement(answer.status, content, url)
        return content

    return ask


def _connection(url: str, seconds: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection not yet made, and the path to ask."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not host or not url.isascii() or " " in url:
        raise ServiceError(f"{url}: not an address of a server; write it like {URL}")
    path = parts.path.rstrip("/")
    if not path.endswith(("/invocations", ":predict")):  # the latter is TensorFlow Serving itself
        path += "/invocations"
    return kinds[parts.scheme](host, port, timeout=seconds), path


def _gone(url: str, error: Exception) -> ServiceError:
    why = getattr(error, "strerror", None) or "it closed the connection"
    start = "start one with `petbox serve MODEL`, or name another with --url"
    return ServiceError(f"{url}: no server answers there ({why}); {start}")


# On SageMaker


def at_endpoint(name: str, seconds: float = SECONDS) -> Ask:
    """Asks the SageMaker endpoint `name`, with AWS's own settings for account and region."""
    boto3 = needs("boto3", "aws")
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"endpoint {name}"
    retries = {"mode": "standard", "total_max_attempts": 3}
    config = Config(read_timeout=seconds, connect_timeout=5, retries=retries)

    def ask(body: bytes) -> bytes:
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=name, ContentType="application/json", Body=body
            )
            return bytes(answer["Body"].read())
        except ClientError as error:
            raise _refused(error.response, where) from error
        except BotoCoreError as error:
            raise ServiceError(f"{where}: {_one_line(error)}; {SETTINGS}") from error

    try:
        runtime = boto3.Session().client("sagemaker-runtime", config=config)
    except (BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is no address
        raise ServiceError(f"{where}: {_one_line(error)}; {SETTINGS}") from error
    # A container asked directly, by AWS_ENDPOINT_URL, answers in words that boto3 would drop.
    runtime.meta.events.register("after-call.sagemaker-runtime.InvokeEndpoint", _judge_directly)
    return ask


def _refused(response: Any, where: str) -> PetboxError:
    """What AWS says, or what the container behind it said."""
    code, text = response["Error"]["Code"], _one_line(response["Error"]["Message"])
    if code != "ModelError":
        return ServiceError(f"{where}: {code}: {text}")
    status = int(response.get("OriginalStatusCode", 500))
    return _judgement(status, str(response.get("OriginalMessage") or text).encode(), where)


def _judge_directly(http_response: Any, parsed: Any, **_: Any) -> None:
    status = http_response.status_code
    if parsed.get("Error", {}).get("Code") == str(status):  # so it is none of AWS's
        raise _judgement(status, http_response.content, http_response.url)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


# What came back


def _judgement(status: int, body: bytes, where: str) -> PetboxError:
    """An answer whose status is not 200, in the server's own words."""
    text = wire.error(body)
    if text is None:
        shown = _one_line(body[:80].decode("utf-8", "replace"))
        return ServiceError(
            f"{where}: answered {status}, and not in JSON: {shown or '(nothing)'}; "
            "is it a detector that is served there?"
        )
    if status in OF_THE_PICTURE:
        return WireError(f"the server refused it ({status}): {text}")
    return ServiceError(f"{where}: answered {status}: {text}")
