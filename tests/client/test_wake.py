"""An inference component that is scaled to zero: its clients wait for the first copy."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.aws import settings
from support.command_line import IMAGE, petbox
from support.peer import Request, Response, golden, named_detector, peer

from petbox import errors
from petbox.client import wake
from petbox.client.command import DetectOptions
from petbox.client.detector import Detector

JPEG = golden("picture.jpg")
UNNAMED = (
    "Inference Component Name header is required for endpoints to which you plan to deploy "
    "inference components. Please include Inference Component Name header or consider using "
    "SageMaker models."
)
AT_ZERO = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may be "
    "in-progress (if configured) or try to increase the capacity by invoking "
    "UpdateInferenceComponentRuntimeConfig API."
)


def named(asked: Request) -> str | None:
    headers = {name.lower(): value for name, value in asked.headers.items()}
    return headers.get("x-amzn-sagemaker-inference-component")


def component(calls_at_zero: int) -> Callable[[Request], Response]:
    """Of an endpoint that has components: it has a copy after so many calls that named it."""
    at_zero = [AT_ZERO] * calls_at_zero

    def respond(asked: Request) -> Response:
        if named(asked) is not None and not at_zero:
            return named_detector(asked)
        text = UNNAMED if named(asked) is None else at_zero.pop()
        body = json.dumps({"Message": text}).encode()
        return Response(400, body, {"x-amzn-ErrorType": "ValidationError"})

    return respond


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a server AWS."""

    def set_environment(url: str) -> None:
        for name, value in settings(url).items():
            monkeypatch.setenv(name, value)

    return set_environment


def test_the_command_waits_and_says_so() -> None:
    with peer(component(2)) as server:
        done = petbox("detect", "--endpoint", "pets", IMAGE, env=settings(server.url))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 2
    (line,) = done.stderr.decode().splitlines()
    assert line == (
        "endpoint pets, component pets: has no capacity; this call starts a copy if its "
        "scaling allows that, which takes minutes; waiting up to 30 minutes"
    )
    assert [named(asked) for asked in server.requests] == [None, *["pets"] * 3]


def test_the_wait_has_a_limit() -> None:
    with peer(component(1000)) as server:
        words = ("--endpoint", "pets", "--wait", "0.001", "--component", "cats")
        done = petbox("detect", *words, IMAGE, env=settings(server.url))
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == (
        "error: endpoint pets, component cats: has no capacity, still so after 0 minutes; "
        "wait longer with --wait (in Python wait_for), or check its scaling: petbox endpoint status"
    )
    assert {named(asked) for asked in server.requests} == {"cats"}


def test_all_images_wait_for_the_same_copy(
    at: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    with peer(component(6)) as server:
        at(server.url)
        with Detector(endpoint="pets", component="pets", parallel=3) as detector:
            assert [len(found) for _, found in detector.detect_many([JPEG] * 6)] == [2] * 6
    assert len(caplog.records) == 1


def test_several_may_learn_at_the_same_time_that_there_are_components(
    at: Callable[[str], None],
) -> None:
    together = threading.Barrier(3)

    def respond(asked: Request) -> Response:
        if named(asked) is None:
            together.wait(30)
        return has_a_copy(asked)

    has_a_copy = component(0)
    with peer(respond) as server:
        at(server.url)
        with Detector(endpoint="pets", parallel=3) as detector:
            assert [len(found) for _, found in detector.detect_many([JPEG] * 6)] == [2] * 6
    assert [named(asked) for asked in server.requests].count(None) == 3


def test_progress_is_reported(
    at: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wake, "BETWEEN_REPORTS", 0.0)
    with peer(component(2)) as server:
        at(server.url)
        Detector(endpoint="pets", component="pets").detect(JPEG)
    assert "has no capacity yet, after 0 minutes" in caplog.records[-1].message


def test_without_a_wait_the_call_that_starts_a_copy_fails(at: Callable[[str], None]) -> None:
    with peer(component(1)) as server:
        at(server.url)
        detector = Detector(endpoint="pets", component="pets", wait_for=0)
        with pytest.raises(errors.NoCapacity):
            detector.detect(JPEG)
        assert len(server.requests) == 1
        assert len(detector.detect(JPEG)) == 2


def test_a_component_that_is_not_there_is_named(at: Callable[[str], None]) -> None:
    def respond(asked: Request) -> Response:
        text = UNNAMED if named(asked) is None else "Inference Component pets not found."
        body = json.dumps({"Message": text}).encode()
        return Response(400, body, {"x-amzn-ErrorType": "ValidationError"})

    with peer(respond) as server:
        at(server.url)
        with pytest.raises(errors.ServiceError, match=r"pets, component pets: Valid.* not"):
            Detector(endpoint="pets").detect(JPEG)
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"component": "a"}, "--component requires --endpoint, and excludes --model"),
        ({"component": "a", "endpoint": "b", "model": Path("c")}, "--component requires"),
        ({"component": "a_b", "endpoint": "b"}, "argument --component: 'a_b' is not a valid"),
        ({"wait": 1.0}, "--wait requires --async-endpoint or --endpoint"),
    ],
)
def test_a_component_is_one_of_an_endpoint(chosen: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        DetectOptions(image=(IMAGE,), **chosen)
