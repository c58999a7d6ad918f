"""The front as clients see it: real nginx with the container's own configuration."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.ports import free_port
from support.serving import (
    CONTAINER,
    LONG,
    Program,
    front,
    png,
    post,
    predict_json,
    raw,
    served_detector,
)

PICTURE = golden("picture.jpg")
ROUTES = ("/invocations", "/endpoints/pets/invocations", "/ping", "/execution-parameters")


class Served:
    def __init__(self, port: int, program: Program) -> None:
        self.port = port
        self.program = program

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=LONG)

    def ask(self, method: str, path: str) -> requests.Response:
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=LONG)

    def post(self, body: bytes, kind: str, path: str = "/invocations") -> requests.Response:
        return post(self.port, body, kind, path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_detector(tmp_path_factory.mktemp("served")) as (port, program):
        yield Served(port, program)


def error(answer: requests.Response) -> str:
    """The sentence of an error, which is JSON and nothing else."""
    assert answer.headers["Content-Type"] == "application/json"
    assert "nginx/" not in str(answer.headers)
    return str(answer.json()["error"])


def test_nginx_accepts_the_configuration_as_it_lies(tmp_path: Path) -> None:
    command = ["-t", "-q", "-p", str(tmp_path), "-c", str(CONTAINER / "nginx.conf")]
    done = subprocess.run(["nginx", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# What works


def test_json_passes_byte_for_byte(served: Served) -> None:
    body = predict_json(png(7, 5), PICTURE)
    url = f"http://127.0.0.1:{served.program.engine_port()}/v1/models/model:predict"
    direct = requests.post(url, data=body, timeout=LONG)
    through = served.post(body, "application/json")
    assert through.status_code == 200
    assert through.content == direct.content
    assert through.content.startswith(b'{\n    "predictions": [\n        {\n')


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;x=y"]
)
def test_json_is_known_by_any_spelling(served: Served, kind: str) -> None:
    assert served.post(predict_json(PICTURE), kind).status_code == 200


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (PICTURE, "image/jpeg"),
        (PICTURE, "image/JPG; q=1"),
        (golden("picture.png"), "image/png"),
        (golden("picture.png"), "Image/PNG;charset=binary"),
    ],
)
def test_a_bare_picture_is_answered_as_its_json(served: Served, picture: bytes, kind: str) -> None:
    bare = served.post(picture, kind)
    assert bare.status_code == 200
    assert bare.headers["Content-Type"] == "application/json"
    assert bare.content == served.post(predict_json(picture), "application/json").content


@pytest.mark.parametrize("coding", ["gzip", "GZip", "x-gzip", "identity"])
def test_compressed_json_is_answered_as_plain(served: Served, coding: str) -> None:
    body = predict_json(PICTURE)
    sent = body if coding == "identity" else gzip.compress(body)
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    url = f"http://127.0.0.1:{served.port}/invocations"
    answer = requests.post(url, data=sent, headers=headers, timeout=LONG)
    assert (answer.status_code, answer.content) == (
        200,
        served.post(body, "application/json").content,
    )


def test_the_named_form_is_answered_as_the_bare_one(served: Served) -> None:
    named = served.post(golden("request_named.json"), "application/json")
    bare = served.post(golden("request_one.json"), "application/json")
    assert named.content == bare.content


def test_boto3_needs_only_the_address(served: Served) -> None:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{served.port}",
        region_name="eu-west-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    answer = client.invoke_endpoint(EndpointName="pets", ContentType="image/jpeg", Body=PICTURE)
    assert answer["Body"].read() == served.post(PICTURE, "image/jpeg").content


def test_ping_is_empty_when_the_model_is_available(served: Served) -> None:
    answer = served.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


def test_execution_parameters_are_batch_transforms_three(served: Served) -> None:
    answer = served.get("/execution-parameters")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 25,
    }


def test_a_body_of_25_mb_reaches_the_model_and_no_disk(served: Served) -> None:
    full = b"\0" * 25 * 1024 * 1024
    assert "Unknown image file format" in error(served.post(full, "image/png"))
    assert "Invalid value" in error(served.post(b"x" * len(full), "application/json"))
    assert [p for p in served.program.temporary.glob("*/body/*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("kind", "body"), [("image/jpeg", PICTURE), ("application/json", predict_json(PICTURE))]
)
def test_a_chunked_body_is_as_good(served: Served, kind: str, body: bytes) -> None:
    url = f"http://127.0.0.1:{served.port}/invocations"
    parts = iter([body[:100], body[100:]])
    chunked = requests.post(url, data=parts, headers={"Content-Type": kind}, timeout=LONG)
    assert chunked.status_code == 200
    assert chunked.content == served.post(body, kind).content


def test_a_ping_may_be_a_head_request(served: Served) -> None:
    answer = served.ask("HEAD", "/ping")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("kind", ["", None, "application/x-www-form-urlencoded"])
def test_no_content_type_means_json(served: Served, kind: str | None) -> None:
    url = f"http://127.0.0.1:{served.port}/invocations"
    body = predict_json(PICTURE)
    answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=LONG)
    assert answer.json() == served.post(body, "application/json").json()


def test_a_ping_with_a_body_is_a_ping(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}/ping"
    assert requests.request("GET", url, data=b"hello", timeout=LONG).status_code == 200


# What the engine is sent


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[int, list[Request]]]:
    """A front before an engine that remembers."""
    with (
        peer(lambda _: Response(200, b'{"predictions": []}')) as engine,
        front(tmp_path / "front", engine.port) as listening,
    ):
        yield listening, engine.requests


def test_a_picture_is_wrapped_as_the_wire_format_says(asked: tuple[int, list[Request]]) -> None:
    port, requests_seen = asked
    assert post(port, PICTURE, "image/jpeg").json() == {"predictions": []}
    (request,) = requests_seen
    assert request.path == "/v1/models/model:predict"
    assert request.body == golden("request_one.json")
    assert request.headers["Content-Type"] == "application/json"


def test_a_query_string_is_dropped(asked: tuple[int, list[Request]]) -> None:
    port, requests_seen = asked
    post(port, b"{}", "application/json", "/invocations?a=1&b=2")
    post(port, PICTURE, "image/jpeg", "/endpoints/pets/invocations?a=1")
    assert [r.path for r in requests_seen] == ["/v1/models/model:predict"] * 2


def test_connections_to_the_engine_are_kept(served: Served) -> None:
    before = _connections_to(served.program.engine_port())
    for _ in range(20):
        served.post(predict_json(PICTURE), "application/json")
    assert _connections_to(served.program.engine_port()) <= before + 2  # one a worker


def _connections_to(port: int) -> int:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") for line in lines)


# What does not work, and how it is said


@pytest.mark.parametrize("kind", ["image/tiff", "text/plain", "application/jsonx", "image"])
def test_other_types_are_refused_with_those_that_are_not(served: Served, kind: str) -> None:
    answer = served.post(PICTURE, kind)
    assert answer.status_code == 415
    assert "application/json" in error(answer)
    assert "image/jpeg" in error(answer)


@pytest.mark.parametrize("kind", ["application/json", "image/png", "text/plain"])
def test_a_missing_body_is_named(served: Served, kind: str) -> None:
    answer = served.post(b"", kind)
    assert answer.status_code == 400
    assert "no body" in error(answer)


def test_an_empty_chunked_body_is_no_picture(served: Served) -> None:
    request = "POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request += "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = raw(served.port, request.encode())
    assert b"400 Bad Request" in answer
    assert b'{"error":"the body is empty; send the image"}' in answer


def test_a_compressed_picture_is_refused(served: Served) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{served.port}/invocations"
    answer = requests.post(url, data=PICTURE, headers=headers, timeout=LONG)
    assert answer.status_code == 415
    assert "Content-Encoding gzip" in error(answer)


@pytest.mark.parametrize("kind", ["application/json", "image/png"])
def test_a_body_over_25_mb_is_refused(served: Served, kind: str) -> None:
    answer = served.post(b"\0" * (25 * 1024 * 1024 + 1), kind)
    assert answer.status_code == 413
    assert "25 MB" in error(answer)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_a_wrong_method_is_told_the_right_one(served: Served, route: str, method: str) -> None:
    right = {"/ping": "GET, HEAD", "/execution-parameters": "GET"}.get(route, "POST")
    if method in right:
        return
    answer = served.ask(method, route)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == right
    assert answer.content == b"" if method == "HEAD" else right in error(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/pingx",
        "/ping/",
        "/invocations/x",
        "/endpoints//invocations/x",
        "/endpoints/a/b/invocations",
        "/v1/models/model",
        "/engine",
        "/error",
        "/%22%3Cb%3E",
    ],
)
def test_an_unknown_path_is_told_the_known_ones(served: Served, path: str) -> None:
    for answer in (served.get(path), served.post(b"{}", "application/json", path)):
        assert answer.status_code == 404
        assert path in error(answer)
        assert "POST /invocations" in error(answer)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"\x16\x03\x01\x00\xa5\r\n\r\n", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: much\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"TRACE /ping HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /ping HTTP/3.0\r\n\r\n", 505),
    ],
)
def test_what_is_no_proper_http_is_answered_in_json(
    served: Served, request_bytes: bytes, status: int
) -> None:
    head, _, body = raw(served.port, request_bytes).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 %d " % status, head)
    assert b"Content-Type: application/json" in head
    assert b"nginx/" not in head
    assert json.loads(body)["error"]


def test_an_undecodable_picture_is_the_models_to_refuse(served: Served) -> None:
    for kind, body in (("image/png", b"junk"), ("application/json", predict_json(b"junk"))):
        answer = served.post(body, kind)
        assert answer.status_code == 400
        assert "Unknown image file format" in error(answer)


def test_broken_json_is_refused_in_tensorflow_servings_words(served: Served) -> None:
    answer = served.post(b'{"instances": [1', "application/json")
    assert answer.status_code == 400
    assert error(answer).startswith("JSON Parse error: Missing a comma or ']'")


def test_no_engine_is_a_502_and_no_ping(tmp_path: Path) -> None:
    with front(tmp_path / "front", free_port()) as port:
        for kind in ("application/json", "image/png"):
            answer = post(port, PICTURE, kind)
            assert answer.status_code == 502
            assert "the model server is not running" in error(answer)
        answer = requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG)
        assert answer.status_code == 503
        assert "not running" in error(answer)


def test_a_slow_engine_is_a_504(tmp_path: Path) -> None:
    over = threading.Event()

    def slow(_: Request) -> Response:
        over.wait(LONG)
        return Response(200, b"{}")

    with peer(slow) as engine:
        behind = int(engine.url.rsplit(":", 1)[1])
        shorter = {"engine_seconds": 0.2}
        with front(tmp_path / "front", behind, settings=shorter) as port:
            for kind in ("application/json", "image/png"):
                answer = post(port, PICTURE, kind)
                assert answer.status_code == 504
                assert "within 0.2 s" in error(answer)
            over.set()
