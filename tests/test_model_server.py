"""The embedded model server: TensorFlow Serving's REST API as a function, and its socket."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import LONG, await_port, is_open, png, predict_json, raw, tiny_detector

from petbox.errors import ModelError
from petbox.model_server import answers, json_text
from petbox.model_server.listener import Listener
from petbox.model_server.refusal import Refusal
from petbox.model_server.rest import Answer, respond
from petbox.model_server.signature import Signature
from petbox.model_server.tensors import Tensors, lenient_base64


class Doubler:
    """A model without TensorFlow: twice the numbers, and the strings as they came."""

    name = "model"
    version = 7
    signatures = {  # noqa: RUF012  # never changed
        "serving_default": Signature({"x": "float"}, ["y"], list),
        "echo": Signature({"text": "string"}, ["text"], list),
        "echo_bytes": Signature({"text": "string"}, ["text_bytes"], list),
        "pair": Signature({"a": "int32", "b": "bool"}, ["a", "b"], list),
    }

    def signature(self, name: str) -> Signature:
        if name not in self.signatures:
            raise Refusal(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def run(self, signature: Signature, tensors: Tensors) -> Tensors:
        if "x" in tensors:
            return {"y": tensors["x"] * 2}
        return dict(zip(signature.outputs, tensors.values(), strict=True))


def ask(body: object, path: str = "/v1/models/model:predict", method: str = "POST") -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return respond(Doubler(), method, path, {}, text)


def refused(body: object, status: int = 400) -> str:
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
    wanted = '{\n    "predictions": [\n        {\n            "a": 1,\n            "b": true\n'
    assert answer.body.decode() == wanted + "        }\n    ]\n}"


def test_strings_come_as_text_or_as_base64() -> None:
    for name, wanted in (("echo", "h\0\xe9"), ("echo_bytes", {"b64": "aADDqQ=="})):
        answer = ask({"signature_name": name, "instances": ["h\0\xe9"]})
        assert json.loads(answer.body)["predictions"] == [wanted]


def test_bytes_that_are_no_text_are_copied_raw() -> None:
    body = {"signature_name": "echo", "instances": [{"b64": "/9g="}]}
    assert b'["\xff\xd8"\n' in ask(body).body


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
    assert answers.floating(value) == text


# Requests


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [1,]}', "JSON Parse error: Invalid value. at offset: 17"),
        (b'{"instances": [1e999]}', "Number too big to be stored in double. at offset: 15"),
        (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
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
def test_a_wrong_request_is_refused_in_tensorflow_servings_words(
    body: object, sentence: str
) -> None:
    assert sentence in refused(body)


def test_nan_and_what_follows_the_value_are_taken() -> None:
    answer = ask(b'{"instances": [NaN, -Infinity, Inf]} and more')
    assert answer.body == b'{\n    "predictions": [NaN, -Infinity, Infinity\n    ]\n}'


def test_the_first_of_two_equal_keys_counts() -> None:
    assert b"[2.0\n" in ask(b'{"instances": [1], "instances": [5]}').body


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


def test_a_json_object_quoted_keeps_its_order_and_doubles() -> None:
    value = json_text.parse(b'{"b": [1, 2.5, 1e22], "a": {}, "b": null}')
    wanted = '{\n    "b": [1, 2.5, 1e22],\n    "a": {},\n    "b": null\n}'
    assert json_text.quoted(value) == wanted


# Addresses


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("POST", "/v1/models/model/versions/8:predict", 404, "Specific(model, 8)"),
        ("POST", "/v1/models/model/labels/x:predict", 400, "Unrecognized servable version label"),
        ("POST", "/v1/models/model:predict?a=1", 400, "Malformed request: POST"),
        ("GET", "/v1/models/model:predict", 400, "Malformed request: GET"),
        ("HEAD", "/v1/models/model", 400, "Malformed request: HEAD"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/model/versions/8", 404, "Could not find version 8 of model model"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("POST", "/v1/models/model:classify", 501, "predict requests only"),
    ],
)
def test_a_wrong_address_is_refused(method: str, path: str, status: int, sentence: str) -> None:
    answer = ask({"instances": [1.0]}, path, method)
    assert answer.status == status
    assert sentence in json.loads(answer.body)["error"]


def test_outside_the_api_there_is_only_a_page() -> None:
    answer = ask(b"", "/nothing", "GET")
    assert (answer.status, answer.headers["Connection"]) == (404, "close")
    assert answer.body.startswith(b"<HTML>")


@pytest.mark.parametrize("path", ["/v1/models/model", "/V1/MODELS/model/versions/007"])
def test_status_says_available(path: str) -> None:
    (state,) = json.loads(ask(b"", path, "GET").body)["model_version_status"]
    assert (state["version"], state["state"]) == ("7", "AVAILABLE")


# The socket


@pytest.fixture
def listening() -> Iterator[Listener]:
    with serving(lambda *request: respond(Doubler(), *request)) as listener:
        yield listener


@contextmanager
def serving(answer: Callable[..., Answer]) -> Iterator[Listener]:
    listener = Listener(0)
    assert not is_open(listener.server_port)  # bound, but nobody is let in yet
    thread = threading.Thread(target=listener.serve, args=(answer,))
    thread.start()
    await_port(listener.server_port)
    yield listener
    listener.drain(LONG)
    thread.join()


PREDICT = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\n"


def test_a_connection_is_kept_for_the_next_request(listening: Listener) -> None:
    body = b'{"instances": [1]}'
    one = PREDICT + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert raw(listening.server_port, one + last).count(b"HTTP/1.1 200 OK") == 2


def test_a_chunked_body_is_read(listening: Listener) -> None:
    head = PREDICT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b'f\r\n{"instances": [\r\n3\r\n1]}\r\n0\r\n\r\n'
    assert b"[2.0\n" in raw(listening.server_port, head + chunks)


def test_a_broken_client_harms_no_other(listening: Listener) -> None:
    port = listening.server_port
    with socket.create_connection(("127.0.0.1", port)) as silent:
        for nonsense in (b"\x16\x03\x01\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
            assert b"400" in raw(port, nonsense)
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(PREDICT + b"Content-Length: 100\r\n\r\n{")
        test_a_chunked_body_is_read(listening)
        silent.sendall(b"GET /v1/models/model HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in silent.recv(100)


def test_a_failure_of_ours_is_a_500_and_no_end() -> None:
    def fail(*_: object) -> Answer:
        raise ZeroDivisionError

    with serving(fail) as listener:
        for _ in range(2):
            answer = raw(listener.server_port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert b"500 Internal Server Error" in answer
            assert b'"error": "the model server failed' in answer


def test_draining_waits_for_requests_in_flight() -> None:
    arrived, released = threading.Event(), threading.Event()

    def slow(*_: object) -> Answer:
        arrived.set()
        released.wait(LONG)
        return Answer(200, {}, b"done")

    with (
        serving(slow) as listener,
        socket.create_connection(("127.0.0.1", listener.server_port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert arrived.wait(LONG)
        assert not listener.drain(0.0)
        released.set()
        assert listener.drain(LONG)
        assert b"done" in b"".join(iter(lambda: client.recv(1000), b""))


# The SavedModel, with TensorFlow


def test_a_version_is_loaded_and_warmed_up(tmp_path: Path) -> None:
    from petbox.model_server.model import load
    from petbox.model_server.warmup import warm_up

    tiny_detector(tmp_path / "2")
    (tmp_path / "10").mkdir()
    (tmp_path / "2").rename(tmp_path / "10")
    model, folder = load("model", tmp_path)
    assert model.version == 10
    assert warm_up(model, folder) == 0
    _write_warm_up(folder, [png(4, 3)])
    assert warm_up(model, folder) == 1
    _write_warm_up(folder, [png(4, 3), b"junk"])
    with pytest.raises(ModelError, match=r"warm-up request 1 fails: .*Unknown image file format"):
        warm_up(model, folder)


def _write_warm_up(folder: Path, pictures: list[bytes]) -> None:
    """PredictionLog records as TensorFlow Serving reads them, by the wire format's own rules."""
    from petbox.quiet_tensorflow import tf

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size % 128 + 128])
            size //= 128
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for picture in pictures:
            tensor = tf.make_tensor_proto([picture]).SerializeToString()
            entry = field(1, b"inputs") + field(2, tensor)
            spec = field(1, b"model") + field(3, b"serving_default")
            request = field(1, spec) + field(2, entry)
            writer.write(field(6, field(1, request)))


