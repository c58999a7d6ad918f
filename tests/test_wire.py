"""The wire format, judged by the golden files."""

from __future__ import annotations

import base64
import json

import pytest
from support.peer import golden

from petbox import wire
from petbox.errors import WireError
from petbox.wire import Detection

JPEG, PNG = golden("picture.jpg"), golden("picture.png")
IN_GOLDEN = [
    Detection(1, 0.987654328, (0.1, 0.2, 0.6, 0.7)),
    Detection(37, 0.5, (0.0, 0.0, 1.0, 1.0)),
    Detection(2, 0.125, (0.25, 0.5, 0.75, 0.875)),
]


def answer(**changes: object) -> bytes:
    """The golden answer about one picture, a value changed or (by `...`) taken out."""
    prediction = json.loads(golden("answer_one.json"))["predictions"][0] | changes
    kept = {name: value for name, value in prediction.items() if value is not ...}
    return json.dumps({"predictions": [kept]}).encode()


def test_a_request_about_one_image_is_the_golden_one() -> None:
    assert wire.request([JPEG]) == golden("request_one.json")


def test_a_request_about_two_images_is_the_golden_one() -> None:
    assert wire.request([JPEG, PNG]) == golden("request_two.json")


def test_a_request_may_name_the_signature() -> None:
    assert wire.request([JPEG], signature="detect") == golden("request_detect.json")


def test_what_is_asked_comes_back_whole() -> None:
    instances = json.loads(wire.request([JPEG, PNG]))["instances"]
    assert [base64.b64decode(one["b64"]) for one in instances] == [JPEG, PNG]


def test_padding_is_not_reported() -> None:
    assert wire.detections(golden("answer_two.json")) == [IN_GOLDEN, []]


def test_names_are_reported_where_the_response_has_them() -> None:
    (found,) = wire.detections(golden("answer_detect.json"))
    assert [one.name for one in found] == ["Abyssinian", "yorkshire_terrier", "american_bulldog"]
    assert [(one.label, one.score, one.box) for one in found] == [
        (one.label, one.score, one.box) for one in IN_GOLDEN
    ]


def test_a_response_about_no_image_is_empty() -> None:
    assert wire.detections(golden("answer_none.json")) == []


def test_nan_and_infinity_are_read_as_tensorflow_serving_writes_them() -> None:
    ((one,),) = wire.detections(golden("answer_nan.json"))
    assert one.score != one.score
    assert one.box[0] == float("-inf")
    assert one.box[2] == float("inf")


def test_a_response_need_not_be_proper_utf8() -> None:
    body = answer(detection_names=["A", "B", "C"]).replace(b'"A"', b'"caf\xe9"')
    assert wire.detections(body)[0][0].name == "caf�"


def test_a_model_may_say_from_which_score_it_trusts_a_class() -> None:
    found = wire.detections(answer(detection_thresholds=[0.25, 0.5, 1]))[0]
    assert [one.threshold for one in found] == [0.25, 0.5, 1.0]
    assert {one.threshold for one in wire.detections(answer())[0]} == {None}


def test_an_error_is_raised_in_the_servers_words() -> None:
    with pytest.raises(WireError, match=r"rejected .*\[is empty or only a few bytes long\]"):
        wire.detections(golden("answer_error.json"))


def test_an_error_is_distinguished_from_other_responses() -> None:
    text = 'Serving signature name: "detect" not found in signature def'
    assert wire.error(golden("answer_no_signature.json")) == text
    assert wire.error(golden("answer_one.json")) is None
    assert wire.error(b"<html>") is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it is empty"),
        (b"<html><h1>502 Bad Gateway</h1></html>", "is not JSON; it starts with: <html><h1>502"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", 'has no list "predictions"'),
        (b'{"predictions": 7}', 'has no list "predictions"'),
        (b'{"predictions": [[0.1, 0.9]]}', r"predictions\[0\] is not an object"),
        (answer(num_detections=...), r'predictions\[0\] has no "num_detections"'),
        (answer(num_detections="3"), r"num_detections is '3', not a number"),
        (answer(num_detections=True), "num_detections is True, not a number"),
        (answer(num_detections=2.5), "num_detections is 2.5, not a whole number"),
        (answer(num_detections=float("nan")), "num_detections is nan, not a whole number"),
        (answer(num_detections=-1), "num_detections is -1"),
        (answer(num_detections=5), "detection_classes has 4 values for 5 detections"),
        (answer(detection_classes=...), 'has no list "detection_classes"'),
        (answer(detection_classes=[1, 2, 1.5]), r"detection_classes\[2\] is 1.5, not a whole"),
        (answer(detection_scores=None), 'has no list "detection_scores"'),
        (answer(detection_scores=[1, "x", 1]), r"detection_scores\[1\] is 'x', not a number"),
        (answer(detection_scores=[1, 10**400, 1]), r"detection_scores\[1\] is too large"),
        (answer(detection_boxes=[[0, 0, 1]] * 3), r"boxes\[0\] is \[0, 0, 1\], not a list of four"),
        (answer(detection_boxes=[[0, 0, 1, {}]] * 3), r"boxes\[0\] is {}, not a number"),
        (answer(detection_names=["A"]), "detection_names has 1 values for 3 detections"),
        (
            answer(detection_thresholds=[1, "a", 1]),
            r"detection_thresholds\[1\] is 'a', not a number",
        ),
        (answer(detection_names=["A", 7, "C"]), r"detection_names\[1\] is 7, not a name"),
    ],
)
def test_a_malformed_response_is_named(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        wire.detections(body)


def test_a_hint_is_part_of_the_error() -> None:
    body = b'{\n    "error": "not of expected type: float",\n    "hint": "takes x (float32 [N])"\n}'
    assert wire.error(body) == "not of expected type: float; takes x (float32 [N])"
