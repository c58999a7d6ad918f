"""The log: a line of JSON for each request, and CloudWatch's Embedded Metric Format."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.serving import LONG, Front, post, raw, whole_front

PICTURE = golden("picture.jpg")
AVAILABLE = b'{"model_version_status": [{"state": "AVAILABLE"}]}'
UNITS = {"Count", "Milliseconds", "Bytes"}  # of those that CloudWatch knows


def detector(asked: Request) -> Response:
    """Takes a measurable while."""
    if asked.path.endswith("/model"):
        return Response(200, AVAILABLE)
    time.sleep(0.02)
    return Response(400 if b"refuse" in asked.body else 200, golden("answer_one.json"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("log")
    with peer(detector) as engine, whole_front(folder / "front", engine.port) as running:
        yield running


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("metrics")
    settings = {"metrics_namespace": "petbox/toy"}
    with (
        peer(detector) as engine,
        whole_front(folder / "front", engine.port, settings=settings) as running,
    ):
        yield running


@pytest.mark.parametrize("kind", ["application/json", "image/jpeg", "application/x-image"])
def test_a_request_has_one_line_with_all_that_counts(running: Front, kind: str) -> None:
    url = f"http://127.0.0.1:{running.port}/invocations?secret=1"
    headers = {"Content-Type": kind, "X-Amzn-SageMaker-Inference-Id": "abc-1"}
    before = datetime.now(timezone.utc).replace(microsecond=0)
    answer = requests.post(url, data=PICTURE, headers=headers, timeout=LONG)
    line = running.log()
    assert before <= datetime.fromisoformat(line.pop("time")) <= datetime.now(timezone.utc)
    engine_ms, total_ms = line.pop("engine_ms"), line.pop("total_ms")
    assert 15 <= engine_ms <= total_ms + 1 < 1000 * LONG
    assert 0 <= line.pop("waited_ms") <= total_ms
    assert len(PICTURE) < line.pop("bytes_in") < len(PICTURE) + 500
    assert len(answer.content) < line.pop("bytes_out") < len(answer.content) + 500
    assert line == {
        "status": 200,
        "method": "POST",
        "path": "/invocations",
        "type": kind,
        "inference_id": "abc-1",
        "error": "",
    }


def test_json_lines_have_one_line_together(running: Front) -> None:
    post(running.port, b"1\n2\n3\n", "application/jsonlines")
    line = running.log()
    assert (line["status"], line["type"]) == (200, "application/jsonlines")
    assert line["engine_ms"] >= 3 * 15  # of all records


@pytest.mark.parametrize(
    ("method", "path", "status", "why"),
    [
        ("GET", "/nowhere", 404, "no such route"),
        ("PUT", "/invocations", 405, "use POST"),
        ("POST", "/invocations", 400, "no body"),
        ("GET", "/execution-parameters", 200, ""),
    ],
)
def test_what_no_engine_has_seen_has_no_engine_time(
    running: Front, method: str, path: str, status: int, why: str
) -> None:
    requests.request(method, f"http://127.0.0.1:{running.port}{path}", timeout=LONG)
    line = running.log()
    assert (line["method"], line["path"], line["status"]) == (method, path, status)
    assert line["engine_ms"] is None
    assert why in line["error"]


def test_pings_are_left_out_unless_they_fail(running: Front) -> None:
    url = f"http://127.0.0.1:{running.port}/ping"
    assert requests.get(url, timeout=LONG).status_code == 200
    assert requests.post(url, timeout=LONG).status_code == 405
    assert running.log()["status"] == 405


def test_nothing_of_the_payload_is_in_it(running: Front) -> None:
    post(running.port, b'{"instances": ["a secret", "refuse"]}', "application/json")
    assert "secret" not in json.dumps(running.log())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b'/a"b\\c', b'text/"quoted"'),
        (b"/\xff\xfe", b"image/\xff"),
        ("/K\u00e4tzchen".encode(), b"x\ty"),
        (b"/x", b'{"status": 200}'),
    ],
)
def test_a_line_is_json_whatever_was_sent(running: Front, path: bytes, kind: bytes) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n" % path
    answer = raw(running.port, head + b"Content-Type: %s\r\n\r\n" % kind)
    assert answer.startswith(b"HTTP/1.1 404 ")
    line = running.log()
    assert line["status"] == 404
    assert line["type"] == kind.decode(errors="replace")


def test_what_is_no_http_has_a_line_too(running: Front) -> None:
    raw(running.port, b"GARBAGE\r\n\r\n")
    assert running.log()["status"] == 400


# Metrics


def emf(line: dict[str, Any]) -> dict[str, float]:
    """The metrics that CloudWatch makes of a line, by the rules of its format."""
    about = line["_aws"]
    assert about.keys() == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(about["Timestamp"], int)
    assert abs(about["Timestamp"] / 1000 - time.time()) < LONG
    (directive,) = about["CloudWatchMetrics"]
    assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
    assert directive["Namespace"] == "petbox/toy"
    for dimensions in directive["Dimensions"]:
        assert all(isinstance(line[name], str) and line[name] for name in dimensions)
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(names) == len(set(names))
    assert {metric["Unit"] for metric in directive["Metrics"]} <= UNITS
    found = {name: line[name] for name in names}
    assert all(type(value) in (int, float) for value in found.values()), found
    return found


@pytest.mark.parametrize(
    ("kind", "body", "dialect", "errors"),
    [
        ("application/json", b"{}", "json", (0, 0)),
        ("image/png", PICTURE, "picture", (0, 0)),
        ("application/jsonlines", b"1\n", "lines", (0, 0)),
        ("application/json", b'{"instances": ["refuse"]}', "json", (1, 0)),
        ("text/plain", b"x", "unknown", (1, 0)),
    ],
)
def test_an_invocation_is_measured(
    measured: Front, kind: str, body: bytes, dialect: str, errors: tuple[int, int]
) -> None:
    post(measured.port, body, kind, "/endpoints/pets/invocations")
    line = measured.log()
    metrics = emf(line)
    assert line["Dialect"] == dialect
    assert metrics["Invocations"] == 1
    assert (metrics["Invocation4XXErrors"], metrics["Invocation5XXErrors"]) == errors
    assert metrics["total_ms"] == line["total_ms"]
    assert ("engine_ms" in metrics) == (dialect != "unknown")
    assert line["path"] == "/endpoints/pets/invocations"


def test_other_requests_are_not_measured(measured: Front) -> None:
    for path in ("/execution-parameters", "/nowhere", "/invocations/x"):
        requests.get(f"http://127.0.0.1:{measured.port}{path}", timeout=LONG)
        assert "_aws" not in measured.log()


def test_a_dead_engine_is_a_server_error(tmp_path: Path) -> None:
    settings = {"metrics_namespace": "petbox/toy"}
    with peer(detector) as engine:
        port = engine.port
    with whole_front(tmp_path / "front", port, settings=settings) as running:
        post(running.port, b"{}", "application/json")
        line = running.log()
    assert emf(line)["Invocation5XXErrors"] == 1
    assert "the model server is not running" in line["error"]
