"""What petbox guarantees beyond SageMaker: a server that breaks one rule is told of that rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.conforming import breaking
from support.saved_models import hasher
from support.serving import served_detector, served_model

from petbox import wire
from petbox.serving.conform.address import ADDRESS_CHECKS, REQUEST_CHECKS
from petbox.serving.conform.contract import Result, result_of
from petbox.serving.conform.payload import JSON, Payload, drawn
from petbox.serving.conform.valid_requests import SAME_RESPONSE, sent_as
from petbox.serving.http_client import address

IMAGE = Payload(wire.request([drawn(32, 24)]), JSON, drawn(32, 24))
TEXT = Payload(b'{"instances": ["what a movie"]}', JSON)


def result(line: str, url: str, payload: Payload = IMAGE) -> Result:
    at = address(url)
    if line in ADDRESS_CHECKS:
        return result_of(ADDRESS_CHECKS[line], at)
    if line in SAME_RESPONSE:
        return result_of(sent_as, at, payload, SAME_RESPONSE[line])
    return result_of(REQUEST_CHECKS[line], at, payload)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that breaks none of the rules below."""
    with breaking("", tmp_path_factory.mktemp("good")) as url:
        yield url


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_detector(tmp_path_factory.mktemp("detector")) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("rule", "line", "payload", "seen"),
    [
        ("knows no HEAD", "ping-head", IMAGE, "HEAD /ping: 405"),
        ("wants a content type", "no-type", IMAGE, "415 unknown content type"),
        ("knows one name of JSON Lines", "json-lines-type", IMAGE, "400"),
        ("counts in JSON", "metrics", IMAGE, "the content type is application/json"),
        ("takes every string for an image", "json-lines-text", TEXT, '"what a movie" as a line'),
    ],
)
def test_a_broken_rule_is_named(
    rule: str, line: str, payload: Payload, seen: str, good: str, tmp_path: Path
) -> None:
    kept = result(line, good, payload)
    assert kept.outcome == "holds", kept.detail
    with breaking(rule, tmp_path) as url:
        broken = result(line, url, payload)
    assert broken.outcome == "fails", broken.detail
    assert seen in broken.detail


@pytest.mark.parametrize("line", ["ping-head", "no-type", "json-lines-type"])
def test_petbox_keeps_its_guarantees(line: str, detector: str) -> None:
    kept = result(line, detector)
    assert kept.outcome == "holds", kept.detail


def test_absent_metrics_are_no_failure(tmp_path: Path) -> None:
    with breaking("has no metrics", tmp_path) as url:
        absent = result("metrics", url)
    assert (absent.outcome, "no GET /metrics (404)" in absent.detail) == ("not tried", True)


def test_texts_need_a_text_model(detector: str, tmp_path: Path) -> None:
    assert "needs a text model" in result("json-lines-text", detector).detail
    model = hasher(tmp_path / "hasher" / "1").parent
    with served_model(tmp_path, model) as (port, _):
        kept = result("json-lines-text", f"http://127.0.0.1:{port}", TEXT)
    assert kept.outcome == "holds", kept.detail