def test_a_folder_that_is_no_savedmodel_is_refused(tmp_path: Path) -> None:
    from petbox.model_server.model import load

    with pytest.raises(ModelError, match="no version folder"):
        load("model", tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(ModelError, match="not a SavedModel TensorFlow can load"):
        load("model", tmp_path)


def test_pictures_of_different_sizes_share_a_batch(tmp_path: Path) -> None:
    from petbox.model_server.model import load

    model, _ = load("model", tiny_detector(tmp_path / "1").parent)
    body = predict_json(png(3, 9), png(1, 1))
    answer = respond(model, "POST", "/v1/models/model:predict", {}, body)
    first, second = json.loads(answer.body)["predictions"]
    assert first["detection_boxes"] == [[0.1, 0.25, 0.9, 0.75], [0.0] * 4]
    assert second["detection_boxes"] == [[0.5] * 4, [0.0] * 4]


# Against the real TensorFlow Serving's recorded answers


RECORDED = {  # model: where it is, and the files of exchanges
    "half_plus_two": ("from_tfserving_testdata/saved_model_half_plus_two_cpu", "predict"),
    "b64echo": ("b64echo", "b64echo"),
    "dtypes": ("dtypes", "dtypes"),
    "scalars": ("scalars", "scalars"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_answers_are_those_recorded_from_tensorflow_serving(data: Path, name: str) -> None:
    from petbox.model_server.model import load

    source, file = RECORDED[name]
    transcripts = data.parent / "tfs-transcripts"
    model, _ = load(name, transcripts / "models" / source)
    rows = [
        row
        for line in (transcripts / f"{file}.jsonl").read_text().split("\n")
        if line and (row := json.loads(line)).get("model", {}).get("name") == name
    ]
    different = [row["name"] for row in rows if not _same(model, row)]
    assert len(different) <= 0.05 * len(rows), different


def _same(model: Any, row: dict[str, Any]) -> bool:
    request, wanted = row["request"], row["response"]
    body, recorded = _body(request), _body(wanted)
    if body is None or recorded is None:
        return True  # too large to be recorded whole
    answer = respond(model, request["method"], request["path"], {}, body)
    if answer.status != wanted["status"]:
        return False
    if answer.body == recorded or answer.body.decode(errors="replace") in row.get(
        "other_bodies", []
    ):
        return True
    return not row.get("stable", True) and _value(answer.body) == _value(recorded)


def _body(side: dict[str, Any]) -> bytes | None:
    if "body_b64" in side:
        return base64.b64decode(side["body_b64"])
    if "body_gen" in side or "body_sha256" in side:
        return None
    return (side.get("body") or "").encode()


def _value(body: bytes) -> Any:
    text = body.decode("utf-8", "surrogateescape")
    return json.loads(text, parse_constant=lambda constant: f"constant {constant}")
