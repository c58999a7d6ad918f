"""The embedded model server: TensorFlow Serving's REST API as a function, and its socket."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.saved_models import adder
from support.serving import LONG, await_port, is_open, png, predict_json, raw, tiny_detector

from petbox.serving.model_server import examples, json_numbers, json_parser, json_writer, responses
from petbox.serving.model_server.http_server import HttpServer
from petbox.serving.model_server.rest import Response, VersionStatus, respond, with_cors
from petbox.serving.model_server.signature import Signature
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensors import Tensors, lenient_base64


class Doubler:
    """A model without TensorFlow: twice the numbers, and the strings as they came."""

    name = "model"
    version = 7
    signatures = {  # noqa: RUF012  # never changed
        "serving_default": Signature({"x": "float"}, ["y"]),
        "echo": Signature({"text": "string"}, ["text"]),
        "echo_bytes": Signature({"text": "string"}, ["text_bytes"]),
        "pair": Signature({"a": "int32", "b": "bool"}, ["a", "b"]),
        "no_inputs": Signature({}, ["a"]),
        "wide": Signature({"n": "uint64"}, ["n"]),
        "fine": Signature({"d": "double"}, ["d"]),
        "lengths": Signature({"inputs": "string"}, ["outputs"]),
        "labels": Signature({"inputs": "string"}, ["classes", "scores"]),
        "only_labels": Signature({"inputs": "string"}, ["classes"]),
        "numbers": Signature({"inputs": "float"}, ["outputs"], definition="its text"),
        "named_b64": Signature({"b64": "string", "c": "float"}, ["b64", "c"]),
    }

    def definitions(self) -> dict[str, Any]:
        return {"serving_default": {"inputs": {}}}

    def run(self, signature: str, tensors: Tensors) -> Tensors:
        outputs = self.signatures[signature].outputs
        if "x" in tensors:
            return {"y": tensors["x"] * 2}
        if "inputs" in tensors:  # the serialized Examples, reported by their lengths
            lengths = np.array([[len(e)] for e in tensors["inputs"]], np.float32)
            words = np.array([[b"a", b"b"]] * len(lengths), object)
            message = {"outputs": lengths, "classes": words, "scores": np.tile(lengths, 2)}
            return {name: message[name] for name in outputs}
        return dict(zip(outputs, tensors.values(), strict=True))


class OneModel:
    """All that is served: `model`, version 7, which is also called `stable`; 6 has ended."""

    def find(self, name: str, version: int | None, label: str | None) -> Doubler:
        if label not in (None, "stable"):
            raise StatusError(f"Unrecognized servable version label: {label}")
        if name != "model" or version not in (None, 7):
            raise StatusError(f"Servable not found for request: {name} {version}", "NOT_FOUND")
        return Doubler()

    def states(self, name: str, version: int | None) -> list[VersionStatus]:
        known = [VersionStatus(7, "AVAILABLE"), VersionStatus(6, "END", "DATA_LOSS", "why <b>")]
        found = [status for status in known if version in (None, status.version)]
        if name != "model" or not found:
            raise StatusError(f"Could not find any versions of model {name}", "NOT_FOUND")
        return found


def ask(
    body: object, path: str = "/v1/models/model:predict", method: str = "POST", **headers: str
) -> Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return respond(OneModel(), method, path, headers, text)


def rejected(body: object, status: int = 400) -> str:
    answer = ask(body)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    return str(json.loads(answer.body)["error"])


# Answers


def test_rows_are_written_on_one_line() -> None:
    assert ask({"instances": [1.0, 2.5]}).body == b'{\n    "predictions": [2.0, 5.0\n    ]\n}'


def test_columns_are_written_a_number_a_line() -> None:
    answer = ask({"inputs": {"x": [1.0, 2.5]}})
    assert answer.body == b'{\n    "outputs": [\n        2.0,\n        5.0\n    ]\n}'


def test_several_outputs_are_objects() -> None:
    answer = ask({"signature_name": "pair", "instances": [{"a": 1, "b": True}]})
    expected = '{\n    "predictions": [\n        {\n            "a": 1,\n            "b": true\n'
    assert answer.body.decode() == expected + "        }\n    ]\n}"


def test_strings_come_as_text_or_as_base64() -> None:
    for name, expected in (("echo", "h\0\xe9"), ("echo_bytes", {"b64": "aADDqQ=="})):
        answer = ask({"signature_name": name, "instances": ["h\0\xe9"]})
        assert json.loads(answer.body)["predictions"] == [expected]


def test_bytes_that_are_no_text_are_copied_raw() -> None:
    body = {"signature_name": "echo", "instances": [{"b64": "/9g="}]}
    assert b'["\xff\xd8"\n' in ask(body).body
    alone = b'{"signature_name": "echo", "instances": ["\\udc00"]}'
    assert b'["\xed\xb0\x80"\n' in ask(alone).body
    assert b'model \xff"' in ask(b"", "/v1/models/%FF", "GET").body


def test_rows_that_end_in_zeros_are_written_whole() -> None:
    zeros = [[0.0, 0.0]] * 40
    for row in ([[3.0, 3.0], [0.0, 0.0], [5.0, 0.0]], [[-0.0, -0.0]], [[0.0, 1.0]], []):
        for rows in ([row + zeros], [[[1.0, 1.0]] * len(row + zeros), row + zeros]):
            answer = ask({"signature_name": "fine", "instances": rows}).body
            assert json.loads(answer)["predictions"] == rows
            assert answer.count(b"-0.0") == str(rows).count("-0.0")


def test_base64_is_indented_as_deep_as_its_list() -> None:
    answer = ask({"signature_name": "echo_bytes", "instances": [["a"]]})
    text = '[[{\n                "b64": "YQ=="\n            }]\n    ]'
    assert answer.body.decode() == f'{{\n    "predictions": {text}\n}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(3), "3.0"),
        (np.float32(0.1), "0.1"),
        (np.float32(1) / 3, "0.333333343"),
        (np.float32(1e6), "1e+06"),
        (np.float32(1234567), "1234567.0"),
        (np.float64(1) / 3, "0.33333333333333331"),
        (np.float32(-0.0), "-0.0"),
        (np.float32(1e-45), "0.0"),
        (np.float32("inf"), "Infinity"),
        (np.float64("nan"), "NaN"),
    ],
)
def test_floats_have_the_digits_they_need(value: np.floating[Any], text: str) -> None:
    assert written(np.array([value])) == [text]
    # Written together with so many others that NumPy is worth its while.
    others = np.arange(responses.FEW, dtype=value.dtype) + value.dtype.type(0.5)
    assert written(np.array([value, *others]))[0] == text


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_are_the_same_alone_and_among_many(kind: str) -> None:
    rng = np.random.default_rng(1)
    spread = rng.normal(size=2000) * 10.0 ** rng.integers(-40, 38, 2000)
    bits = rng.integers(0, 2**64, 2000, np.uint64).view(kind)
    for values in (spread.astype(kind), np.round(spread, 3).astype(kind), bits):
        alone = [text for at in range(len(values)) for text in written(values[at : at + 1])]
        assert written(values) == alone


def written(values: np.ndarray[Any, Any]) -> list[str]:
    return responses.values(values).decode().split("[")[1].split("]")[0].split(", ")


# Requests


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [1,]}', "JSON Parse error: Invalid value. at offset: 17"),
        (b'{"instances": [1e999]}', "Number too big to be stored in double. at offset: 15"),
        (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"instances": [Infinit]}', "Invalid value. at offset: 22"),
        (b"\xef\xbb\xbf{", "Missing a name for object member. at offset: 4"),
        (b"1.", "Miss fraction part in number. at offset: 2"),
        (b"[NaN, 1]", "JSON Value: [ Is not object"),
        ([1.0], "JSON Value: [1.0] Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": 1}, "Expecting 'instances' to be an list/array"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances' keys"),
        ({"instances": ["a"]}, 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"instances": [[1, 2], [3]]}, "Expecting tensor size: 2 but got: 1"),
        ({"instances": [{"z": 1}]}, "does not have named input: z"),
        ({"inputs": {"z": 1}}, "Missing named input: x in 'inputs' object."),
        ({"signature_name": 5}, "'signature_name' key must be a string value."),
        ({"signature_name": "no", "instances": [1]}, '"no" not found in signature def'),
        (
            {"signature_name": "echo", "instances": [{"b64": "a"}]},
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Unable to base64 decode",
        ),
        (
            {"signature_name": "pair", "instances": [{"a": 1}]},
            'JSON object: {\n    "a": 1\n} keys must be equal to: a,b',
        ),
        ({"signature_name": "pair", "instances": [1]}, "instances is a plain list, but expecting"),
    ],
)
def test_a_wrong_request_is_rejected_in_tensorflow_servings_words(
    body: object, sentence: str
) -> None:
    assert sentence in rejected(body)


def test_nan_and_what_follows_the_value_are_taken() -> None:
    answer = ask(b'{"instances": [NaN, -Infinity, Inf]} and more')
    assert answer.body == b'{\n    "predictions": [NaN, -Infinity, Infinity\n    ]\n}'


def test_the_first_of_two_equal_keys_counts() -> None:
    assert b"[2.0\n" in ask(b'{"instances": [1], "instances": [5]}').body


def test_a_name_that_a_row_has_twice_counts_once() -> None:
    rows = b'[{"a": 1, "a": 2, "b": true}, {"a": 3, "b": false}]'
    answer = ask(b'{"signature_name": "pair", "instances": ' + rows + b"}")
    expected = [{"a": 1, "b": True}, {"a": 2, "b": False}]  # of 1, 2, 3 the first two
    assert json.loads(answer.body)["predictions"] == expected


def test_a_value_too_deep_to_be_quoted_whole_is_quoted_in_part() -> None:
    for depth in (500, 100_000):
        assert "JSON Value: [[[[" in rejected(b"[" * depth + b"]" * depth)
    assert len(rejected(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)) < 10**7


def test_nesting_deeper_than_pythons_is_read() -> None:
    depth = 100_000
    body = b'{"ignored": ' + b"[" * depth + b"]" * depth + b', "instances": [1]}'
    assert ask(body).status == 200


@pytest.mark.parametrize(
    ("text", "data"),
    [("aGk=", b"hi"), ("aGk", b"hi"), ("a G\nk.", b"hi"), ("", b""), ("/+/+", b"\xff\xef\xfe")],
)
def test_base64_is_read_leniently(text: str, data: bytes) -> None:
    assert lenient_base64(text) == data


@pytest.mark.parametrize("text", ["aGk==", "a", "====", "_-_-", "data:,aGk=", "aGkø"])
def test_base64_is_not_read_as_what_it_is_not(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the sentence is never shown
        lenient_base64(text)


@pytest.mark.parametrize(
    "written",
    [
        '{"instances": [{"b64": %s}]}',
        '{"signature_name": "echo_bytes", "inputs": {"b64": %s}}',
        ' {"signature_name": "echo", "instances": [%s]} "b64": %s',
        '{"signature_name": "echo", "instances": [{"b64" :%s}, {"b64":\\n%s}]}',
        '{"signature_name": "echo", "instances": [{"b64": %s, "b64": %s}]}',
        '{"signature_name": "echo", "instances": {"b64": %s}}',
        '{"signature_name": "named_b64", "instances": [{"b64": %s, "c": 1}]}',
        '{"signature_name": "named_b64", "instances": [{"c": {"b64": %s}, "b64": 1}]}',
        '{"signature_name": "pair", "instances": [{"a": 1, "b64": %s}]}',
        '{"signature_name": {"b64": %s}, "instances": [1]}',
        '{"b64": %s',
        '{"instances": [\x7f, {"b64": %s}]}',
        '{"signature_name": "echo", "instances": ["\x7f7", {"b64": %s}]}',
        '{"signature_name": "echo", "instances": [{"b64": %s}, "\\u00e4"]}',
        '\xef\xbb\xbf{"signature_name": "echo", "instances": [{"b64": %s}]',
    ],
)
@pytest.mark.parametrize("held", ["YWJj", "YWJj-", "YW Jj", "YQ"])
def test_an_image_is_parsed_faster_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch, written: str, held: str
) -> None:
    body = written.encode("latin-1").replace(b"%s", f'"{held}"'.encode())
    monkeypatch.setattr(json_parser, "MIN_IMAGE", 4)
    sooner = ask(body)
    monkeypatch.setattr(json_parser, "MIN_IMAGE", 10**6)
    assert sooner == ask(body)


@pytest.mark.parametrize("path", ["classify", "regress"])
@pytest.mark.parametrize("example", ['{"b64": %s}', '{"b64": %s, "c": 1}', '{"c": {"b64": %s}}'])
def test_an_image_in_an_example_is_parsed_faster_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch, path: str, example: str
) -> None:
    name = {"classify": "labels", "regress": "lengths"}[path]
    body = f'{{"signature_name": "{name}", "examples": [{example}]}}' % '"YWJj"'
    responses = []
    for image in (4, 10**6):
        monkeypatch.setattr(json_parser, "MIN_IMAGE", image)
        responses.append(ask(body.encode(), f"/v1/models/model:{path}"))
    assert responses[0] == responses[1] and responses[0].status == 200


def test_a_json_object_quoted_keeps_its_order_and_doubles() -> None:
    value = json_parser.parse(b'{"b": [1, 2.5, 1e22], "a": {}, "b": null}')
    expected = '{\n    "b": [1, 2.5, 1e22],\n    "a": {},\n    "b": null\n}'
    assert json_writer.quoted(value) == expected
    value = json_parser.parse(b'[{"b": 1}, 2]')
    assert json_writer.quoted(value) == '[{\n        "b": 1\n    }, 2]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e21, "1e21"),
        (-123e18, "-123000000000000000000.0"),
        (0.00001, "0.00001"),
        (0.0000001, "1e-7"),
        (5e-324, "5e-324"),
        (2.0**64, "18446744073709553000.0"),
        (1.0936738342850072, "1.0936738342850073"),  # the same double, but not the nearest text
        (9.5367431640625e-7, "9.5367431640625e-7"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
    ],
)
def test_a_double_quoted_has_rapidjsons_digits(value: float, text: str) -> None:
    assert json_writer.double(value) == text
    assert float(text) == value


def test_doubles_are_quoted_as_what_they_are() -> None:
    for bits in np.random.default_rng(0).integers(0, 2**63 - 2**52, 2000):
        value = float(np.int64(bits).view(np.float64))
        assert float(json_writer.double(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("-0.0", -0.0),
        ("1e2", 100.0),
        ("123456789.123456789", 123456789.12345681),  # the nearest ends in 79
        ("0.30000001192092896", 0.30000001192092896),
        ("12345678901234567890123", 1.2345678901234568e22),
        (
            "-98156482461729453748051076",
            float.fromhex("-0x1.44c5c64e42e93p+86"),
        ),  # the nearest: ..90
        ("1.8e308", float("inf")),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("0.00000000000000000000000000000000000000000001e44", 1.0),
    ],
)
def test_numbers_are_read_as_rapidjson_reads_them(text: str, value: float) -> None:
    read = json_numbers.double(text)
    assert (read, str(read)) == (value, str(value))


def test_a_number_too_large_for_64_bits_is_a_double() -> None:
    assert [json_numbers.integer(t) for t in ("18446744073709551615", "-9223372036854775808")] == [
        2**64 - 1,
        -(2**63),
    ]
    for text in ("18446744073709551616", "-9223372036854775809", "9" * 300):
        assert isinstance(json_numbers.integer(text), float)
    assert rejected(b'{"inputs": ' + b"9" * 309 + b"}").endswith("stored in double. at offset: 11")


def test_most_numbers_are_read_exactly() -> None:
    for value in np.random.default_rng(0).random(2000).round(12):
        assert json_numbers.double(f"{value:.12f}") == float(f"{value:.12f}")


def test_whole_numbers_are_passed_in_full() -> None:
    answer = ask({"signature_name": "wide", "instances": [2**64 - 1, 2**53 + 1]})
    assert json.loads(answer.body)["predictions"] == [2**64 - 1, 2**53 + 1]


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate, gzip"])
def test_a_gzip_body_is_unpacked(name: str) -> None:
    body = gzip.compress(b'{"instances": [1]}')
    assert b"[2.0\n" in ask(body, content_encoding=name).body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}") + b"more",
        gzip.compress(b"{}") * 2,
        gzip.compress(b" " * (100 * 2**20 + 1), 1),
    ],
    ids=["empty", "other", "cut", "followed", "twice", "bomb"],
)
def test_a_gzip_body_that_is_none_is_empty(body: bytes) -> None:
    answer = ask(body, content_encoding="gzip")
    assert answer.status == 400
    assert b"JSON Parse error: The document is empty" in answer.body


# Classify and regress


def infer(verb: str, body: object) -> Response:
    return ask(body, f"/v1/models/model:{verb}")


def test_a_regression_is_a_list_of_numbers() -> None:
    body = {"signature_name": "lengths", "examples": [{}, {"a": 1.5}]}
    # {"a": 1.5}: an Example of Features of an entry of a name and a Feature of a list of a float
    assert infer("regress", body).body == b'{\n    "results": [2.0, 17.0]\n}'


def test_a_classification_is_a_list_of_labels_with_scores() -> None:
    answer = infer("classify", {"signature_name": "labels", "examples": [{}]})
    assert answer.body == b'{\n    "results": [[["a", 2.0], ["b", 2.0]]\n    ]\n}'
    answer = infer("classify", {"signature_name": "only_labels", "examples": [{}]})
    assert answer.body == b'{\n    "results": [[["a", 0.0], ["b", 0.0]]\n    ]\n}'


def test_examples_are_what_tensorflow_reads() -> None:
    from petbox.tf import tf

    shared = {"word": "of the context", "other": [1.5, -2.5]}
    given = {"word": ["é", {"b64": "/9g="}], "count": [1, True, -1], "none": [], "x": 1e300}
    document = json_parser.parse(json.dumps({"context": shared, "examples": [given, {}]}).encode())
    first, second = map(tf.train.Example.FromString, examples.from_document(document))
    features = first.features.feature
    assert list(features["word"].bytes_list.value) == ["é".encode(), b"\xff\xd8"]
    assert list(features["other"].float_list.value) == [1.5, -2.5]
    assert list(features["count"].int64_list.value) == [1, 1, -1]
    assert features["none"].WhichOneof("kind") is None
    assert list(features["x"].float_list.value) == [float("inf")]
    assert list(second.features.feature["word"].bytes_list.value) == [b"of the context"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "Missing a name for object member"),
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": []}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": {"b": 1}}]}, "a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, 1.5]}]}, "Unexpected element type in feature: a expecting type:"),
        ({"examples": [{"a": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"examples": [{"a": 2**63}]}, "a has uint64_t element. Only int64_t is supported."),
        ({"examples": [{}], "signature_name": "no"}, "No signature was found with the name: no"),
        ({"examples": [{}], "signature_name": "pair"}, "Expected one input Tensor."),
        ({"examples": [{}]}, "found in SignatureDef"),
        ({"examples": [{}], "signature_name": "echo"}, "found in SignatureDef"),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_a_wrong_classification_or_regression_is_rejected(
    verb: str, body: object, sentence: str
) -> None:
    answer = infer(verb, body)
    assert answer.status == 400
    assert sentence in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("verb", "name", "sentence"),
    [
        ("regress", "labels", "Expected one output Tensor."),
        ("regress", "only_labels", "No regression outputs found in SignatureDef: "),
        ("regress", "numbers", "Expects arg[0] to be float but string is provided"),
        ("classify", "numbers", 'at least one of "classes" or "scores". Signature was: its text'),
    ],
)
def test_a_signature_for_something_else_is_rejected(verb: str, name: str, sentence: str) -> None:
    answer = infer(verb, {"signature_name": name, "examples": [{}]})
    assert answer.status == 400
    assert sentence in json.loads(answer.body)["error"]


# Addresses


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: other"),
        ("POST", "/v1/models/model/versions/8:predict", 404, "request: model 8"),
        ("POST", "/v1/models/m%C3%A9%2F:predict", 404, "request: mé/ None"),
        ("POST", "/v1/models/model/labels/x:predict", 400, "Unrecognized servable version label"),
        ("POST", "/v1/models/model:predict?a=1", 400, "Malformed request: POST"),
        ("GET", "/v1/models/model:predict", 400, "Malformed request: GET"),
        ("HEAD", "/v1/models/model", 400, "Malformed request: HEAD"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/model?a=1", 404, "Could not find any versions of model model?a=1"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/model/metadata/", 400, "Malformed request: GET"),
        ("GET", "/v1/models/model/labels/no/metadata", 400, "Unrecognized servable version label"),
        ("POST", "/v1/models/model:PREDICT", 400, "Malformed request: POST"),
        ("POST", "/v1/models/model/versions/-1:predict", 400, "Malformed request: POST"),
    ],
)
def test_a_wrong_address_is_rejected(method: str, path: str, status: int, sentence: str) -> None:
    answer = ask({"instances": [1.0]}, path, method)
    assert answer.status == status
    assert sentence in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("*", 404),
        ("v1/models/model", 404),
        ("//v1/models/model", 404),
        ("/v1/models/half%ZZ", 400),
        ("/v1/models/a|b", 400),
        ("/v1/models/é", 400),
        ("/v1/models/model#a#b", 400),
    ],
)
def test_outside_the_api_there_is_only_a_page(path: str, status: int) -> None:
    answer = ask(b"", path, "GET")
    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert answer.body.startswith(b"<HTML>")


@pytest.mark.parametrize(
    "path", ["/v1/models/model", "/v1/models/model/labels/whatever", "http://x/v1/models/model"]
)
def test_status_tells_of_all_versions(path: str) -> None:
    answer = ask(b"", path, "GET")
    assert [
        (s["version"], s["state"], s["status"]["error_code"])
        for s in json.loads(answer.body)["model_version_status"]
    ] == [("7", "AVAILABLE", "OK"), ("6", "END", "DATA_LOSS")]
    assert b'"error_message": "why \\u003cb\\u003e"' in answer.body
    assert answer.headers.get("Connection") == ("close" if path.startswith("http") else None)


def test_status_tells_of_one_version() -> None:
    (state,) = json.loads(ask(b"", "/V1/MODELS/model/versions/007", "GET").body)[
        "model_version_status"
    ]
    assert (state["version"], state["state"]) == ("7", "AVAILABLE")


@pytest.mark.parametrize("version", ["9223372036854775808", "1" * 5000])
@pytest.mark.parametrize(("method", "verb"), [("GET", ""), ("POST", ":predict")])
def test_a_version_no_number_holds_gets_no_words(version: str, method: str, verb: str) -> None:
    answer = ask(b"{", f"/v1/models/model/versions/{version}{verb}", method)
    assert (answer.status, answer.body) == (400, b"")


def test_metadata_is_two_texts_pasted_together() -> None:
    answer = ask(b"", "/v1/models/model/labels/stable/metadata", "GET")
    assert answer.body.decode() == (
        '{\n"model_spec":{\n "name": "model",\n "version": "7",\n "signature_name": ""\n}\n,\n'
        '"metadata": {"signature_def": {\n "signature_def": {\n  "serving_default": {\n'
        '   "inputs": {}\n  }\n }\n}\n}\n}\n'
    )
    assert json.loads(answer.body)["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("origin", "status"), [("http://a", 200), ("https://a", 200), ("null", 400), ("", 400)]
)
def test_options_are_answered_to_other_origins(origin: str, status: int) -> None:
    answer = ask(b"", method="OPTIONS", origin=origin)
    assert (answer.status, answer.body) == (status, b"")


def test_cors_is_for_the_api_alone() -> None:
    for path, allowed in (("/v1/models/no", "*"), ("http://x/v1/", "*"), ("/nothing", None)):
        answer = with_cors(ask(b"", path, "GET"))
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


# The socket


@pytest.fixture
def listening() -> Iterator[HttpServer]:
    with serving(lambda *request: respond(OneModel(), *request)) as listener:
        yield listener


@contextmanager
def serving(answer: Callable[..., Response]) -> Iterator[HttpServer]:
    listener = HttpServer(0)
    assert not is_open(listener.port)  # bound, but not listening yet
    listener.server_activate()
    thread = threading.Thread(target=listener.serve, args=(answer,))
    thread.start()
    await_port(listener.port)
    yield listener
    listener.drain(LONG)
    thread.join()


PREDICT = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\n"


def test_a_connection_is_kept_for_the_next_request(listening: HttpServer) -> None:
    body = b'{"instances": [1]}'
    one = PREDICT + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert raw(listening.port, one + last).count(b"HTTP/1.1 200 OK") == 2


def test_a_chunked_body_is_read(listening: HttpServer) -> None:
    head = PREDICT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b'f\r\n{"instances": [\r\n3\r\n1]}\r\n0\r\n\r\n'
    assert b"[2.0\n" in raw(listening.port, head + chunks)


def test_a_broken_client_harms_no_other(listening: HttpServer) -> None:
    port = listening.port
    with socket.create_connection(("127.0.0.1", port)) as silent:
        for nonsense in (b"\x16\x03\x01\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
            assert b"400" in raw(port, nonsense)
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(PREDICT + b"Content-Length: 100\r\n\r\n{")
        test_a_chunked_body_is_read(listening)
        silent.sendall(b"GET /v1/models/model HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in silent.recv(100)


def test_a_failure_of_ours_is_a_500_and_no_end() -> None:
    def fail(*_: object) -> Response:
        raise ZeroDivisionError

    with serving(fail) as listener:
        for _ in range(2):
            answer = raw(listener.port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert b"500 Internal Server Error" in answer
            assert b'"error": "the model server failed' in answer


def test_draining_waits_for_requests_in_flight() -> None:
    arrived, released = threading.Event(), threading.Event()

    def slow(*_: object) -> Response:
        arrived.set()
        released.wait(LONG)
        return Response(200, {}, b"done")

    with (
        serving(slow) as listener,
        socket.create_connection(("127.0.0.1", listener.port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert arrived.wait(LONG)
        assert not listener.drain(0.0)
        released.set()
        assert listener.drain(LONG)
        assert b"done" in b"".join(iter(lambda: client.recv(1000), b""))


def test_a_slow_request_delays_no_other() -> None:
    arrived, released = threading.Event(), threading.Event()

    def slow(method: str, *_: object) -> Response:
        if method == "POST":
            arrived.set()
            released.wait(LONG)
        return Response(200, {}, b"done")

    with (
        serving(slow) as listener,
        socket.create_connection(("127.0.0.1", listener.port)) as client,
    ):
        client.sendall(PREDICT + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        assert arrived.wait(LONG)
        for _ in range(20):
            quick = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
            assert raw(listener.port, quick).endswith(b"done")
        released.set()
        assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(b"done")


def test_a_client_that_expects_100_continue_gets_it(listening: HttpServer) -> None:
    body = b'{"instances": [1]}'
    with socket.create_connection(("127.0.0.1", listening.port)) as client:
        client.sendall(PREDICT + b"Expect: 100-continue\r\nContent-Length: 18\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert b"200 OK" in client.recv(1000)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"FOO / HTTP/1.1\r\n", 501),
        (b"get / HTTP/1.1\r\n", 501),
        (b"TRACE / HTTP/1.1\r\n", 501),
        (b"GET / HTTP/x.y\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 400),
        (b"GET /\r\n", 400),
        (b"hello world\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n", 400),
        (b"POST / HTTP/1.1\r\nExpect: 200-ok\r\n", 417),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 2\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
    ],
)
def test_malformed_http_is_rejected_and_the_connection_closed(
    listening: HttpServer, head: bytes, status: int
) -> None:
    answer = raw(listening.port, head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_head_gets_no_body_that_would_be_taken_for_the_next_answer(listening: HttpServer) -> None:
    head = b"HEAD /v1/models/model HTTP/1.1\r\nHost: x\r\n"
    responses = raw(listening.port, head + b"\r\n" + head + b"Connection: close\r\n\r\n")
    assert responses.count(b"HTTP/1.1 400 Bad Request") == 2
    assert b"error" not in responses


def test_an_old_client_may_keep_its_connection(listening: HttpServer) -> None:
    one = b"GET /v1/models/model HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    responses = raw(listening.port, one + one.replace(b"keep-alive", b"close"))
    assert responses.count(b"200 OK") == 2
    assert b"Connection: keep-alive\r\n" in responses


# The SavedModel, with TensorFlow


def test_a_version_is_warmed_up(tmp_path: Path) -> None:
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow
    from petbox.serving.model_server.warmup import warm_up

    folder = tiny_detector(tmp_path / "10")
    model = load("model", 10, folder, TensorFlow())
    assert warm_up(model, folder) == 0
    _write_warm_up(folder, [png(4, 3)])
    assert warm_up(model, folder) == 1
    _write_warm_up(folder, [png(4, 3), b"junk"])
    with pytest.raises(StatusError, match=r"(?s)Unknown image file format.* \(warm-up request 1\)"):
        warm_up(model, folder)


def test_only_a_model_that_comes_later_yields_to_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox.serving.model_server import __main__ as program
    from petbox.serving.model_server import background
    from petbox.serving.model_server.flags import Flags

    folder = adder(tmp_path / "1", 1.0, warmup=[np.ones(2, np.float32)])
    yielded: list[bool] = []
    monkeypatch.setattr(background, "run", lambda _works, _at_once, yields: yielded.append(yields))
    load = program._loader(Flags(), is_asked=lambda: bool(yielded))
    load("first", 1, folder)
    load("later", 1, folder)
    assert yielded == [False, True]


def _field(number: int, content: bytes) -> bytes:
    """A field of a message, by protobuf's own rules."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size % 128 + 128])
        size //= 128
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _write_warm_up(folder: Path, images: list[bytes]) -> None:
    """PredictionLog records as TensorFlow Serving reads them."""
    from petbox.tf import tf

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            tensor = tf.make_tensor_proto([image]).SerializeToString()
            entry = _field(1, b"inputs") + _field(2, tensor)
            spec = _field(1, b"model") + _field(3, b"serving_default")
            writer.write(_field(6, _field(1, _field(1, spec) + _field(2, entry))))


