"""JSON Lines: a request for each record, a line for each answer, in order."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.peer import Request, Response, golden, peer
from support.serving import LONG, embedded_engine, front, png, post, predict_json, tiny_detector

LINES = "application/jsonlines"
SMALL, LARGE = png(3, 2), png(30, 20)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def answers(answer: requests.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == LINES
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("lines")
    model = tiny_detector(folder / "model" / "1").parent
    with (
        embedded_engine(folder / "engine", model=model) as engine,
        front(folder / "front", engine.port) as port,
    ):
        yield port


def asked_alone(port: int, picture: bytes) -> Any:
    return post(port, predict_json(picture), "application/json").json()


def test_every_form_of_a_record_is_understood(port: int) -> None:
    records = [
        json.dumps({"b64": b64(SMALL)}),
        json.dumps(b64(LARGE)),  # a string
        b64(SMALL),  # without quotes, as `base64 -w0` writes it
        json.dumps({"inputs": {"b64": b64(LARGE)}}),
    ]
    small, large = asked_alone(port, SMALL), asked_alone(port, LARGE)
    assert small != large
    assert answers(post(port, "\n".join(records).encode(), LINES)) == [small, large, small, large]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    "kind", [LINES, "application/x-ndjson", "Application/JSONL; charset=utf-8"]
)
def test_the_last_line_may_end_or_not(port: int, end: str, kind: str) -> None:
    record = json.dumps(b64(SMALL))
    assert len(answers(post(port, (f"{record}\r\n{record}" + end).encode(), kind))) == 2


@pytest.mark.parametrize(
    "bad",
    [
        b"{broken",
        b"",
        b"   ",
        b'{"b64": "bm8gcGljdHVyZQ=="}',  # no picture
        b'"not base64!"',
        b"1",
        b'1],"signature_name":"x","instances":[2',
        b'{"b64": "' + b64(SMALL).encode() + b'"},{"b64": "' + b64(SMALL).encode() + b'"}',
        b'"\xff"',
        b'{"b64": 7}',
    ],
)
def test_a_bad_record_costs_only_its_own_line(port: int, bad: bytes) -> None:
    good = json.dumps({"b64": b64(SMALL)}).encode()
    first, second, third = answers(post(port, b"\n".join((good, bad, good)) + b"\n", LINES))
    assert first == third == asked_alone(port, SMALL)
    assert second.keys() == {"error"}


def test_a_line_that_is_no_json_is_named(port: int) -> None:
    (_, second) = answers(post(port, b'"YQ=="\n{broken\n', LINES))
    assert second["error"].startswith("line 2 is not JSON")


def test_text_beyond_ascii_is_passed_on_as_it_is(tmp_path: Path) -> None:
    def echo(asked: Request) -> Response:
        return Response(200, asked.body.replace(b"instances", b"predictions"))

    records = [
        '{"name": "K\u00e4tzchen \U0001f431"}',
        '{"name": "\\ufffd \ufffd"}',
        '[1.50, "a, b"]',
    ]
    with peer(echo) as engine, front(tmp_path / "front", engine.port) as port:
        body = "\ufeff" + "\n".join(records)
        answer = post(port, body.encode(), LINES)
    assert answer.content.decode().splitlines() == [f'{{"predictions": [{r}]}}' for r in records]


def test_answers_are_in_order_whoever_is_done_first(tmp_path: Path) -> None:
    """At most `records_in_flight` requests at a time, and the first one is the last to be done."""
    two, others_done = threading.Barrier(2), threading.Event()
    lock = threading.Lock()
    at_once = most = 0

    def answer(asked: Request) -> Response:
        nonlocal at_once, most
        numbers = [record["n"] for record in json.loads(asked.body)["instances"]]
        with lock:
            at_once += 1
            most = max(most, at_once)
        if numbers[0] < 4:
            two.wait(LONG)
        if 0 in numbers:
            assert others_done.wait(LONG)
        if 11 in numbers:
            others_done.set()
        with lock:
            at_once -= 1
        return Response(200, json.dumps({"predictions": numbers}, indent=4).encode())

    settings = {"records_in_flight": 2}
    with peer(answer) as engine, front(tmp_path / "front", engine.port, settings=settings) as port:
        # A request has 1 MB, so two of them.
        body = "".join(json.dumps({"n": n, "note": "x" * 600_000}) + "\n" for n in range(12))
        found = answers(post(port, body.encode(), LINES))
    assert [one["predictions"] for one in found] == [[n] for n in range(12)]
    assert most == 2
    assert len(engine.requests) == 6


def asking_for_few(asked: Request) -> Response:
    """An engine that doubles numbers, and rejects requests with something else."""
    instances = json.loads(asked.body)["instances"]
    if not all(isinstance(one, int) for one in instances):
        return Response(400, b'{ "error": "not a number" }')
    note = 'a, "b"] }'
    predictions = [{"twice": 2 * one, "note": note, "list": [[one]]} for one in instances]
    return Response(200, json.dumps({"predictions": predictions}, indent=4).encode())


@pytest.mark.parametrize(
    ("invalid", "most"),
    [([], 8), ([0], 50), ([777], 50), ([10, 500, 1999], 100), (list(range(2000)), 2200)],
)
def test_many_records_are_few_requests(tmp_path: Path, invalid: list[int], most: int) -> None:
    records: list[object] = list(range(2000))
    for number in invalid:
        records[number] = [number]
    body = "".join(json.dumps(record) + "\n" for record in records).encode()
    with peer(asking_for_few) as engine, front(tmp_path / "front", engine.port) as port:
        found = answers(post(port, body, LINES))
    for number, one in enumerate(found):
        if number in invalid:
            assert one == {"error": "not a number"}
        else:
            (prediction,) = one["predictions"]
            assert (prediction["twice"], prediction["list"]) == (2 * number, [[number]])
    assert len(found) == 2000
    assert len(engine.requests) <= most


@pytest.mark.parametrize(
    ("strings", "outputs", "wrapped"),
    [
        ("auto", {"scores": {}}, False),
        ("auto", {"detection_boxes": {}}, True),
        ("text", {"detection_boxes": {}}, False),
        ("images", {"scores": {}}, True),
    ],
)
def test_a_string_is_an_image_only_to_a_model_that_takes_images(
    tmp_path: Path, strings: str, outputs: dict[str, Any], wrapped: bool
) -> None:
    signatures = {"signature_def": {"serving_default": {"outputs": outputs}}}

    def answer(asked: Request) -> Response:
        if asked.path.endswith("/metadata"):
            return Response(200, json.dumps({"metadata": {"signature_def": signatures}}).encode())
        return Response(200, b'{"predictions": [1]}')

    settings = {"strings": strings}
    with peer(answer) as engine, front(tmp_path / "front", engine.port, settings=settings) as port:
        found = answers(post(port, b'"great movie"\n', LINES))
        found += answers(post(port, b"YQ==\n", LINES))
        assert [list(one) for one in found] == [
            ["predictions"],
            ["predictions" if wrapped else "error"],
        ]
        assert answers(post(port, b"NaN\n", LINES))
    predicts = [json.loads(a.body)["instances"] for a in engine.requests if "predict" in a.path]
    expected = [[{"b64": "great movie"}], [{"b64": "YQ=="}]] if wrapped else [["great movie"]]
    assert predicts[:-1] == expected
    assert math.isnan(predicts[-1][0])
    assert sum(a.path.endswith("/metadata") for a in engine.requests) == (strings == "auto")


@pytest.mark.parametrize("accept", ["application/jsonlines", "application/json", "*/*"])
def test_whatever_is_accepted_the_answer_is_lines(port: int, accept: str) -> None:
    headers = {"Content-Type": LINES, "Accept": accept}
    url = f"http://127.0.0.1:{port}/invocations"
    body = json.dumps(b64(SMALL)).encode()
    assert len(answers(requests.post(url, data=body, headers=headers, timeout=LONG))) == 1


@pytest.mark.parametrize("status", [404, 503, 504])
def test_what_is_no_records_fault_fails_the_whole(tmp_path: Path, status: int) -> None:
    """So that the caller sends it again; TensorFlow Serving's own words are passed on."""

    def refuse_third(asked: Request) -> Response:
        if b"[3]" in asked.body:
            return Response(status, b'{\n    "error": "its own words"\n}')
        return Response(200, golden("answer_one.json"))

    with peer(refuse_third) as engine, front(tmp_path / "front", engine.port) as port:
        answer = post(port, b"1\n2\n3\n4\n", LINES)
    assert (answer.status_code, answer.json()) == (status, {"error": "its own words"})


