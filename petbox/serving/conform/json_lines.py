"""Checks of JSON Lines: one record per line in, one response per line out."""

from __future__ import annotations

import base64
import json

from petbox.serving.conform.contract import Failed, NotTried, require
from petbox.serving.conform.payload import JSON, Payload
from petbox.serving.conform.valid_requests import post
from petbox.serving.http_client import Address

TYPE = "application/jsonlines"
TEXTS = ["great movie", "12", "bm8gaW1hZ2U=", '"quoted", {"b64": ""}']  # two are valid base64


def in_order(at: Address, payload: Payload) -> str:
    """Three records of the same image, in the three forms that a record may have."""
    text = base64.b64encode(payload.known_image()).decode()
    return _all_answered(at, {"b64": text}, text, {"inputs": {"b64": text}})


def invalid_record(at: Address, payload: Payload) -> str:
    good = json.dumps({"b64": base64.b64encode(payload.known_image()).decode()})
    lines = _responses(at, "\n".join((good, '{"b64": "bm8gcGljdHVyZQ=="}', "{broken", good)))
    bad = ["error" in line for line in lines]
    return require(bad == [False, True, True, False], f"of 4, 2 are bad: {_kinds(lines)}")


def other_type(at: Address, payload: Payload) -> str:
    """SageMaker's built-in algorithms use this name in some places."""
    records = (payload.instances() * 2)[:2]
    return _all_answered(at, *records, content_type="application/jsons")


def texts(at: Address, payload: Payload) -> str:
    """A gateway for images may take every string for base64, and a text model gets garbage."""
    instances = payload.instances()
    if not all(isinstance(one, str) for one in instances):
        raise NotTried('needs a text model: --request with {"instances": ["some text"]}')
    for text in (*instances, *TEXTS):
        plain, again = (
            post(at, json.dumps({"instances": [text]}).encode(), JSON).json() for _ in range(2)
        )
        (line,) = _responses(at, json.dumps(text))
        if plain == again:
            require(line == plain, f"{json.dumps(text)} as a line: {line}, as JSON: {plain}")
    return f"{len(instances) + len(TEXTS)} texts: each line got the same response as JSON"


def _all_answered(at: Address, *records: object, content_type: str = TYPE) -> str:
    lines = _responses(at, "\n".join(map(json.dumps, records)), content_type)
    detail = f"{len(records)} records, {len(lines)} lines"
    if len(lines) != len(records) or any("error" in line for line in lines):
        raise Failed(f"{detail}: {_kinds(lines)}")
    return detail


def _responses(at: Address, body: str, content_type: str = TYPE) -> list[dict[str, object]]:
    response = post(at, body.encode(), content_type, headers={"Accept": TYPE})
    require(response.status == 200, response)
    try:
        lines = [json.loads(line) for line in response.body.splitlines()]
    except ValueError as error:
        raise Failed(f"a line of the response is not JSON: {response}") from error
    objects = all(isinstance(line, dict) for line in lines)
    require(objects, f"a line of the response is not an object: {response}")
    return lines


def _kinds(lines: list[dict[str, object]]) -> str:
    return ", ".join("error" if "error" in line else "response" for line in lines)