def test_classify_and_regress_requests_warm_up_too(tmp_path: Path) -> None:
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow
    from petbox.serving.model_server.warmup import warm_up
    from petbox.tf import tf

    folder = adder(tmp_path / "1", 1.0)
    model = load("model", 1, folder, TensorFlow())
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    (example,) = examples.from_document(json_parser.parse(b'{"examples": [{"x": 1.5}]}'))
    for kind, works in ((1, True), (2, False)):  # classify, regress, which has one output too many
        entries = _field(2, _field(1, _field(1, example)))
        request = _field(1, _field(3, b"classify")) + entries
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(_field(kind, _field(1, request)))
        if works:
            assert warm_up(model, folder) == 1
        else:
            with pytest.raises(StatusError, match="Expected one output Tensor"):
                warm_up(model, folder)


def test_a_call_that_takes_too_long_is_cut(tmp_path: Path) -> None:
    from petbox.serving.model_server.engine import EngineOptions
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow

    model = load("model", 1, adder(tmp_path / "1", 1.0), TensorFlow(EngineOptions(timeout_ms=50)))
    with pytest.raises(StatusError) as raised:
        model.run("slow", {"n": np.array([10**9])})
    assert (raised.value.status, raised.value.message) == (
        504,
        "Timed out waiting for notification",
    )


def test_other_tags_than_the_models_are_rejected(tmp_path: Path) -> None:
    from petbox.serving.model_server.engine import EngineOptions
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow

    with pytest.raises(StatusError, match=r"NOT_FOUND: Could not find meta graph def .* \{ gpu \}"):
        load("model", 1, adder(tmp_path / "1", 1.0), TensorFlow(EngineOptions(tags=("gpu",))))


def test_images_of_different_sizes_share_a_batch(tmp_path: Path) -> None:
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow

    class Detector(OneModel):
        model = load("model", 1, tiny_detector(tmp_path / "1"), TensorFlow())

        def find(self, *_: object) -> Any:
            return self.model

    body = predict_json(png(3, 9), png(1, 1))
    answer = respond(Detector(), "POST", "/v1/models/model:predict", {}, body)
    first, second = json.loads(answer.body)["predictions"]
    assert first["detection_boxes"] == [[0.1, 0.25, 0.9, 0.75], [0.0] * 4]
    assert second["detection_boxes"] == [[0.5] * 4, [0.0] * 4]
