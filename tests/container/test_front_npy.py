"""application/x-npy, numpy's file of one array, in and out."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
from support.signatures import Models, Tensors, error, predictions

NPY, JSON, CSV = "application/x-npy", "application/json", "text/csv"

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Sends a body to a model with these inputs."""
    with Models(tmp_path_factory.mktemp("npy")) as models:

        def send(
            body: bytes, inputs: Tensors, accept: str = "", kind: str = NPY, **more: Any
        ) -> Any:
            return models.post(inputs, body, kind, accept, **more)

        yield send


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version)
    return file.getvalue()


def model(kind: str, *shape: int) -> Tensors:
    return {"x": (kind, [-1, *shape])}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bytes_first", ["<", ">"])
def test_every_layout_is_read(
    ask: Ask, version: tuple[int, int], order: Any, bytes_first: str
) -> None:
    array = np.arange(24).reshape(3, 2, 4)
    body = npy(np.asarray(array, f"{bytes_first}i4", order=order), version)
    assert predictions(ask(body, model("FLOAT", 2, 4))) == array.tolist()


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_whole_numbers_are_exact(ask: Ask, kind: str) -> None:
    limits = np.iinfo(kind)
    for first in "<>":
        array = np.array([limits.min, limits.max, limits.max // 3, 0, 7], first + kind)
        inputs = model(("UINT" if kind[0] == "u" else "INT") + str(8 * int(kind[1])))
        assert predictions(ask(npy(array), inputs)) == array.tolist()


@pytest.mark.parametrize(("kind", "dtype"), [("f2", "FLOAT"), ("f4", "FLOAT"), ("f8", "DOUBLE")])
def test_numbers_are_read_back_as_they_were(ask: Ask, kind: str, dtype: str) -> None:
    random, limits = np.random.default_rng(1), np.finfo(kind)
    scale = 10.0 ** random.integers(-4 if kind == "f2" else -30, 5 if kind == "f2" else 30, 20_000)
    some = np.array([60000, -limits.tiny, 1 / 3, 0.1, 1e-7, 12345.6, 4096, 1.5e-5, -0.0])
    array = np.concatenate([some, random.standard_normal(20_000) * scale]).astype(kind)
    answer = ask(npy(array), model(dtype))
    assert np.array(predictions(answer)).astype(kind).tobytes() == array.tobytes()
    if kind == "f2":
        return  # as long as a float32 needs
    written = answer.text.partition("[")[2].partition("]")[0].split(",")
    limit = max(len(np.format_float_scientific(one)) for one in array) + 2
    assert max(map(len, written)) <= limit, "the shortest"
    assert "0.1" in written


def test_numbers_that_json_lacks_and_narrower_types(ask: Ask) -> None:
    special = npy(np.array([np.nan, np.inf, -np.inf], np.float32))
    assert ask(special, model("FLOAT")).text == '{"predictions":[NaN,Infinity,-Infinity]}'
    doubles = npy(np.array([0.1, 1 / 3]))
    assert ask(doubles, model("FLOAT")).text == '{"predictions":[0.1,0.33333334]}'
    assert ask(npy(np.float32([0.1])), model("DOUBLE")).text.count("0.10000000149011612") == 1
    assert predictions(ask(npy([True, False]), model("BOOL"))) == [True, False]
    assert predictions(ask(npy([[1, 2]]), {"x": ("FLOAT", None)})) == [[1, 2]]


@pytest.mark.parametrize("first", ["<", ">"])
def test_strings(ask: Ask, first: str) -> None:
    texts = ["", "a", 'say "hi"', "K\u00e4tzchen \u20ac \U0001f431", "\\\n\u0001"]
    array = np.array(texts, f"{first}U12").reshape(5, 1)
    assert predictions(ask(npy(array), model("STRING", 1))) == [[text] for text in texts]
    content = npy(np.array([b"\xff\n", b"abc"]))
    assert predictions(ask(content, model("STRING"))) == [{"b64": "/wo="}, {"b64": "YWJj"}]


def test_many_numbers(ask: Ask) -> None:
    array = np.arange(200_000, dtype=np.float32).reshape(-1, 1) / 8
    for order in "CF":
        body = npy(np.asarray(array, order=order))  # type: ignore[call-overload]
        assert predictions(ask(body, model("FLOAT", 1))) == array.tolist()


def test_a_narrower_type_takes_what_fits(ask: Ask) -> None:
    assert predictions(ask(npy([-128, 127]), model("INT8"))) == [-128, 127]
    assert predictions(ask(npy(np.array([0, 255], "u8")), model("UINT8"))) == [0, 255]


def test_a_scalar(ask: Ask) -> None:
    scalar: Tensors = {"x": ("FLOAT", [])}
    for body, expected in [
        (npy(2.5), b'{"outputs":2.5}'),
        (npy(np.float32(0)), b'{"outputs":0.0}'),
    ]:
        assert ask(body, scalar).content == expected
        assert ask(body, {"x": ("FLOAT", None)}).content == expected
    array = np.load(io.BytesIO(ask(npy(2.5), scalar, NPY).content))
    assert (array.shape, array.dtype, array.item()) == ((), np.float32, 2.5)
    assert ask(npy(2.5), scalar, CSV).text == "2.5\n"
    lines = ask(npy(2.5), scalar, "application/jsonlines").text
    assert lines == '{"predictions": [2.5]}\n'
    assert "several outputs by name" in error(ask(npy(2.5), scalar, CSV, reply=NAMED), 406)


NAMED = b'{"outputs": {"a": 1, "b": 2}}'
EMPTY_STRINGS = npy(np.zeros(9, "S1"))[:-9].replace(b"S1", b"S0").replace(b"(9,)", b"(9999999999,)")
WHOLE = npy(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        (b"\x93NUMPY", model("FLOAT"), "not a .npy file"),
        (b"PK\x03\x04 an .npz file", model("FLOAT"), "not a .npy file"),
        (WHOLE[:60], model("FLOAT"), "header is malformed"),
        (WHOLE[:-1], model("FLOAT", 3), "need 24 bytes of data, the body has 23"),
        (WHOLE + b"0", model("FLOAT", 3), "the body has 25"),
        (WHOLE.replace(b"(2, 3)", b"(9, 9)"), model("FLOAT", 9), "need 324 bytes"),
        (
            WHOLE,
            model("FLOAT", 4),
            "the array is float32 [2, 3]; the input x takes float32 [N, 4]",
        ),
        (WHOLE, model("FLOAT"), "float32 [2, 3]; the input x takes float32 [N]"),
        (WHOLE, model("INT32", 3), "float32"),
        (WHOLE, model("STRING", 3), "float32"),
        (npy(["a"]), model("FLOAT"), "<U1"),
        (npy([True]), model("FLOAT"), "bool"),
        (npy(3.0), model("FLOAT"), "float64 []"),
        (npy(np.zeros((0, 3))), model("FLOAT", 3), "the array is empty"),
        (npy([127, 128]), model("INT8"), "128 is not in the range of the input x, which"),
        (npy([-32769]), model("INT16"), "-32769 is not in the range"),
        (npy(np.array([2**64 - 1], "u8")), model("UINT8"), "is not in the range"),
        (npy(np.array([-1], ">i4")), model("UINT8"), "-1 is not in the range"),
        (EMPTY_STRINGS, model("STRING"), "arrays of '|S0' are not supported"),
        (npy([1j]), model("FLOAT"), "arrays of '<c16' are not supported"),
        (npy(np.zeros(1, [("a", "f4")])), model("FLOAT"), "are not supported"),
        (npy(np.zeros(1, np.longdouble)), model("FLOAT"), "16 bytes are not supported"),
        (WHOLE, {"a": ("FLOAT", [-1]), "b": ("FLOAT", [-1])}, "several inputs: a (float32 [N]), b"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(ask: Ask, body: bytes, inputs: Tensors, expected: str) -> None:
    assert expected in error(ask(body, inputs))


# The response


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("FLOAT", "<f4"), ("DOUBLE", "<f8"), ("INT64", "<i8"), ("UINT64", "<u8"), ("INT8", "|i1")],
)
def test_a_response_as_npy(ask: Ask, dtype: str, expected: str) -> None:
    reply = b'{\n    "predictions": [[[1], [2]], [[3], [4]\n        ]\n    ]\n}'
    outputs = {"y": (dtype, [-1, 2, 1])}
    answer = ask(WHOLE, model("FLOAT", 3), NPY, outputs=outputs, reply=reply)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, NPY)
    array = np.load(io.BytesIO(answer.content))
    assert array.dtype == expected
    assert array.tolist() == [[[1], [2]], [[3], [4]]]


def test_special_values_of_a_response(ask: Ask) -> None:
    def array(dtype: str, reply: bytes) -> Any:
        outputs = {"y": (dtype, [-1])}
        answer = ask(WHOLE, model("FLOAT", 3), NPY, outputs=outputs, reply=reply)
        assert answer.status_code == 200, answer.text
        return np.load(io.BytesIO(answer.content))

    found = array("FLOAT", b'{"predictions": [NaN, -Infinity, 1e+06, 0.333333343, -0.0]}')
    assert found.tobytes() == np.float32([np.nan, -np.inf, 1e6, 1 / 3, -0.0]).tobytes()
    assert array("BOOL", b'{"predictions": [true, false]}').tolist() == [True, False]
    whole = b'{"predictions": [-9223372036854775808, 9223372036854775807]}'
    assert array("INT64", whole).tolist() == [-(2**63), 2**63 - 1]
    assert array("UINT64", b'{"predictions": [18446744073709551615]}').tolist() == [2**64 - 1]
    assert array("FLOAT", b'{"predictions": []}').shape == (0,)
    assert array("FLOAT", b'{"predictions": [[], []]}').shape == (2, 0)


def test_every_body_gets_npy(ask: Ask) -> None:
    for body, kind in [
        (b"1,2,3\n", CSV),
        (b"[[1, 2, 3]]", JSON),
        (b'{"signature_name": "serving_default", "instances": [[1, 2, 3]]}', JSON),
        (b'{"inputs": [[1, 2, 3]]}', JSON),
    ]:
        answer = ask(body, model("FLOAT", 3), NPY, kind=kind)
        assert np.load(io.BytesIO(answer.content)).tolist() == [[1, 2, 3]]
    assert ask(npy([[1, 2, 3]]), model("FLOAT", 3), CSV).text == "1,2,3\n"


def test_an_image_gets_rows_and_arrays_as_well(ask: Ask) -> None:
    png, text = "image/png", {"inputs": ("STRING", [-1])}
    image = bytes(range(256)) * 1000
    sent = base64.b64encode(image).decode()
    assert ask(image, text, CSV, png).text == sent + "\n"
    lines = ask(image, text, "application/jsonlines", png).text
    assert json.loads(lines) == {"predictions": [{"b64": sent}]}
    scores = ask(
        image, text, NPY, png, outputs=model("FLOAT", 2), reply=b'{"predictions": [[1, 2]]}'
    )
    assert np.load(io.BytesIO(scores.content)).tolist() == [[1, 2]]


def test_what_is_no_array_is_not_acceptable(ask: Ask) -> None:
    two: Tensors = {"y": ("FLOAT", [-1]), "z": ("FLOAT", [-1])}
    assert "several outputs" in error(ask(WHOLE, model("FLOAT", 3), NPY, outputs=two), 406)
    text: Tensors = {"y": ("STRING", [-1])}
    assert "y is string" in error(ask(WHOLE, model("FLOAT", 3), NPY, outputs=text), 406)
    ragged = b'{"predictions": [[1], [1, 2]]}'
    assert "different lengths" in error(ask(WHOLE, model("FLOAT", 3), NPY, reply=ragged), 406)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(('"serving_default"', 200), ('"serving\\u005fdefault"', 200), ('""', 200)),
        *(("5", 200), ("null", 200), ("{}", 200)),  # the model server's to reject
        *(('"other"', 400), ('"a\\"b"', 400)),
    ],
)
def test_the_signature_is_the_requests(ask: Ask, name: str, expected: int) -> None:
    body = f'{{"instances": [1], "signature_name": {name}}}'.encode()
    answer = ask(body, model("FLOAT"), NPY, kind=JSON)
    assert answer.status_code == expected, answer.text
    if expected == 400:
        assert f"no signature {json.loads(name)}, but: serving_default" in error(answer)
