"""The HTTP front from its real zip, with API Gateway's own events, also before a real endpoint."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from PIL import Image
from support.aws import settings
from support.lambda_runtime import Function, event, running
from support.peer import GOLDEN, Peer, Response, golden, named_detector, peer
from support.serving import embedded_engine, front, tiny_detector

JPEG = (GOLDEN / "picture.jpg").read_bytes()
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
VERSIONS = ("v1", "v2")


def request(
    version: str,
    body: bytes | str | None,
    kind: str | None = "image/jpeg",
    query: str = "",
    method: str = "POST",
    path: str = "/detect",
    **headers: str,
) -> dict[str, Any]:
    """What API Gateway makes of a request; text comes as text, all else in base64."""
    sent = event(f"api_gateway_{version}")
    name = "Content-Type" if version == "v1" else "content-type"
    del sent["headers"][name]
    sent["headers"] |= {name: kind} if kind else {}
    sent["headers"] |= {key if version == "v1" else key.lower(): headers[key] for key in headers}
    if isinstance(body, bytes):
        sent |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    elif body is not None:
        sent["body"] = body
    values = dict(parse_qsl(query))
    if version == "v1":
        sent |= {"path": path, "httpMethod": method, "queryStringParameters": values or None}
        sent["multiValueHeaders"] = {key: [value] for key, value in sent["headers"].items()}
        sent["multiValueQueryStringParameters"] = {k: [v] for k, v in values.items()} or None
    else:
        sent |= {"rawPath": path, "rawQueryString": query}
        sent["requestContext"]["http"] |= {"method": method, "path": path}
        sent |= {"queryStringParameters": values} if values else {}
    return sent


def content(response: dict[str, Any]) -> Any:
    return json.loads(response["body"])


def headers(response: dict[str, Any]) -> dict[str, str]:
    many = response.get("multiValueHeaders") or {}
    return {**response.get("headers", {}), **{key: values[0] for key, values in many.items()}}


def form(*parts: tuple[str, bytes, str], boundary: str = "----petbox7MA4YWxkTrZu0gW") -> bytes:
    """Fields by name, content and further words of their first header."""
    body = b""
    for name, content, more in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


FORM = "multipart/form-data; boundary=----petbox7MA4YWxkTrZu0gW"
FILE = '; filename="cat.jpg"\r\nContent-Type: image/jpeg'


def environment(url: str, **more: str) -> dict[str, str]:
    return {**settings(url), "ENDPOINT_NAME": "pets", **more}


@pytest.fixture(scope="module")
def detector() -> Iterator[Peer]:
    with peer(named_detector) as detector:
        yield detector


@pytest.fixture(scope="module")
def call(
    fronts: dict[str, Path], detector: Peer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    folder = tmp_path_factory.mktemp("http_front")
    with running(fronts, "http_front", folder, environment(detector.url)) as function:
        yield function


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (JPEG, "image/jpeg"),
        (JPEG, "application/x-image"),
        ((GOLDEN / "picture.png").read_bytes(), "image/png"),
        (form(("img", JPEG, FILE)), FORM),
        (form(("note", b"a cat", ""), ("img", JPEG, FILE)), FORM),
        (form(("img", JPEG, "")), FORM),
        (json.dumps({"b64": base64.b64encode(JPEG).decode()}), "application/json"),
        (json.dumps({"b64": base64.encodebytes(JPEG).decode()}).encode(), "application/json"),
    ],
    ids=["jpeg", "x-image", "png", "form", "form-of-two", "nameless", "b64", "b64-lines"],
)
def test_an_image_is_found_in_whichever_way_it_is_sent(
    call: Function, version: str, body: bytes | str, kind: str
) -> None:
    response = call(request(version, body, kind))
    assert response["statusCode"] == 200, response
    assert headers(response)["Content-Type"] == "application/json"
    assert not response["isBase64Encoded"]
    with Image.open(GOLDEN / ("picture.png" if kind == "image/png" else "picture.jpg")) as image:
        width, height = image.size
    assert content(response) == {
        "class": "Abyssinian",
        "confidence": 0.987654328,
        "detections": [
            {"label": "Abyssinian", "id": 1, "score": 0.987654328, "box": [0.1, 0.2, 0.6, 0.7]},
            {"label": "yorkshire_terrier", "id": 37, "score": 0.5, "box": [0.0, 0.0, 1.0, 1.0]},
        ],
        "width": width,
        "height": height,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_domain_of_its_own_puts_the_stage_into_the_path(call: Function, version: str) -> None:
    assert call(request(version, JPEG, path="/v1/detect"))["statusCode"] == 200
    assert call(request(version, None, method="GET", path="/v1/detect"))["statusCode"] == 405


def test_the_images_bytes_reach_the_endpoint_as_they_were_sent(
    call: Function, detector: Peer
) -> None:
    call(request("v1", form(("img", JPEG, FILE)), FORM))
    received = detector.requests[-1]
    assert received.path == "/endpoints/pets/invocations"
    (instance,) = json.loads(received.body)["instances"]
    assert base64.b64decode(instance["b64"]) == JPEG


@pytest.mark.parametrize("version", VERSIONS)
def test_min_score_sets_the_lowest_score(call: Function, version: str) -> None:
    scores = {
        query: [
            one["score"] for one in content(call(request(version, JPEG, query=query)))["detections"]
        ]
        for query in ("min_score=0.1", "min_score=0.9", "min_score=1")
    }
    assert scores == {
        "min_score=0.1": [0.987654328, 0.5, 0.125],
        "min_score=0.9": [0.987654328],
        "min_score=1": [],
    }
    nothing = content(call(request(version, JPEG, query="min_score=1")))
    assert nothing["class"] is None and nothing["confidence"] is None


@pytest.mark.parametrize("version", VERSIONS)
def test_draw_returns_the_image(call: Function, version: str) -> None:
    response = call(request(version, JPEG, query="draw=1&min_score=0.9"))
    assert response["statusCode"] == 200 and response["isBase64Encoded"]
    assert headers(response)["Content-Type"] == "image/jpeg"
    with (
        Image.open(io.BytesIO(base64.b64decode(response["body"]))) as drawn,
        Image.open(io.BytesIO(JPEG)) as sent,
    ):
        assert drawn.format == "JPEG" and drawn.size == sent.size
        assert drawn.tobytes() != sent.convert("RGB").tobytes()


def test_a_phones_photo_is_turned_upright(call: Function, detector: Peer) -> None:
    file = io.BytesIO()
    photo = Image.new("RGB", (40, 20), "gray")
    exif = photo.getexif()
    exif[0x0112] = 6  # held upright
    photo.save(file, "JPEG", exif=exif)
    response = content(call(request("v1", form(("img", file.getvalue(), FILE)), FORM)))
    assert (response["width"], response["height"]) == (20, 40)
    (instance,) = json.loads(detector.requests[-1].body)["instances"]
    with Image.open(io.BytesIO(base64.b64decode(instance["b64"]))) as seen:
        assert seen.size == (20, 40)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("status", "reason", "sent"),
    [
        (400, "no body", {"body": None}),
        (400, "cannot be decoded", {"body": b"not an image"}),
        (400, "binary media types", {"body": "\ufffdJFIF"}),
        (415, "text/plain: send a form", {"body": b"cat", "kind": "text/plain"}),
        (415, "Content-Type is missing", {"body": JPEG, "kind": None}),
        (400, "no boundary", {"body": form(("img", JPEG, FILE)), "kind": "multipart/form-data"}),
        (400, "0 fields img", {"body": form(("image", JPEG, FILE)), "kind": FORM}),
        (400, "2 fields img", {"body": form(*[("img", JPEG, FILE)] * 2), "kind": FORM}),
        (400, "0 fields img", {"body": form(("img", JPEG, FILE))[:-40], "kind": FORM}),
        (400, "not a valid multipart form", {"body": b"nonsense", "kind": FORM}),
        (400, "is not JSON", {"body": "{", "kind": "application/json"}),
        (400, "must be", {"body": "[1]", "kind": "application/json"}),
        (400, "must be", {"body": '{"url": "a", "b64": "b"}', "kind": "application/json"}),
        (400, "must be", {"body": '{"url": 1}', "kind": "application/json; charset=utf-8"}),
        (400, "not base64", {"body": '{"b64": "*"}', "kind": "application/json"}),
        (400, "is empty", {"body": '{"b64": ""}', "kind": "application/json"}),
        (
            400,
            "send what follows its comma",
            {"body": '{"b64": "data:image/jpeg;base64,/9j/"}', "kind": "application/json"},
        ),
        (
            400,
            "the image: is a HEIC image, which is not supported; send it as JPEG",
            {"body": HEIC},
        ),
        (400, "min_score=2", {"body": JPEG, "query": "min_score=2"}),
        (400, "min_score=nan", {"body": JPEG, "query": "min_score=nan"}),
        (400, "draw=maybe", {"body": JPEG, "query": "draw=maybe"}),
        (404, "POST /detect", {"body": JPEG, "path": "/"}),
        (405, "POST only", {"body": None, "method": "GET"}),
    ],
)
def test_what_cannot_be_processed_is_reported_as_json_with_its_reason(
    call: Function, version: str, status: int, reason: str, sent: dict[str, Any]
) -> None:
    response = call(request(version, **sent))
    assert response["statusCode"] == status, response
    assert headers(response)["Content-Type"] == "application/json"
    assert reason in content(response)["error"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/cat.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/cat.jpg",
        "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
        "ftp://example.org/cat.jpg",
        "cat.jpg",
    ],
)
def test_an_address_that_is_not_public_is_rejected(call: Function, url: str) -> None:
    response = call(request("v2", json.dumps({"url": url}), "application/json"))
    assert response["statusCode"] == 400
    assert re.search("not on the public Internet|not the address", content(response)["error"])


def test_a_drawn_image_over_lambdas_limit_is_reported(call: Function) -> None:
    noise = Image.effect_noise((2600, 2600), 120).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=60)
    assert len(file.getvalue()) < 4_500_000  # or it would not have come here
    response = call(request("v2", file.getvalue(), query="draw=1"))
    assert response["statusCode"] == 413
    assert "Lambda returns at most 6 MB" in content(response)["error"]


@pytest.mark.parametrize(
    ("status", "body", "extra", "expected"),
    [
        (400, b'{"error": "inputs[0]: not an image"}', {}, (400, "inputs[0]: not an image")),
        (503, b'{"error": "busy"}', {"Retry-After": "1"}, (503, "overloaded")),
        (502, b"<html>", {}, (502, "does not respond")),
        (200, golden("answer_none.json").replace(b"num_", b"nom_"), {}, (502, "does not respond")),
        (200, golden("answer_nan.json"), {}, (502, "does not respond")),
    ],
    ids=["rejected", "busy", "broken", "no-detector", "nan"],
)
def test_each_endpoint_error_becomes_the_right_status(
    fronts: dict[str, Path],
    tmp_path: Path,
    status: int,
    body: bytes,
    extra: dict[str, str],
    expected: tuple[int, str],
) -> None:
    with (
        peer(lambda _: Response(status, body, extra)) as endpoint,
        running(fronts, "http_front", tmp_path, environment(endpoint.url)) as call,
    ):
        response = call(request("v1", JPEG))
    assert response["statusCode"] == expected[0]
    assert expected[1] in content(response)["error"]
    assert ("Retry-After" in headers(response)) == (expected[0] == 503)
    lines = [json.loads(line) for line in call.log().splitlines() if line.startswith("{")]
    is_error = any(line.get("level") == "ERROR" for line in lines)
    assert is_error == (expected[0] >= 500), "what serverless/canary.yaml counts"


def test_a_component_is_called_by_its_name_and_with_its_limit(
    fronts: dict[str, Path], tmp_path: Path
) -> None:
    file = io.BytesIO()
    Image.effect_noise((1000, 750), 90).save(file, "JPEG", quality=95)
    most = 256 * 1024
    given = {"REQUEST_MB": str(most / 2**20), "COMPONENT_NAME": "cats"}
    with (
        peer(named_detector) as endpoint,
        running(fronts, "http_front", tmp_path, environment(endpoint.url, **given)) as call,
    ):
        response = call(request("v1", file.getvalue()))
    assert len(file.getvalue()) > most
    sent = endpoint.requests[-1]
    assert len(sent.body) <= most and sent.path == "/endpoints/pets/invocations"
    assert sent.headers["X-Amzn-SageMaker-Inference-Component"] == "cats"
    assert (content(response)["width"], content(response)["height"]) == (1000, 750)


@pytest.mark.parametrize("version", VERSIONS)
def test_origins_that_are_allowed_get_cors_headers(
    fronts: dict[str, Path], detector: Peer, tmp_path: Path, version: str
) -> None:
    origins = "https://pets.example, https://dev.pets.example"
    env = environment(detector.url, CORS_ORIGINS=origins)
    with running(fronts, "http_front", tmp_path, env) as call:
        name = "Access-Control-Allow-Origin"
        for origin in origins.split(", "):
            for sent in ({"body": JPEG}, {"body": b"not an image"}):
                assert headers(call(request(version, **sent, Origin=origin)))[name] == origin  # type: ignore[arg-type]
        before = call(request(version, None, None, method="OPTIONS", Origin="https://pets.example"))
        assert before["statusCode"] == 204
        assert "POST" in headers(before)["Access-Control-Allow-Methods"]
        assert "X-Amz-Content-Sha256" in headers(before)["Access-Control-Allow-Headers"]
        assert headers(before)["Access-Control-Expose-Headers"] == "Retry-After"
        assert name not in headers(call(request(version, JPEG, Origin="https://evil.example")))


def test_without_origins_there_are_no_cors_headers(call: Function) -> None:
    response = call(request("v1", JPEG, Origin="https://pets.example"))
    assert "Access-Control-Allow-Origin" not in headers(response)


@pytest.mark.parametrize(
    ("name", "value"), [("ENDPOINT_NAME", ""), ("MIN_SCORE", "half"), ("REQUEST_MB", "26")]
)
def test_an_invalid_setting_stops_the_start_naming_it(
    fronts: dict[str, Path], tmp_path: Path, name: str, value: str
) -> None:
    env = environment("http://127.0.0.1:9", **{name: value})
    with pytest.raises(AssertionError, match=name), running(fronts, "http_front", tmp_path, env):
        pass


# With the real detector behind the real nginx


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("endpoint")
    tiny_detector(folder / "model" / "1", named=True)
    with (
        embedded_engine(folder / "engine", model=folder / "model") as engine,
        front(folder / "nginx", engine.port) as port,
    ):
        yield f"http://127.0.0.1:{port}"


def test_the_real_endpoint_responds_and_rejects_through_the_front(
    fronts: dict[str, Path], endpoint: str, tmp_path: Path
) -> None:
    env = environment(endpoint, MIN_SCORE="0.01")
    file = io.BytesIO()
    Image.new("RGB", (24, 16), "gray").save(file, "PNG")
    broken = file.getvalue()[:40] + b"\0" * 20 + file.getvalue()[60:]
    with running(fronts, "http_front", tmp_path, env) as call:
        good = call(request("v1", file.getvalue(), "image/png"))
        bad = call(request("v1", broken, "image/png"))
    (one,) = content(good)["detections"]
    assert one["label"] == "Abyssinian" and one["score"] == pytest.approx(1 / 17)
    assert one["box"] == pytest.approx([1 / 17, 1 / 25, 16 / 17, 24 / 25])
    assert bad["statusCode"] == 400 and content(bad)["error"]


def test_an_image_is_not_logged(call: Function) -> None:
    call(request("v1", JPEG))
    assert base64.b64encode(JPEG).decode()[:60] not in call.log()
