"""text/csv: what its cells and rows are to a model of any signature."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.peer import peer
from support.serving import LONG, front
from support.signatures import Models, echo, error, predictions

CSV, LINES, JSON = "text/csv", "application/jsonlines", "application/json"
ONE = {"x": ("FLOAT", [-1])}
TWO = {"x": ("FLOAT", [-1, 2])}
ANY = {"x": ("FLOAT", None)}
TEXT = {"text": ("STRING", [-1])}
SEVERAL = {"n": ("INT64", [-1]), "text": ("STRING", [-1, 1]), "on": ("BOOL", None)}
SIGNATURES: dict[str, Any] = {
    **{"one": ONE, "two": TWO, "any": ANY, "text": TEXT, "several": SEVERAL},
    "small": {"x": ("INT8", [-1])},
    "positive": {"x": ("UINT64", [-1])},
    "bool": {"x": ("BOOL", [-1])},
    "grid": {"x": ("FLOAT", [-1, 2, 2])},
    "column": {"x": ("FLOAT", [-1, 1])},
    "wide": {"x": ("FLOAT", [-1, -1])},
    "complex": {"x": ("COMPLEX64", [-1])},
}

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Sends a body to the model of one of the signatures."""
    with Models(tmp_path_factory.mktemp("csv")) as models:

        def send(
            name: str, body: str | bytes, accept: str = "", kind: str = CSV, **more: Any
        ) -> Any:
            return models.post(SIGNATURES[name], body, kind, accept, **more)

        yield send


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("one", "1.5\n2\n", [1.5, 2]),
        ("one", "1.5\r\n2", [1.5, 2]),
        ("one", "\ufeff1.5\n", [1.5]),
        ("one", "\ufeffx\r\n1.5\r\n", [1.5]),
        ("one", "price\n1.5\n", [1.5]),  # no number, so it is a header
        ("one", '"price, net"\n"1.5"\n', [1.5]),
        ("two", "1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("two", " 1 , 2\n3,\t4\n", [[1, 2], [3, 4]]),
        ("two", "a,b\n3,4\n", [[3, 4]]),
        ("wide", "1\n2\n", [[1], [2]]),
        ("wide", "1,2,3\n", [[1, 2, 3]]),
        ("grid", "1,2,3,4\n5,6,7,8\n", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        ("any", "1,2\n3,4\n", [[1, 2], [3, 4]]),  # as AWS's container does
        ("one", "1,2,5\n3,4,6\n", [[1, 2, 5], [3, 4, 6]]),  # as well, whatever the shape
        ("column", "1,2\n", [[1, 2]]),
        ("column", "1\n2\n", [[1], [2]]),
        ("grid", "1,2,3\n", [[1, 2, 3]]),
        ("two", "1\n", [[1]]),
        ("any", "1\n2\n", [1, 2]),
        ("one", ".5\n+1\n007\n1e5\n-2.\n1E-3\n-0\n", [0.5, 1, 7, 1e5, -2, 0.001, 0]),
        ("one", '"1.5"\n" +.5 "\n"-007"\n-.25\n', [1.5, 0.5, -7, -0.25]),
        ("one", '000.5\n-0\n"1e-05"\n', [0.5, 0, 1e-5]),
        ("one", "1" * 300 + "\n", [int("1" * 300)]),
        ("one", f"0.{'3' * 400}\n", [1 / 3]),
        ("small", '"7"\n +07\n00\n" -5"\n', [7, 7, 0, -5]),
        ("small", "007\n-128\n127\n3.0\n1e1\n", [7, -128, 127, 3, 10]),
        ("positive", "18446744073709551615\n0\n", [18446744073709551615, 0]),
        ("positive", "18446744073709551615.00\n", [18446744073709551615]),
        ("bool", "true\nFALSE\n1\n0\n", [True, False, True, False]),
        ("bool", "on\ntrue\n", [True]),
        ("text", 'great movie\n1.5\n"a, ""b""\r\nc"\n\n\\ /\n\r\n\n', [
            "great movie", "1.5", 'a, "b"\r\nc', "", "\\ /"]),
        ("text", 'say "hi"\n\u00e9\u0001\t\n""""\n', ['say "hi"', "\u00e9\u0001\t", '"']),
        ("text", "text\ngreat\n", ["great"]),  # the input's name
        ("text", "x" * 300_000 + "\n" + "\u0001" * 100_000, ["x" * 300_000, "\u0001" * 100_000]),
        ("several", 'text,on,n\na,TRUE,3.0\n"b,\nc",0,-9223372036854775808\n', [
            {"text": ["a"], "on": True, "n": 3},
            {"text": ["b,\nc"], "on": False, "n": -9223372036854775808}]),
    ],
)  # fmt: skip
def test_rows_are_predictions(ask: Ask, model: str, body: str, expected: object) -> None:
    assert predictions(ask(model, body)) == expected


