"""The request to measure with: the user's, a sample image, or the gateway's own example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petbox.errors import ModelError, ServiceError
from petbox.serving.command import SUPERVISOR
from petbox.serving.http_client import Address, NoResponse, request
from petbox.serving.tune.load import Example

JSON = "application/json"
IMAGE = "image/jpeg"  # whatever it is; the model looks at the content
SAMPLES = SUPERVISOR.parent / "page" / "samples"
SIGNATURE = "serving_default"


def given(image: Path | None, body: Path | None) -> Example | None:
    if image:
        return Example(image.read_bytes(), IMAGE, str(image))
    return Example(body.read_bytes(), JSON, str(body)) if body else None


def of_model(at: Address, name: str) -> Example:
    """An example for the served model `name`, made from its signatures."""
    response = request(at, "GET", "/metadata")
    document = response.json()
    if response.status != 200 or not isinstance(document, dict):
        raise ServiceError(f"{name}: has no GET /metadata ({response}); pass --request or --image")
    return from_signatures(document["signatures"], name)


def from_signatures(signatures: dict[str, Any], name: str) -> Example:
    if not signatures:
        raise ModelError(f"{name}: has no signatures, so that no request works; save it with some")
    key = SIGNATURE if SIGNATURE in signatures else min(signatures)
    signature = signatures[key]
    inputs = signature["inputs"]
    kinds = [one["dtype"] for one in inputs.values()]
    if kinds == ["string"] and "detection_boxes" in signature["outputs"]:
        sample = min(SAMPLES.glob("*.jpg"))
        return Example(sample.read_bytes(), IMAGE, f"the sample image {sample.name}")
    lacking = [one for one, tensor in inputs.items() if "example" not in tensor]
    if lacking:
        raise ModelError(f"{name}: no example for its input {lacking[0]}; pass --request FILE")
    values = {one: tensor["example"] for one, tensor in inputs.items()}
    body: dict[str, Any] = {"inputs": values if len(values) > 1 else next(iter(values.values()))}
    if key != SIGNATURE:
        body["signature_name"] = key
    return Example(json.dumps(body).encode(), JSON, f"an example for the signature {key}")


def check(at: Address, example: Example, name: str) -> None:
    """Sends the example once; an error if the model rejects it."""
    try:
        response = request(at, "POST", "/invocations", example.body, example.headers, seconds=120)
    except NoResponse as error:
        raise ServiceError(f"{name}: {example.title}: {error}; see its log") from error
    if response.status != 200:
        raise ServiceError(
            f"{name}: rejects {example.title} ({response}); pass another with --image or --request"
        )
