"""What petbox guarantees beyond SageMaker: a server that breaks one rule is told of that rule."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from support.conforming import breaking, broken_server
from support.saved_models import hasher, weighted
from support.serving import Program, empty_model, served_detector, served_model, stand_in_engine

from petbox import wire
from petbox.serving.conform import many_clients
from petbox.serving.conform.address import ADDRESS_CHECKS, LOAD_CHECKS, REQUEST_CHECKS
from petbox.serving.conform.contract import Result, result_of
from petbox.serving.conform.many_clients import served_together
from petbox.serving.conform.payload import JSON, Payload, drawn
from petbox.serving.conform.stop import stop
from petbox.serving.conform.valid_requests import SAME_RESPONSE, sent_as
from petbox.serving.docker import Container, Image
from petbox.serving.http_client import Address, address

IMAGE = Payload(wire.request([drawn(32, 24)]), JSON, drawn(32, 24))
SLOW = Payload(b'{"instances": ["slow"]}', JSON)
TEXT = Payload(b'{"instances": ["what a movie"]}', JSON)


def result(line: str, url: str, payload: Payload = IMAGE) -> Result:
    at = address(url)
    if line in LOAD_CHECKS:
        return result_of(LOAD_CHECKS[line], at, payload)
    if line in ("queue-answered", "queue-fair", "metrics-under-load"):
        return of_many_clients(url, payload)[line]
    if line in ADDRESS_CHECKS:
        return result_of(ADDRESS_CHECKS[line], at)
    if line in SAME_RESPONSE:
        return result_of(sent_as, at, payload, SAME_RESPONSE[line])
    return result_of(REQUEST_CHECKS[line], at, payload)


@functools.cache
def of_many_clients(url: str, payload: Payload) -> dict[str, Result]:
    return dict(served_together(address(url), payload))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that breaks none of the rules below."""
    with breaking("", tmp_path_factory.mktemp("good")) as url:
        yield url


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_detector(tmp_path_factory.mktemp("detector")) as (port, _):
        yield f"http://127.0.0.1:{port}"


SOAKING = pytest.mark.skipif(not os.environ.get("PETBOX_SOAK"), reason="compares seconds")


@pytest.mark.parametrize(
    ("rule", "line", "payload", "seen"),
    [
        ("knows no HEAD", "ping-head", IMAGE, "HEAD /ping: 405"),
        ("wants a content type", "no-type", IMAGE, "415 unknown content type"),
        ("knows one name of JSON Lines", "json-lines-type", IMAGE, "400"),
        ("counts in JSON", "metrics", IMAGE, "the content type is application/json"),
        ("serves no metrics when it is busy", "metrics-under-load", IMAGE, "503 busy"),
        ("rejects who would queue", "queue-answered", IMAGE, "failed: 503 no slot"),
        ("lets newcomers in first", "queue-fair", IMAGE, " clients got "),
        pytest.param(
            *("computes for clients that left", "leavers-not-computed", IMAGE, "as many that left"),
            marks=[pytest.mark.soak, SOAKING],
        ),
        ("loses the slots of clients that left", "leavers-free-slots", IMAGE, "503 no slot"),
        ("cuts long calls off", "long-call", IMAGE, "rows: the connection was closed"),
        ("takes every string for an image", "json-lines-text", TEXT, '"what a movie" as a line'),
    ],
)
def test_a_broken_rule_is_named(
    rule: str, line: str, payload: Payload, seen: str, good: str, tmp_path: Path
) -> None:
    kept = result(line, good, payload)
    assert kept.outcome == "holds", kept.detail
    with breaking(rule, tmp_path, LIMIT="0.5") as url:
        broken = result(line, url, payload)
    assert broken.outcome == "fails", broken.detail
    assert seen in broken.detail


def test_clients_that_a_busy_machine_stopped_get_another_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = [many_clients.Served([2, 9], [], []), many_clients.Served([5, 6], [], [])]
    monkeypatch.setattr(many_clients, "clients_and_rounds", lambda *_: (2, 6))
    monkeypatch.setattr(many_clients, "send_together", lambda *_: turns.pop(0))
    seen = dict(served_together(Address("127.0.0.1", 1), IMAGE))["queue-fair"]
    assert (seen.outcome, seen.detail) == ("holds", "each of 2 clients got 5 to 6 responses")


