"""W3C Trace Context: a traceparent comes back, and its trace is in the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.serving import LONG, Front, whole_front

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VALID = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    def answer(asked: Request) -> Response:
        return Response(400 if b"refuse" in asked.body else 200, golden("answer_one.json"))

    folder = tmp_path_factory.mktemp("tracing")
    with peer(answer) as engine, whole_front(folder / "front", engine.port) as running:
        yield running


def ask(running: Front, kind: str, body: bytes, **headers: str) -> requests.Response:
    url = f"http://127.0.0.1:{running.port}/invocations"
    more = {"Content-Type": kind, **headers}
    return requests.post(url, data=body, headers=more, timeout=LONG)


@pytest.mark.parametrize(
    "kind", ["application/json", "image/png", "application/x-image", "application/jsonlines"]
)
@pytest.mark.parametrize("body", [b"1", b"refuse"])
def test_a_trace_is_returned_and_logged(running: Front, kind: str, body: bytes) -> None:
    assert ask(running, kind, body, traceparent=VALID).headers["traceparent"] == VALID
    assert running.log()["trace_id"] == TRACE


def test_an_error_of_the_gateway_has_it_too(running: Front) -> None:
    answer = ask(running, "text/plain", b"1", traceparent=VALID)
    assert (answer.status_code, answer.headers["traceparent"]) == (415, VALID)
    assert running.log()["trace_id"] == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        VALID.upper(),
        VALID.replace("00-", "ff-", 1),
        VALID + "-more",
        VALID.replace(TRACE, "0" * 32),
        VALID.replace("00f067aa0ba902b7", "0" * 16),
        VALID.replace(TRACE, TRACE + "0"),
        VALID[:-1],
    ],
)
def test_what_is_malformed_is_ignored(running: Front, header: str) -> None:
    answer = ask(running, "application/json", b"1", traceparent=header)
    assert answer.status_code == 200
    assert "traceparent" not in answer.headers
    assert "trace_id" not in running.log()


def test_a_later_version_may_have_more(running: Front, tmp_path: Path) -> None:
    later = VALID.replace("00-", "01-", 1) + "-more"
    assert ask(running, "application/json", b"1", traceparent=later).headers["traceparent"] == later
    assert running.log()["trace_id"] == TRACE
