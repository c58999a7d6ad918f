"""The weights of the zoo's Lambda function: read, refreshed, kept, and told to the caller."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.aws import Aws, moto, settings
from support.peer import Request, Response, peer
from support.zoo import BUCKET, RUNTIME, Lambda, function, v1, v2


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


def tiny(*bias: float, name: str = "yes") -> bytes:
    """Weights that give the bias for any X."""
    inputs = [{"name": "any", "values": [0, 1]}]
    names = [name, *(f"no{i}" for i in range(1, len(bias)))]
    weights = {"inputs": inputs, "names": names, "weights": [[0.0] * len(bias)], "bias": [*bias]}
    return json.dumps(weights).encode()


class Refreshed:
    """A function that reads its weights again at each call, and those weights."""

    def __init__(self, called: Lambda, s3: Any) -> None:
        self.called, self.s3 = called, s3

    def put(self, weights: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key="refreshed.json", Body=weights)

    def delete(self) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key="refreshed.json")

    def __call__(self) -> tuple[int, dict[str, Any]]:
        return self.called(v2("[0]"))


@pytest.fixture(scope="module")
def only_function(aws: Aws, importable: list[Path]) -> Iterator[Refreshed]:
    variables = {"ZOO_WEIGHTS": f"s3://{BUCKET}/refreshed.json", "ZOO_REFRESH_SECONDS": "0"}
    with function(aws.env, importable, **variables) as called:
        yield Refreshed(called, aws.client("s3"))


@pytest.fixture
def refreshed(only_function: Refreshed) -> Refreshed:
    """Without weights, as it starts."""
    only_function.delete()
    without = {"error": "the model has no weights yet; train it with petbox zoo train"}
    assert only_function() == (503, without)
    return only_function


def test_the_softmax_holds_where_exp_would_not(refreshed: Refreshed) -> None:
    refreshed.put(tiny(1e4, 1e4, -1e4))
    assert refreshed()[1]["rating"] == [0.5, 0.5, 0.0]


def test_weights_come_go_and_change(refreshed: Refreshed) -> None:
    for name in ("first", "second"):
        refreshed.put(tiny(1, 0, name=name))
        assert refreshed()[1]["name"] == name
    refreshed.delete()
    assert refreshed()[0] == 503


@pytest.mark.parametrize(
    "broken",
    [
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b" " * 2_000_000 + tiny(1, 0),
        tiny(1, 0).replace(b"[1, 0]", b"[1, 1" + b"0" * 400 + b"]"),
        tiny(1, 0).replace(b"[1, 0]", b"[1]"),
        tiny(1, 0).replace(b"[1, 0]", b"[1, NaN]"),
        tiny(1, 0).replace(b"[1, 0]", b'[1, "0"]'),
        tiny(1, 0).replace(b"[[0.0, 0.0]]", b"[]"),
        tiny(1, 0).replace(b"[[0.0, 0.0]]", b"[[0.0, 0.0], [0.0, 0.0]]"),
    ],
)
def test_broken_weights_never_replace_good_ones(refreshed: Refreshed, broken: bytes) -> None:
    refreshed.put(broken)
    assert refreshed()[0] == 503
    refreshed.put(tiny(1, 0))
    assert refreshed()[0] == 200
    refreshed.put(broken)
    assert refreshed()[1]["name"] == "yes"


def test_weights_are_sent_again_only_when_they_are_others(importable: list[Path]) -> None:
    def respond(asked: Request) -> Response:
        if asked.headers.get("If-None-Match") == '"1"':
            return Response(304, b"", {"ETag": '"1"'})
        return Response(200, tiny(1, 0), {"ETag": '"1"'})

    with peer(respond) as s3:
        with function(settings(s3.url), importable, ZOO_REFRESH_SECONDS="0") as called:
            assert [called(v2("[0]"))[0] for _ in range(3)] == [200] * 3
        asked = [one.headers.get("If-None-Match") for one in s3.requests]
    assert asked == [None, '"1"', '"1"']


def test_s3_is_not_asked_at_every_call(importable: list[Path]) -> None:
    with peer(lambda _: Response(200, tiny(1, 0), {"ETag": '"1"'})) as s3:
        with function(settings(s3.url), importable, ZOO_REFRESH_SECONDS="3600") as called:
            assert [called(v2("[0]"))[0] for _ in range(3)] == [200] * 3
        assert len(s3.requests) == 1


def test_weights_go_on_while_s3_fails(importable: list[Path]) -> None:
    responses = [Response(200, tiny(1, 0), {"ETag": '"1"'})]
    with (
        peer(lambda _: responses.pop() if responses else Response(500, b"")) as s3,
        function(settings(s3.url), importable, ZOO_REFRESH_SECONDS="0") as called,
    ):
        assert [called(v2("[0]"))[0] for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("address", ["", "weights.json", "s3://zoo", "s3://zoo/"])
def test_an_invalid_address_stops_the_function_naming_it(
    importable: list[Path], address: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUNTIME, *map(str, importable)],
        env={**settings("http://127.0.0.1:9"), "ZOO_WEIGHTS": address},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"ZOO_WEIGHTS is {address!r}; write it like s3://" in done.stderr


# What it tells of them


@pytest.mark.parametrize("event", [v1, v2])
def test_the_root_describes_the_model_and_its_weights(refreshed: Refreshed, event: Any) -> None:
    refreshed.put(tiny(1, 0))
    assert refreshed()[0] == 200
    status, about = refreshed.called(event(path="/"))
    assert status == 200
    assert about["classes"] == ["yes", "no1"]
    assert about["columns"] == [{"name": "any", "values": [0, 1]}]
    address = f"s3://{BUCKET}/refreshed.json"
    stored = refreshed.s3.head_object(Bucket=BUCKET, Key="refreshed.json")["ETag"]
    assert about["weights"] == {"address": address, "etag": stored, "problem": None}
    assert refreshed.called(event("[0]", path="/"))[1]["name"] == "yes"  # with X it predicts
    assert refreshed.called(event())[0] == 400  # another path requires it
    refreshed.delete()
    assert refreshed.called(event(path="/"))[0] == 503


def test_each_response_has_the_etag_of_the_weights_that_made_it(refreshed: Refreshed) -> None:
    etags = []
    for name in ("first", "second"):
        refreshed.put(tiny(1, 0, name=name))
        assert refreshed()[1]["name"] == name
        etags.append(refreshed.called.etag)
    refreshed.put(b"{")
    assert refreshed()[1]["name"] == "second"
    assert refreshed.called.etag == etags[1] != etags[0]
    refreshed.delete()
    refreshed()
    assert refreshed.called.etag == ""


def test_the_root_reports_weights_in_s3_that_are_not_in_use(refreshed: Refreshed) -> None:
    refreshed.put(tiny(1, 0))
    assert refreshed()[0] == 200
    refreshed.put(b"{")
    problem = refreshed.called(v2(path="/"))[1]["weights"]["problem"]
    assert problem.startswith("not weights of petbox zoo train (JSONDecodeError")
    refreshed.put(tiny(1, 0))
    assert refreshed.called(v2(path="/"))[1]["weights"]["problem"] is None
