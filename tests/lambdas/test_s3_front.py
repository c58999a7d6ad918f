"""What the S3 front makes of images that arrive."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from support.lambda_runtime import Function, event
from support.s3_shop import JPEG, Shop, kept, messages, of


def test_an_image_gets_its_result(shop: Shop, front: Function) -> None:
    assert front({"Records": [shop.arrives("in/cat.jpg")]}) is None
    assert shop.keys() == ["results/in/cat.jpg.json"]
    result = shop.result("in/cat.jpg")
    assert result["picture"] == f"s3://{shop.bucket}/in/cat.jpg"
    assert result["class"] == "Abyssinian" and result["confidence"] == 0.987654328
    assert [one["label"] for one in result["detections"]] == ["Abyssinian", "yorkshire_terrier"]
    with Image.open(io.BytesIO(JPEG)) as image:
        assert (result["width"], result["height"]) == image.size
    assert not shop.given_up()


def test_keys_are_understood_as_s3_writes_them(shop: Shop, front: Function) -> None:
    keys = ["in/my cat+dog.jpg", "in/Käthe 100%.jpg", "in/a/b=c&d.jpg", "in/猫.jpg"]
    front({"Records": [shop.arrives(key) for key in keys]})
    assert set(shop.keys()) == {f"results/{key}.json" for key in keys}


def test_every_record_is_handled_and_a_bad_one_harms_no_other(shop: Shop, front: Function) -> None:
    records = [
        shop.arrives("in/1.jpg"),
        shop.arrives("in/broken.jpg", b"not an image"),
        shop.arrives("in/2.jpg"),
    ]
    front({"Records": records})
    assert "detections" in shop.result("in/1.jpg") and "detections" in shop.result("in/2.jpg")
    ((reason, body),) = shop.given_up()
    assert "in/broken.jpg: cannot be decoded" in reason
    assert json.loads(body) == {"Records": [records[1]], "reason": reason}
    assert shop.result("in/broken.jpg")["error"] == reason
    assert '"ERROR"' not in front.log(), "what serverless/canary.yaml counts"


def test_a_batch_of_messages_is_handled_message_by_message(shop: Shop, front: Function) -> None:
    response = front(
        messages(
            of(shop.arrives("in/1.jpg"), shop.arrives("in/2.jpg")),
            of(shop.arrives("in/broken.jpg", b"no")),
            json.dumps(event("s3_test")),
            "nonsense",
            of(shop.arrives("in/3.jpg")),
        )
    )
    assert kept(response) == []
    assert len(shop.keys()) == 4
    reasons = sorted(reason for reason, _ in shop.given_up())
    assert len(reasons) == 2
    assert reasons[0] == "not an event from S3" and "cannot be decoded" in reasons[1]
    assert '"ERROR"' not in front.log()


def test_a_replaced_image_gets_the_newer_images_result(shop: Shop, front: Function) -> None:
    shop.keep_versions()
    old = shop.arrives("in/cat.jpg")
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    new = shop.arrives("in/cat.jpg", file.getvalue())
    front({"Records": [old]})
    assert not shop.keys()
    front({"Records": [new, old]})
    assert shop.result("in/cat.jpg")["width"] == 30
    front({"Records": [shop.arrives("in/cat.jpg")]})
    assert shop.result("in/cat.jpg")["width"] == 24


def test_every_odd_image_has_a_result_at_the_first_attempt(
    shop: Shop, front: Function, data: Path
) -> None:
    files = {path.name: path.read_bytes() for path in sorted((data / "odd_images").iterdir())}
    files |= {
        "empty file.jpg": b"",
        "IMG_1.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    }
    bodies = [of(shop.arrives(f"in/odd/{name}", content)) for name, content in files.items()]
    for start in range(0, len(bodies), 5):
        assert kept(front(messages(*bodies[start : start + 5]))) == []
    results = {name: shop.result(f"in/odd/{name}") for name in files}
    assert results["hopper.gif"]["detections"] and results["Portrait_6.jpg"]["detections"]
    failed = {name: result["error"] for name, result in results.items() if "error" in result}
    assert "is empty" in failed["empty file.jpg"]
    assert failed["IMG_1.HEIC"].endswith("is not supported; send it as JPEG")
    assert "cannot be decoded" in failed["expected.json"]
    assert sorted(reason for reason, _ in shop.given_up()) == sorted(failed.values())


def test_the_longest_key_has_a_result_and_a_longer_one_a_dead_letter(
    shop: Shop, front: Function
) -> None:
    longest = "in/" + "ü" * 504  # 1,011 bytes, of the result 1,024
    records = [shop.arrives(longest), shop.arrives(longest + "x")]
    assert kept(front(messages(*[of(record) for record in records]))) == []
    assert shop.keys() == [f"results/{longest}.json"]
    ((reason, _),) = shop.given_up()
    assert "the key of its result would have 1025 bytes" in reason


def test_results_and_what_lies_elsewhere_trigger_nothing(shop: Shop, front: Function) -> None:
    records = [shop.arrives(key) for key in ("results/in/cat.jpg.jpg", "elsewhere.jpg", "in/a/")]
    front({"Records": records})
    assert shop.keys() == ["results/in/cat.jpg.jpg"]
    assert not shop.endpoint.requests and not shop.given_up()


def test_an_image_that_is_gone_is_skipped(shop: Shop, front: Function) -> None:
    shop.keep_versions()
    removed = shop.arrives("in/gone.jpg")
    shop.s3.delete_object(Bucket=shop.bucket, Key="in/gone.jpg")  # leaves a marker
    front({"Records": [removed]})
    assert not shop.keys() and not shop.given_up()


def test_the_drawn_image_is_written_on_request(shop: Shop) -> None:
    with shop.front(DRAW="true") as front:
        front({"Records": [shop.arrives("in/cat.jpg")]})
    assert shop.keys() == ["results/in/cat.jpg.jpg", "results/in/cat.jpg.json"]
    drawn = shop.s3.get_object(Bucket=shop.bucket, Key="results/in/cat.jpg.jpg")
    assert drawn["ContentType"] == "image/jpeg"
    with Image.open(io.BytesIO(drawn["Body"].read())) as image:
        assert image.format == "JPEG"


def test_without_a_dead_letter_queue_nothing_is_dropped(shop: Shop) -> None:
    gone = shop.dead_letters + "-gone"
    with shop.front(DEAD_LETTER_URL=gone) as front:
        record = shop.arrives("in/broken.jpg", b"no")
        assert kept(front(messages(of(record), of(shop.arrives("in/cat.jpg")), count=8))) == [
            "message-0"
        ]
        good = shop.arrives("in/dog.jpg")
        assert "errorType" in front({"Records": [record, good]})
    assert {"results/in/cat.jpg.json", "results/in/dog.jpg.json"} <= set(shop.keys())


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEAD_LETTER_URL", ""), ("RESULTS_PREFIX", "in/results/"), ("DRAW", "perhaps")],
)
def test_an_invalid_setting_stops_the_start_naming_it(shop: Shop, name: str, value: str) -> None:
    with pytest.raises(AssertionError, match=name), shop.front(**{name: value}):
        pass
