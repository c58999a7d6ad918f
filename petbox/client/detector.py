"""Asks a detector: an address that answers `POST /invocations`, or a SageMaker endpoint by name.

Takes images as they are to be sent (`petbox.images.photos` makes them so), gives detections. What
is wrong with one picture is a WireError, and the next may well do; what is wrong with the server
is a ServiceError, and asking on is useless, but for Busy, which says when it may not be. All of it
may be used from several threads at once. Retries nothing itself: `petbox.client.retry` does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from petbox import __version__, wire
from petbox.aws import session as aws_session
from petbox.client.retry import Busy
from petbox.errors import PetboxError, ServiceError, WireError, needs

URL = "http://localhost:8080"
SECONDS = 65.0  # SageMaker's own limit is 60
DETECT = "detect"  # the signature whose answer holds names; models made elsewhere lack it
NO_DETECT = f'signature name: "{DETECT}" not found'  # in TensorFlow Serving's answer
OF_THE_PICTURE = (400, 413, 415, 422, 500)  # by any other status the next fares no better
# What AWS says when a later call may fare better: too many calls, a serverless endpoint with all
# its places taken, or one whose model is still on its way.
BUSY = (
    "ModelNotReadyException",
    "ServiceUnavailable",
    "ThrottlingException",
    "TooManyRequestsException",
)
OVERSIZE = "oversize body"  # in AWS's words for a request over its limit

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
        signature = self._signature
        try:
            answer = self._ask(wire.request([picture], signature=signature))
        except WireError as error:
            if not signature or NO_DETECT not in str(error):
                raise
            self._signature = ""  # from now on
            return self.detect(picture)
        predictions = wire.detections(answer)
        if len(predictions) != 1:
            raise WireError(f"asked about one picture, got {len(predictions)} predictions")
        return predictions[0]


# Over HTTP


def at_url(url: str = URL, seconds: float = SECONDS) -> Ask:
    """Asks the server at `url`, over as many kept connections as there are askers at once."""
    connect, path = _connection(url, seconds)
    headers = {"Content-Type": "application/json", "User-Agent": f"petbox/{__version__}"}
    idle: deque[http.client.HTTPConnection] = deque()

    def ask(body: bytes) -> bytes:
        try:
            connection, kept = idle.pop(), True
        except IndexError:
            connection, kept = connect(), False
        try:
            with contextlib.suppress(BrokenPipeError):  # a refusal may come before all is sent
                connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if not (kept and isinstance(error, ConnectionError)):
                raise _broken_off(url, error, seconds) from error
        else:
            idle.append(connection)
            if answer.status != 200:
                raise _judgement(answer.status, content, url, answer.getheader("Retry-After"))
            return content
        return ask(body)  # the server had closed an idle connection, as it may at any time

    return ask


def _connection(url: str, seconds: float) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """What makes a connection, and the path to ask."""
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
    return lambda: kinds[parts.scheme](host, port, timeout=seconds), path


def _broken_off(url: str, error: Exception, seconds: float) -> ServiceError:
    if isinstance(error, TimeoutError):
        return ServiceError(f"{url}: no answer within {seconds:g} s; is the server overloaded?")
    if not isinstance(error, OSError):
        return ServiceError(
            f"{url}: not a proper HTTP answer ({error!r}); is it the right port, "
            "and does the server still run?"
        )
    why = getattr(error, "strerror", None) or "it closed the connection"
    start = "start one with `petbox serve MODEL`, or name another with --url"
    return ServiceError(f"{url}: no server answers there ({why}); {start}")


# On SageMaker


def at_endpoint(name: str, seconds: float = SECONDS, at_once: int = 10) -> Ask:
    """Asks the SageMaker endpoint `name`, with AWS's own settings for account and region."""
    boto3 = needs("boto3", "aws")
    from boto3.compat import filter_python_deprecation_warnings
    from botocore.config import Config
    from botocore.exceptions import ClientError, ConnectionClosedError

    where = f"endpoint {name}"
    config = Config(
        read_timeout=seconds,
        connect_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 1},  # ours know what to send again
        max_pool_connections=at_once,
        # The whole of it: what botocore finds out about its surroundings is put together anew for
        # each call.
        user_agent=f"petbox/{__version__} Boto3/{boto3.__version__}",
    )

    def ask(body: bytes) -> bytes:
        try:
            return invoke(body)
        except ConnectionClosedError:
            return invoke(body)  # an idle connection, closed while we asked

    def invoke(body: bytes) -> bytes:
        answer = runtime.invoke_endpoint(
            EndpointName=name, ContentType="application/json", Body=body
        )
        return bytes(answer["Body"].read())

    def judged(body: bytes) -> bytes:
        with aws_session.calling(where):
            try:
                return ask(body)
            except ClientError as error:
                if (judgement := _refused(error.response, where)) is not None:
                    raise judgement from error
                raise

    filter_python_deprecation_warnings()  # which Python is fit is for petbox to say
    with aws_session.calling(where):
        try:
            session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
            runtime = session.client("sagemaker-runtime", config=config)
        except ValueError as error:
            raise ServiceError(f"{where}: {error}; is AWS_ENDPOINT_URL right?") from error
    # A container asked directly, by AWS_ENDPOINT_URL, answers in words that boto3 would drop.
    runtime.meta.events.register("after-call.sagemaker-runtime.InvokeEndpoint", _judge_directly)
    return judged


def _refused(response: Any, where: str) -> PetboxError | None:
    """What the container behind AWS said, and what AWS itself says that others do not."""
    code, text = response["Error"]["Code"], _one_line(response["Error"]["Message"])
    if code == "ModelError":
        status = int(response.get("OriginalStatusCode", 500))
        said = str(response.get("OriginalMessage") or text).encode()
        return _judgement(status, said, where, after="0")  # AWS passes on no header of it
    if code in BUSY:
        return Busy(f"{where}: {code}: {text}")
    if code == "413" or OVERSIZE in text:
        return WireError(f"{where} refused it ({text}); say --fit and a smaller --limit, as 4")
    return None


def _judge_directly(http_response: Any, parsed: Any, **_: Any) -> None:
    status = http_response.status_code
    if parsed.get("Error", {}).get("Code") == str(status):  # so it is none of AWS's
        after = http_response.headers.get("Retry-After")
        raise _judgement(status, http_response.content, http_response.url, after)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


# What came back


def _judgement(status: int, body: bytes, where: str, after: str | None) -> PetboxError:
    """An answer whose status is not 200, in the server's own words; `after` is its Retry-After."""
    text = wire.error(body)
    shown = text or _one_line(body[:80].decode("utf-8", "replace")) or "(nothing)"
    # Without Retry-After a 503 is how proxies say that there is no server at all.
    if status == 429 or (status == 503 and after is not None):
        return Busy(f"{where}: answered {status}: {shown}", _seconds(after or ""))
    if text is None:
        return ServiceError(
            f"{where}: answered {status}, and not in JSON: {shown}; "
            "is it a detector that is served there?"
        )
    if status in OF_THE_PICTURE:
        return WireError(f"the server refused it ({status}): {text}")
    return ServiceError(f"{where}: answered {status}: {text}")


def _seconds(after: str) -> float:
    """What Retry-After says; a date, as it may be, is as good as nothing."""
    return float(after) if after.isdecimal() else 0.0