def test_what_json_has_no_number_for_is_as_tensorflow_serving_takes_it(ask: Ask) -> None:
    words = "NaN\nnan\n-inf\nInfinity\n+Inf\n"
    assert ask("one", words).text == '{"predictions":[NaN,NaN,-Infinity,Infinity,Infinity]}'


@pytest.mark.parametrize(
    ("model", "header", "expected"),
    [
        ("one", "absent", "line 1, column 1: "),
        ("text", "absent", ["text", "1"]),
        ("text", '"Present"', ["1"]),
        ("one", "maybe", "header must be present or absent"),
    ],
)
def test_the_content_type_says_whether_there_is_a_header(
    ask: Ask, model: str, header: str, expected: object
) -> None:
    answer = ask(model, "text\n1\n", kind=f"Text/CSV; charset=utf-8; header={header}")
    if isinstance(expected, str):
        assert expected in error(answer)
    else:
        assert predictions(answer) == expected
    assert "line 1 is a header" in error(ask("one", "2\n", kind=f"{CSV};header=present"))


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("one", "1\nabc\n", 'line 2, column 1: "abc" is not a number; the input x takes float'),
        ("two", 'a,b\n"1","\n2"\n3,x\n', 'line 4, column 2: "x" is not a number'),
        ("one", "1\n\n2\n", 'line 2, column 1: "" is empty'),
        ("one", "1\n0x10\n", "line 2, column 1"),
        ("one", '1\n"1"2\n', "line 2, column 1: text follows"),
        ("one", '1\n"1', "line 2, column 1: a quote is not closed"),
        ("one", "1\n+-1\n", "line 2, column 1"),
        ("one", "1\n1 2\n", "line 2, column 1"),
        ("one", "1\n1,5\n", "line 2 has more columns than the first line, which has 1"),
        ("one", "1\n1e400\n", "line 2, column 1: \"1e400\" is too large"),
        ("one", "1e400\n1\n", "line 1, column 1: \"1e400\" is too large"),  # no header
        ("one", "1;2\n1\n", 'line 1, column 1: "1;2" is not a number'),
        ("one", "abc\n", "no rows: line 1 is a header; if it is a row, send Content-Type"),
        ("one", "\n\n", "the body has no rows"),
        ("one", "1\n" + "9" * 400, '99..." is too large'),
        ("one", "1\n" + "9" * 250 + "e99", '99..." is too large'),
        ("one", "1\n" + "9" * 5000, "is too long; the input x takes float"),
        ("one", "1\n" + "0" * 5000 + "1", "is too long"),
        ("one", "1,2\n1\n", "line 2 has 1 column; the first line has 2"),
        ("any", "1,2\n3\n", "line 2 has 1 column; the first line has 2"),
        ("text", 'a\n"b\nc\n', "line 2, column 1: a quote is not closed"),
        ("text", 'a\n"b"c\n', "line 2, column 1: text follows a closing quote"),
        ("small", "1\n1.5\n", "is not a whole number"),
        ("small", "1\n128\n", "is too large"),
        ("positive", "1\n9007199254740992e0\n", "is too large to be exact"),
        ("small", "1\n-129\n", "is too large"),
        ("positive", "1\n-1\n", "is negative"),
        ("positive", "1\n18446744073709551616\n", "is too large"),
        ("bool", "true\nyes\n", '"yes" is not true or false'),
        ("several", "1,a,true\n", "n (int64 [N]), on (bool of any shape), text (string [N, 1])"),
        ("several", "n,text,other\n1,a,true\n", "the first line must be a header"),
        ("several", "n,text,on,on\n1,a,true,true\n", "the first line must be a header"),
        ("several", "n,text,on\n1,a,maybe\n", "line 2, column 3"),
        ("complex", "1\n", "x (complex64 [N])"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named(ask: Ask, model: str, body: str, expected: str) -> None:
    assert expected in error(ask(model, body))


def test_long_bodies_arrive_whole(ask: Ask) -> None:
    rows = [[number / 7, -number] for number in range(60_000)]
    body = "".join(f"{first!r},{second}\r\n" for first, second in rows)
    assert predictions(ask("two", body)) == rows
    for odd in (",+", ',"+', ", ", ",\t"):
        some = [line.replace(",", odd).replace("+-", "-") for line in body.splitlines()[:9000]]
        quoted = '"\n' if '"' in odd else "\n"
        assert predictions(ask("two", quoted.join([*some, ""]))) == rows[:9000]


def test_others_are_answered_meanwhile(ask: Ask) -> None:
    """20 MB; bench/tensors.py measures how fast."""
    ask("two", "1,2\n")
    body = b"1.25,2.5\n" * (20_000_000 // 9)
    done = threading.Event()

    def send() -> None:
        assert ask("two", body).status_code == 200
        done.set()

    sending = threading.Thread(target=send)
    sending.start()
    answered = 0
    while not done.is_set():
        assert error(ask("two", "1,x\n"))  # the gateway's own response
        answered += 1
    sending.join()
    assert answered > 5


# The response by Accept


def test_a_line_of_the_response_for_each_row(ask: Ask) -> None:
    answer = ask("two", "1,2\n3,4\n", LINES)
    assert answer.headers["Content-Type"] == LINES
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"predictions": [[1, 2]]},
        {"predictions": [[3, 4]]},
    ]


