"""The routes of a multi-model container, as SageMaker calls them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from petbox.serving.http_client import Address, Response, request

LOAD_SECONDS = 360.0  # how long SageMaker waits for a load or an unload
INVOKE_SECONDS = 60.0
LIST_SECONDS = 60.0
MOST_PAGES = 1000
JSON = {"Content-Type": "application/json"}


def load(at: Address, model_id: str, url: str) -> Response:
    body = json.dumps({"model_name": model_id, "url": url}).encode()
    return request(at, "POST", "/models", body, JSON, LOAD_SECONDS)


def unload(at: Address, model_id: str) -> Response:
    return request(at, "DELETE", _path(model_id), seconds=LOAD_SECONDS)


def describe(at: Address, model_id: str) -> Response:
    return request(at, "GET", _path(model_id), seconds=LIST_SECONDS)


def invoke(
    at: Address,
    model_id: str,
    body: bytes | Iterable[bytes],
    headers: Mapping[str, str],
    seconds: float = INVOKE_SECONDS,
) -> Response:
    return request(at, "POST", f"{_path(model_id)}/invoke", body, headers, seconds)


def list_models(at: Address) -> tuple[Response, list[Any]]:
    """The last page, and the models of all pages; both spellings of the token are in use."""
    models: list[Any] = []
    path = "/models"
    for _ in range(MOST_PAGES):
        page = request(at, "GET", path, seconds=LIST_SECONDS)
        document = page.json()
        if not isinstance(document, dict) or not isinstance(document.get("models"), list):
            break
        models += document["models"]
        token = document.get("nextPageToken") or document.get("next_page_token")
        if not token:
            break
        path = f"/models?next_page_token={quote(str(token), safe='')}"
    return page, models


def _path(model_id: str) -> str:
    return f"/models/{model_id}"