@pytest.mark.parametrize("line", ["ping-head", "no-type", "json-lines-type", "metrics"])
def test_petbox_keeps_its_guarantees(line: str, detector: str) -> None:
    kept = result(line, detector)
    assert kept.outcome == "holds", kept.detail


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`petbox serve` before a model server that takes 0.2 s for each row."""
    folder = tmp_path_factory.mktemp("slow")
    path = f"{stand_in_engine(folder / 'engine')}:{os.environ['PATH']}"
    model = empty_model(folder / "model" / "1").parent
    with served_model(folder, model, PATH=path, PETBOX_ENGINE_SECONDS="3") as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("queue-answered", " responses to 96 clients, none failed"),
        ("queue-fair", "each of 96 clients got "),
        ("metrics-under-load", " scrapes, the last with "),
        ("leavers-not-computed", "beside as many that left"),
        ("leavers-free-slots", "after 192 left: 96 responses to 96 clients, none failed"),
        ("long-call", "rows: 504 "),
    ],
)
def test_petbox_keeps_its_guarantees_when_the_model_is_slow(
    line: str, seen: str, slow: str
) -> None:
    kept = result(line, slow, SLOW)
    assert kept.outcome == "holds", kept.detail
    assert seen in kept.detail


class Local:
    """A server on this machine that gets signals as a container does."""

    def __init__(self, port: int, program: Program) -> None:
        self.at, self.program = Address("127.0.0.1", port), program

    def signal(self, name: str) -> None:
        self.program.send(signal.Signals[f"SIG{name}"])

    def wait(self, seconds: float) -> int | None:
        try:
            return self.program.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def stopped(port: int, program: Program, payload: Payload) -> dict[str, Result]:
    image = Image("linux/amd64", (), "", {})
    return dict(stop(cast("Container", Local(port, program)), image, payload))


@pytest.mark.parametrize(
    ("rule", "lines", "seen"),
    [
        ("", [], "10 requests began after SIGTERM, the last: 200"),
        ("closes the port at term", ["term-serves-on"], "the last: connection refused"),
        ("pings well while it stops", ["term-serves-on"], "/ping: 200"),
    ],
)
def test_requests_that_begin_after_term(
    rule: str, lines: list[str], seen: str, tmp_path: Path
) -> None:
    with broken_server(rule, tmp_path) as (port, program):
        results = stopped(port, program, IMAGE)
    assert [name for name, one in results.items() if one.outcome == "fails"] == lines
    assert seen in results["term-serves-on"].detail


def test_petbox_answers_requests_that_begin_after_term(tmp_path: Path) -> None:
    path = f"{stand_in_engine(tmp_path / 'engine')}:{os.environ['PATH']}"
    model = empty_model(tmp_path / "model" / "1").parent
    with served_model(tmp_path, model, PATH=path) as (port, program):
        results = stopped(port, program, SLOW)
    assert {name: one.detail for name, one in results.items() if one.outcome == "fails"} == {}


def test_absent_metrics_are_no_failure(tmp_path: Path) -> None:
    with breaking("has no metrics", tmp_path) as url:
        absent = result("metrics", url)
    assert (absent.outcome, "no GET /metrics (404)" in absent.detail) == ("not tried", True)


def test_texts_need_a_text_model(detector: str, tmp_path: Path) -> None:
    assert "needs a text model" in result("json-lines-text", detector).detail
    model = hasher(tmp_path / "hasher" / "1").parent
    with served_model(tmp_path, model) as (port, _):
        for line in ("json-lines-text", "csv", "bare-json", "accept-rows"):
            kept = result(line, f"http://127.0.0.1:{port}", TEXT)
            assert kept.outcome == "holds", kept.detail


def test_formats_for_tensors(detector: str, good: str, tmp_path: Path) -> None:
    lines = ("csv", "csv-malformed", "npy", "bare-json", "accept-rows")
    for line in lines[:3]:
        assert "needs rows of numbers" in result(line, detector).detail
    for line in lines[3:]:
        assert result(line, detector).outcome == "holds"
    model = weighted(tmp_path / "weighted" / "1").parent
    rows = Payload(b'{"instances": [[1.0, 2.5]]}', JSON)
    with served_model(tmp_path, model) as (port, _):
        for line in lines:
            kept = result(line, f"http://127.0.0.1:{port}", rows)
            assert kept.outcome == "holds", kept.detail
    for line in lines[:3]:
        assert (result(line, good, rows).outcome, line) == ("fails", line)