@pytest.mark.parametrize(
    ("model", "body", "accept", "expected"),
    [
        ("two", "1,2\n3,4\n", CSV, "1,2\n3,4\n"),
        ("two", "1,2\n", "text/csv; header=present", "y_0,y_1\n1,2\n"),
        ("one", "1\n", "Text/CSV;header=present, application/json", "y\n1\n"),
        ("one", "1\n", "application/json;q=0, application/x-npy;q=0.1, text/csv; q=0.2", "1\n"),
        ("one", "1\n", "image/jpeg, text/*", "1\n"),
        ("grid", "1,2,3,NaN\n", CSV, "1,2,3,NaN\n"),
        ("text", '"a, ""b"""\n\\\n"c\nd"\n""\n', CSV, '"a, ""b"""\n\\\n"c\nd"\n""\n'),
        ("several", "text,on,n\n\"a,b\",1,3\n", "text/csv; header=present",
            'n,on,text\n3,true,"a,b"\n'),
    ],
)  # fmt: skip
def test_a_response_as_csv(ask: Ask, model: str, body: str, accept: str, expected: str) -> None:
    answer = ask(model, body, accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, CSV)
    assert answer.text == expected


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", JSON, f"{JSON}, {CSV}", f"{CSV};q=0.5, {JSON};q=0.6", "text/html, */*;q=0.1", ","],
)
def test_json_is_the_default(ask: Ask, accept: str) -> None:
    answer = ask("two", "1,2\n", accept)
    assert answer.headers["Content-Type"] == JSON
    assert answer.text == '{"predictions":[[1,2]]}'


def test_other_bodies_get_csv_as_well(ask: Ask) -> None:
    assert ask("two", b'{"instances": [[1, 2]]}', CSV, kind=JSON).text == "1,2\n"
    assert ask("two", b"[[1, 2], [3, 4]]", CSV, kind=JSON).text == "1,2\n3,4\n"
    answer = ask("two", b"[1, 2]\n{broken\n[3, 4]", CSV, kind=LINES)
    first, second, third = answer.text.splitlines()
    assert (first, third) == ("1,2", "3,4")
    assert second.startswith('"error: line 2 is not JSON')


def test_what_has_no_rows_is_not_acceptable(ask: Ask) -> None:
    columns = b'{"inputs": {"a": [1], "b": [2]}}'
    assert 'send "instances"' in error(ask("one", columns, CSV, kind=JSON), 406)
    assert error(ask("one", "1\n", "image/jpeg"), 406).endswith(
        "use application/json, application/jsonlines, text/csv or application/x-npy"
    )


# A batch job


BAD = 'a,b\n1,2\nx,2\n3\n4,"5\n6,7\n\n8,9,10\n11,12'
SPOILED = ["header", "x", "1 column", "quote", "empty", "which has 2"]


@pytest.mark.parametrize("accept", ["", "*/*", LINES])
def test_in_a_batch_job_each_line_has_a_line(ask: Ask, accept: str) -> None:
    answer = ask("two", BAD, accept, batch=True)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, LINES)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    good = {1: [[1, 2]], 5: [[6, 7]], 8: [[11, 12]]}
    assert {i: one["predictions"] for i, one in enumerate(lines) if "predictions" in one} == good
    errors = [one["error"] for one in lines if "error" in one]
    for text, expected in zip(errors, SPOILED, strict=True):
        assert expected in text


