"""Requests to a served detector, here through boto3 to a SageMaker endpoint.

A transport takes a request body and returns the response body; `Remote` is the engine on top of it.
petbox.client.http_transport has the one that sends to a URL.
An image that the server rejects raises InvalidImage, an overloaded server raises Busy, any other
failure of the server raises ServiceError. All of it is thread-safe. Nothing is retried here.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from petbox import __version__, wire
from petbox.aws import names
from petbox.aws import session as aws_session
from petbox.errors import (
    Busy,
    InvalidImage,
    NoCapacity,
    PetboxError,
    ServiceError,
    WireError,
    needs,
)

URL = "http://localhost:8080"
SECONDS = 65.0  # SageMaker's own limit is 60
DETECT = "detect"  # the signature whose response has names; third-party models lack it
NO_DETECT = f'signature name: "{DETECT}" not found'  # in TensorFlow Serving's response
CAUSED_BY_THE_IMAGE = (400, 413, 415, 422, 500)  # any other status would hit the next image too
UNAUTHORIZED = (401, 403)
# AWS's codes for a request that may succeed later: throttling, a serverless endpoint at its
# concurrency limit, a model that is still loading.
BUSY = (
    "ModelNotReadyException",
    "ServiceUnavailable",
    "ThrottlingException",
    "TooManyRequestsException",
)
# In AWS's messages, whose code ValidationError says nothing: for a call without the name of an
# inference component, and for one to a component that has no copy.
UNNAMED = "Inference Component Name header is required"
AT_ZERO = "has no capacity to process this request"
OVERSIZE = "oversize body"  # in AWS's message for a request over its limit
MOST_CONNECTIONS = 256  # kept open to an endpoint; as many as the CLI allows in parallel


class Transport(Protocol):
    def send(self, body: bytes) -> bytes:
        """The response to a predict request."""

    def close(self) -> None:
        """Closes idle connections."""


class Remote:
    """The engine behind a transport; its detections have names if the model has them.

    `all_detections` requests everything the model found; without it, a model exported by petbox
    leaves out what is below its own threshold.
    """

    def __init__(self, transport: Transport, *, all_detections: bool = False) -> None:
        self._transport = transport
        self._signature = "" if all_detections else DETECT

    def detect(self, image: bytes) -> list[wire.Detection]:
        signature = self._signature
        try:
            response = self._transport.send(wire.request([image], signature=signature))
        except WireError as error:
            if not signature or NO_DETECT not in str(error):
                raise
            self._signature = ""  # from now on
            return self.detect(image)
        predictions = wire.detections(response)
        if len(predictions) != 1:
            raise WireError(f"got {len(predictions)} predictions for one image; is it a detector?")
        return predictions[0]

    def close(self) -> None:
        self._transport.close()


class SageMaker:
    """A SageMaker endpoint, with account and region from AWS's own settings.

    `model` is one of a multi-model endpoint. `component` is an inference component of the endpoint;
    without it, one with the endpoint's own name is called if the endpoint has components.
    """

    def __init__(
        self,
        name: str,
        seconds: float = SECONDS,
        model: str | None = None,
        component: str | None = None,
    ) -> None:
        boto3 = needs("boto3", "aws")
        from boto3.compat import filter_python_deprecation_warnings
        from botocore.config import Config

        self._where = f"endpoint {name}"
        self._target = {"EndpointName": name}
        if model is not None:
            self._target["TargetModel"] = names.archive(model)
            self._where += f", model {model}"
        if component is not None:
            self._call_component(component)
        config = Config(
            read_timeout=seconds,
            connect_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 1},  # petbox.client.retry does it
            max_pool_connections=MOST_CONNECTIONS,
            # All of it: what botocore adds about its surroundings is collected anew for each call.
            user_agent=f"petbox/{__version__} Boto3/{boto3.__version__}",
        )
        filter_python_deprecation_warnings()  # which Python is supported is petbox's to say
        with aws_session.calling(self._where):
            try:
                session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
                self._runtime = session.client("sagemaker-runtime", config=config)
            except ValueError as error:
                raise ServiceError(f"{self._where}: {error}; check AWS_ENDPOINT_URL") from error
        # With AWS_ENDPOINT_URL the container responds itself, in a form whose text boto3 drops.
        events = self._runtime.meta.events
        events.register("after-call.sagemaker-runtime.InvokeEndpoint", _raise_direct_error)

    def send(self, body: bytes) -> bytes:
        from botocore.exceptions import ClientError, ConnectionClosedError

        target = self._target
        with aws_session.calling(self._where):
            try:
                try:
                    return self._invoke(target, body)
                except ConnectionClosedError:
                    return self._invoke(target, body)  # an idle connection was closed meanwhile
            except ClientError as error:
                if UNNAMED in str(error) and "InferenceComponentName" not in target:
                    self._call_component(target["EndpointName"])
                    return self.send(body)
                if (ours := _aws_error(error.response, self._where)) is not None:
                    raise ours from error
                raise

    def close(self) -> None:
        self._runtime.close()

    def _call_component(self, name: str) -> None:
        endpoint = self._target["EndpointName"]
        self._target = {"EndpointName": endpoint, "InferenceComponentName": name}
        self._where = f"endpoint {endpoint}, component {name}"

    def _invoke(self, target: dict[str, str], body: bytes) -> bytes:
        response = self._runtime.invoke_endpoint(
            **target, ContentType="application/json", Body=body
        )
        return bytes(response["Body"].read())


def _aws_error(response: Any, where: str) -> PetboxError | None:
    """The container's own error, or AWS's if it has a special meaning here."""
    code, text = response["Error"]["Code"], _one_line(response["Error"]["Message"])
    if code == "ModelError":
        status = int(response.get("OriginalStatusCode", 500))
        body = str(response.get("OriginalMessage") or text).encode()
        return response_error(status, body, where, after="0")  # AWS drops the container's headers
    if AT_ZERO in text:
        return NoCapacity(f"{where}: has no capacity")
    if code in BUSY:
        return Busy(f"{where}: {code}: {text}")
    if code == "413" or OVERSIZE in text:
        advice = "use --fit and a smaller --limit (in Python fit=True, limit=4)"
        return InvalidImage(f"{where} rejected it ({text}); {advice}")
    return None


def _raise_direct_error(http_response: Any, parsed: Any, **_: Any) -> None:
    status = http_response.status_code
    if parsed.get("Error", {}).get("Code") == str(status):  # so it is not one of AWS's
        after = http_response.headers.get("Retry-After")
        raise response_error(status, http_response.content, http_response.url, after)


def response_error(status: int, body: bytes, where: str, after: str | None) -> PetboxError:
    """A response with another status than 200; `after` is its Retry-After."""
    text = wire.error(body)
    shown = text or _one_line(body[:80].decode("utf-8", "replace")) or "(empty)"
    # A 503 without Retry-After is a proxy's way to say that there is no server.
    if status == 429 or (status == 503 and after is not None):
        # A date, which Retry-After may be too, counts as none.
        seconds = float(after) if after and after.isdecimal() else 0.0
        return Busy(f"{where}: responded {status}: {shown}", seconds)
    if text is None:
        return ServiceError(
            f"{where}: responded {status}, not in JSON: {shown}; is a detector served there?"
        )
    if status in CAUSED_BY_THE_IMAGE:
        return InvalidImage(f"the server rejected it ({status}): {text}")
    if status in UNAUTHORIZED:
        return ServiceError(
            f"{where}: responded {status}: {text}; pass what it asks for with --header "
            "'x-api-key: KEY' (in Python headers=…), or --sign (sign=True)"
        )
    return ServiceError(f"{where}: responded {status}: {text}")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