def test_too_many_records_are_refused_before_the_first_is_asked(tmp_path: Path) -> None:
    with peer(lambda _: Response(500, b"")) as engine:
        with front(tmp_path / "front", engine.port) as port:
            answer = post(port, b"1\n" * 50_001, LINES)
        assert answer.status_code == 413
        assert "more than 50000 records" in answer.json()["error"]
        assert engine.requests == []


def test_a_compressed_body_is_refused(port: int) -> None:
    headers = {"Content-Type": LINES, "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{port}/invocations"
    answer = requests.post(url, data=b"1\n", headers=headers, timeout=LONG)
    assert answer.status_code == 415
    assert "only application/json may be compressed" in answer.json()["error"]


@pytest.mark.parametrize("record_bytes", [20_000, 1_000_000])
def test_eight_times_the_records_take_about_eight_times_as_long(
    tmp_path: Path, record_bytes: int
) -> None:
    """What is quadratic takes 64 times; bench/front.py has the figures."""
    record = json.dumps({"b64": "A" * record_bytes}).encode() + b"\n"
    answer = Response(200, golden("answer_none.json"))
    with peer(lambda _: answer) as engine, front(tmp_path / "front", engine.port) as port:
        seconds = []
        for size in (1_000_000, 8_000_000):
            begin = time.monotonic()
            assert answers(post(port, record * (size // record_bytes), LINES))
            seconds.append(time.monotonic() - begin)
    assert seconds[1] < 25 * seconds[0]


def test_pings_are_answered_meanwhile(port: int) -> None:
    body = (json.dumps({"b64": b64(SMALL)}).encode() + b"\n") * 1000
    done = threading.Event()

    def ask() -> None:
        post(port, body, LINES)
        done.set()

    asking = threading.Thread(target=ask)
    asking.start()
    slowest = 0.0
    while not done.is_set():
        begin = time.monotonic()
        assert requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG).status_code == 200
        slowest = max(slowest, time.monotonic() - begin)
    asking.join()
    assert slowest < 2.0, "SageMaker's limit; bench/front.py measures it"