def test_in_a_batch_job_each_line_has_a_line_of_csv(ask: Ask) -> None:
    lines = ask("two", BAD, CSV, batch=True).text.splitlines()
    assert len(lines) == BAD.count("\n") + 1
    assert [line for line in lines if "error: " not in line] == ["1,2", "6,7", "11,12"]
    assert predictions(ask("two", "1,2\n", JSON, batch=True)) == [[1, 2]]


def test_in_a_batch_job_a_first_line_of_another_shape_spoils_no_other(ask: Ask) -> None:
    assert ask("two", "3\n1,2\n4\n5,6", CSV, batch=True).text.splitlines() == [
        *("3", "1,2", "error: line 3 has 1 column; the first line has 2", "5,6")
    ]
    rows = "1,2,5\n3,4,6\n"
    assert ask("column", rows, CSV, batch=True).text == rows


def test_a_batch_of_many_lines(ask: Ask) -> None:
    body = "".join(f"{number},1\n" for number in range(60_000))
    assert ask("two", body, CSV, batch=True).text == body


def test_a_model_that_takes_images_gets_base64(tmp_path: Path) -> None:
    detector = echo({"inputs": ("STRING", [-1])}, {"detection_boxes": ("FLOAT", [-1, -1, 4])})
    with peer(detector) as engine, front(tmp_path / "front", engine.port) as port:
        url = f"http://127.0.0.1:{port}/invocations"
        answer = requests.post(url, data=b"YQ==\n", headers={"Content-Type": CSV}, timeout=LONG)
    assert predictions(answer) == [{"b64": "YQ=="}]


def test_the_engines_errors_are_passed_on(tmp_path: Path) -> None:
    from support.peer import Response

    refusal = Response(404, b'{\n    "error": "Servable not found"\n}')
    with peer(lambda _: refusal) as engine, front(tmp_path / "front", engine.port) as port:
        url = f"http://127.0.0.1:{port}/invocations"
        answer = requests.post(url, data=b"1\n", headers={"Content-Type": CSV}, timeout=LONG)
    assert error(answer, 404) == "Servable not found"
