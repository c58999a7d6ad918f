"""Models that are no detectors in every format, with the embedded model server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
from support.saved_models import adder, hasher, labelled, weighted
from support.serving import LONG, embedded_engine, front

CSV, LINES, JSON, NPY = "text/csv", "application/jsonlines", "application/json", "application/x-npy"
CASES: dict[str, dict[str, Any]] = {  # the same two rows, by content type
    "adder": {JSON: [1.5, 2], CSV: "1.5\n+2\n", NPY: np.float32([1.5, 2])},
    "weighted": {JSON: [[1, 2], [3, 0.1]], CSV: "a,b\n1,2\n3,.1\n", NPY: [[1, 2], [3, 0.1]]},
    "hasher": {JSON: ["a, b", "\u00e9"], CSV: '"a, b"\n\u00e9\n', NPY: ["a, b", "\u00e9"]},
    "labelled": {
        JSON: [{"n": 1, "text": ["a"]}, {"n": -2, "text": ['b "c"']}],
        CSV: 'text,n\na,1\n"b ""c""",-2\n',
    },
}

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module", params=[False, True], ids=["endpoint", "batch"])
def ask(request: pytest.FixtureRequest, engine_port: int, tmp_path_factory: Any) -> Iterator[Ask]:
    folder = tmp_path_factory.mktemp("tensors")
    settings = {"models": list(CASES), "batch": request.param}
    with front(folder / "front", engine_port, settings=settings) as port:

        def send(model: str, body: Any, kind: str, accept: str = JSON) -> requests.Response:
            attributes = {"X-Amzn-SageMaker-Custom-Attributes": f"tfs-model-name={model}"}
            headers = {"Content-Type": kind, "Accept": accept, **attributes}
            url = f"http://127.0.0.1:{port}/invocations"
            answer = requests.post(url, data=encoded(body, kind), headers=headers, timeout=LONG)
            if answer.status_code == 200:
                assert answer.headers["Content-Type"] == accept
            return answer

        yield send


@pytest.fixture(scope="module")
def engine_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("models")
    adder(folder / "adder" / "1", 1.0)
    for make in (weighted, hasher, labelled):
        make(folder / make.__name__ / "1")
    models = {name: folder / name for name in CASES}
    with embedded_engine(folder / "engine", **models) as engine:
        yield engine.port


def encoded(body: Any, kind: str) -> bytes:
    if kind == NPY:
        file = io.BytesIO()
        np.save(file, np.asarray(body))
        return file.getvalue()
    if kind == LINES:
        return "".join(json.dumps(one) + "\n" for one in body).encode()
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("model", CASES)
def test_every_content_type_and_accept_gives_the_same(ask: Ask, model: str) -> None:
    expected = ask(model, {"instances": CASES[model][JSON]}, JSON).json()["predictions"]
    assert len(expected) == 2
    for kind, body in [*CASES[model].items(), (LINES, CASES[model][JSON])]:
        if kind == JSON and model != "weighted" and model != "labelled":
            body = {"instances": body}  # bare, it would be one instance
        if kind != LINES:
            assert ask(model, body, kind).json()["predictions"] == expected, kind
        lines = ask(model, body, kind, LINES).text.splitlines()
        assert [json.loads(line) for line in lines[-2:]] == [{"predictions": [e]} for e in expected]
        table = ask(model, body, kind, CSV).text
        assert table.splitlines()[-2:] == [as_csv(row) for row in expected], kind
        if kind != LINES and model != "labelled":
            array = np.load(io.BytesIO(ask(model, body, kind, NPY).content))
            assert np.array_equal(array, np.asarray(expected, array.dtype)), kind
            assert array.dtype == {"hasher": np.int64}.get(model, np.float32)


def as_csv(row: Any) -> str:
    if isinstance(row, dict):
        return f'{row["half"]},"{row["label"].replace(chr(34), 2 * chr(34))}"'
    return ",".join(map(str, row)) if isinstance(row, list) else str(row)


def test_bare_json(ask: Ask) -> None:
    assert ask("adder", 1.5, JSON).json()["predictions"] == [2.5]
    assert ask("adder", {"x": 1.5}, JSON).json()["predictions"] == [2.5]
    assert ask("weighted", [1, 2], JSON).json()["predictions"] == [[3, -1]]
    assert ask("labelled", {"n": 4, "text": ["a"]}, JSON).json()["predictions"][0]["half"] == 2


def test_an_error_that_quotes_bytes_is_the_models(ask: Ask) -> None:
    body = {"signature_name": "number", "instances": [{"b64": "//79"}]}
    for accept in (JSON, CSV):
        answer = ask("hasher", body, JSON, accept)
        assert answer.status_code == 400
        assert b"could not correctly convert string: \xff\xfe\xfd" in answer.content


def test_the_models_own_error_costs_a_row_only_in_lines(ask: Ask) -> None:
    lines = ask("weighted", [[1, 2], [1], [3, 4]], LINES, LINES).text.splitlines()
    assert ["error" in json.loads(line) for line in lines] == [False, True, False]
    cells = ask("weighted", [[1, 2], [1], [3, 4]], LINES, CSV).text.splitlines()
    assert (cells[0], cells[2]) == ("3.0,-1.0", "7.0,-1.0")
    assert cells[1].startswith('"error: ')
    assert len(cells) == 3, "TensorFlow's message has several lines"
