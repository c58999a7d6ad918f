"""Sends one file to an endpoint unchanged, and prints the response unchanged.

A file in S3 is for endpoints with --async; the address of its response is
printed.

examples:
  petbox endpoint invoke pets cat.jpg
  petbox endpoint invoke pets request.json
  petbox endpoint invoke pets cat.jpg --accept image/jpeg --out boxes.jpg
  petbox endpoint invoke pets s3://bucket/cat.jpg
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petbox import wire
from petbox.aws import names as aws_names
from petbox.aws import session
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Value, check
from petbox.cli.sizes import MIB, megabytes
from petbox.client.transport import UNNAMED
from petbox.errors import DataError, PetboxError, ServiceError, WireError
from petbox.outputs import product
from petbox.sagemaker.shared_options import EndpointName

KINDS = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".png": "image/png",
    ".webp": "image/webp",
}
MOST_BYTES = 25 * MIB  # of a call; 4 MB where the endpoint is serverless


@dataclass(frozen=True)
class InvokeOptions:
    name: EndpointName
    file: Annotated[str, "image, .json or .jsonl; - for stdin; s3://… with --async", POSITIONAL]
    content_type: Annotated[
        str | None, "content type of the file (default: by its name)", "TYPE"
    ] = None
    accept: Annotated[str | None, "content type of the response, as in image/jpeg", "TYPE"] = None
    model: Annotated[str | None, "of a multi-model endpoint: its model", "NAME"] = None
    component: Annotated[
        str | None,
        "inference component of the endpoint (default: that of the same name)",
        Value("NAME", aws_names.check_name),
    ] = None
    out: Annotated[Path | None, "write the response here (default: stdout)", "FILE"] = None

    def __post_init__(self) -> None:
        check(self)
        if aws_names.is_s3(self.file):
            aws_names.check_s3(self.file)
            if self.out is not None:
                raise ValueError("--out requires a local file; this response is written to S3")
            if self.model is not None:
                raise ValueError(
                    "--model requires a local file: no multi-model endpoint is --async"
                )
            if self.component is not None:
                raise ValueError("--component requires a local file: no component is --async")


def invoke(options: InvokeOptions) -> None:
    kind = _kind(options)
    headers = {"ContentType": kind, **({"Accept": options.accept} if options.accept else {})}
    if aws_names.is_s3(options.file):
        print(_asynchronous(options, headers))
        return
    if options.model:
        headers["TargetModel"] = aws_names.archive(options.model)
    if options.component:
        headers["InferenceComponentName"] = options.component
    body = _read(options.file)
    response, response_type = _synchronous(options.name, body, headers)
    _write(response, response_type, options.out)


def _kind(options: InvokeOptions) -> str:
    kind = options.content_type or KINDS.get(Path(options.file).suffix.lower())
    if kind is None:
        raise DataError(f"{options.file}: unknown content type; pass --content-type")
    return kind


def _read(file: str) -> bytes:
    if file == "-":
        body = sys.stdin.buffer.read()
    else:
        path = Path(file)
        if not path.is_file():
            raise DataError(f"{file}: no such file or directory; check the path")
        body = path.read_bytes()
    if len(body) > MOST_BYTES:
        raise DataError(
            f"{file}: has {megabytes(len(body))}, but SageMaker's limit is 25 MB; make it smaller, "
            "or use an endpoint with --async and a file in S3"
        )
    return body


def _synchronous(name: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, str]:
    """The response and its content type."""
    runtime = Account().client("sagemaker-runtime")
    # boto3 drops the error text of a container that is called directly, with AWS_ENDPOINT_URL.
    runtime.meta.events.register("after-call.sagemaker-runtime.InvokeEndpoint", _raise_directly)
    with session.calling(f"endpoint {name}"):
        try:
            response = runtime.invoke_endpoint(EndpointName=name, Body=body, **headers)
        except runtime.exceptions.ModelError as error:
            details = error.response
            status = int(details.get("OriginalStatusCode", 500))
            text = details.get("OriginalMessage") or details["Error"].get("Message", "")
            raise _error(f"endpoint {name}", status, text.encode()) from error
        except runtime.exceptions.ClientError as error:
            if UNNAMED not in str(error) or "InferenceComponentName" in headers:
                raise
            return _synchronous(name, body, {**headers, "InferenceComponentName": name})
        return bytes(response["Body"].read()), str(response.get("ContentType", ""))


def _raise_directly(http_response: Any, parsed: Any, **_: Any) -> None:
    status = http_response.status_code
    if status >= 400 and parsed.get("Error", {}).get("Code") == str(status):  # so not from AWS
        raise _error(http_response.url, status, http_response.content)


def _error(where: str, status: int, body: bytes) -> PetboxError:
    """The container's own error."""
    message = wire.error(body) or body.decode("utf-8", "replace")
    text = " ".join(message.split())[:1000] or "no reason given"
    kind = WireError if status < 500 else ServiceError
    return kind(f"{where}: the container returned {status}: {text}")


def _asynchronous(options: InvokeOptions, headers: dict[str, str]) -> str:
    """The address in S3 where the response will be."""
    runtime = Account().client("sagemaker-runtime")
    with session.calling(f"endpoint {options.name}"):
        response = runtime.invoke_endpoint_async(
            EndpointName=options.name, InputLocation=options.file, **headers
        )
    return str(response["OutputLocation"])


def _write(response: bytes, kind: str, out: Path | None) -> None:
    if out is not None:
        with product(out, replace=True) as partial:
            partial.write_bytes(response)
        print(out)
        return
    if kind.startswith("image/") and sys.stdout.isatty():
        raise DataError("the response is an image; pass --out FILE")
    sys.stdout.buffer.write(response)
    if response[-1:] != b"\n" and not kind.startswith("image/"):
        sys.stdout.buffer.write(b"\n")
