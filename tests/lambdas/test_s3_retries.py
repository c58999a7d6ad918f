"""What the S3 front does with failures, busy endpoints and repeated events."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable

import pytest
from support.lambda_runtime import Function, event
from support.peer import Request, Response, named_detector, peer
from support.s3_shop import Shop, kept, messages, of


@pytest.mark.parametrize("shop", [lambda _: Response(502, b"<html>")], indirect=True, ids=["down"])
def test_a_failure_that_may_be_temporary_is_retried_until_the_last_attempt(
    shop: Shop, front: Function
) -> None:
    event = shop.arrives("in/cat.jpg")
    for count in (1, 7):
        assert kept(front(messages(of(event), count=count))) == ["message-0"]
        assert not shop.given_up() and not shop.keys()
    assert '"ERROR"' not in front.log()
    assert kept(front(messages(of(event), count=8))) == []
    assert '"ERROR"' in front.log(), "what serverless/canary.yaml counts"
    ((reason, body),) = shop.given_up()
    assert "responded 502" in reason
    assert json.loads(body) == {"Records": [event], "reason": reason}
    assert shop.result("in/cat.jpg")["error"] == reason


@pytest.mark.parametrize("shop", [lambda _: Response(502, b"<html>")], indirect=True, ids=["down"])
def test_each_pause_before_an_attempt_is_twice_the_last(shop: Shop) -> None:
    body = of(shop.arrives("in/cat.jpg"))
    answers = iter([Response(200, b"{}")] * 4)
    with peer(lambda _: next(answers, Response(500, b"{}"))) as queue:
        arrivals = {"AWS_ENDPOINT_URL_SQS": queue.url, "ARRIVALS_URL": f"{queue.url}/arrivals"}
        with shop.front(**arrivals, RETRY_SECONDS="40") as front:
            for count in (1, 2, 3, 7):
                assert kept(front(messages(body, count=count))) == ["message-0"]
            assert kept(front(messages(body))) == ["message-0"]
            assert "retried only after the queue's own timeout" in front.log()
    asked = [json.loads(request.body) for request in queue.requests[:4]]
    for request, longest in zip(asked, (40, 80, 160, 900), strict=True):
        assert longest / 2 <= request.pop("VisibilityTimeout") <= longest
        receipt = event("sqs")["Records"][0]["receiptHandle"]
        assert request == {"QueueUrl": f"{queue.url}/arrivals", "ReceiptHandle": receipt}


def test_of_a_batch_only_large_images_wait_for_each_other(shop: Shop) -> None:
    """At the endpoint each request waits for a second one; for large images not long."""
    together, seconds, met = threading.Barrier(2), 30.0, 0

    def both(asked: Request) -> Response:
        nonlocal met
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(seconds)
            met += 1
        together.reset()
        return named_detector(asked)

    with peer(both) as shop.endpoint, shop.front() as front:
        for size in (1 << 20, 11 << 20):
            records = [shop.arrives(f"in/{size}-{n}.jpg") for n in range(2)]
            for record in records:
                record["s3"]["object"]["size"] = size
            assert kept(front(messages(*map(of, records)))) == []
            assert met == 2, "the small ones, and no others"
            seconds = 0.3
    assert len(shop.keys()) == 4


def busy_at_first() -> Callable[[Request], Response]:
    left = iter([Response(429, b'{"error": "too many"}')])
    return lambda asked: next(left, None) or named_detector(asked)


@pytest.mark.parametrize("shop", [busy_at_first()], indirect=True, ids=["busy"])
def test_a_busy_endpoint_is_retried_before_the_queue_is(shop: Shop, front: Function) -> None:
    assert kept(front(messages(of(shop.arrives("in/cat.jpg"))))) == []
    assert len(shop.endpoint.requests) == 2
    assert shop.result("in/cat.jpg")["class"] == "Abyssinian"


def test_a_failed_image_is_processed_when_it_arrives_again(shop: Shop) -> None:
    record = shop.arrives("in/cat.jpg")
    down, shop.endpoint = shop.endpoint, shop.endpoint
    with peer(lambda _: Response(502, b"<html>")) as broken:
        shop.endpoint = broken
        with shop.front("broken") as front:
            front({"Records": [record]})
    assert "error" in shop.result("in/cat.jpg")
    ((_, body),) = shop.given_up()
    shop.endpoint = down
    with shop.front("fixed") as front:
        assert kept(front(messages(body))) == []
    assert shop.result("in/cat.jpg")["class"] == "Abyssinian"


def test_only_the_failed_messages_are_retried(shop: Shop) -> None:
    """The endpoint fails once, at the second image."""
    turn: list[int] = []

    def at_second(asked: Request) -> Response:
        turn.append(1)
        return Response(502, b"<html>") if len(turn) == 2 else named_detector(asked)

    body = of(shop.arrives("in/1.jpg"), shop.arrives("in/2.jpg"))
    with peer(at_second) as endpoint:
        shop.endpoint = endpoint
        with shop.front() as front:
            assert kept(front(messages(body))) == ["message-0"]
            assert kept(front(messages(body, count=2))) == []
    assert len(turn) == 3 and len(shop.keys()) == 2


def test_the_same_event_twice_writes_one_result(shop: Shop, front: Function) -> None:
    record = shop.arrives("in/cat.jpg")
    shop.keep_versions()
    assert kept(front(messages(of(record), of(record)))) == []
    seen = len(shop.endpoint.requests)  # both, if neither had its result yet
    front({"Records": [record]})
    assert len(shop.endpoint.requests) == seen and shop.versions() == 1


def test_a_broken_image_that_comes_twice_has_one_result_until_it_is_moved_back(
    shop: Shop, front: Function
) -> None:
    shop.keep_versions()
    body = of(shop.arrives("in/broken.jpg", b"no"))
    for _ in range(2):
        assert kept(front(messages(body))) == []
    ((_, letter),) = shop.given_up()
    assert shop.versions() == 1
    assert kept(front(messages(letter))) == []
    assert len(shop.given_up()) == 1 and shop.versions() == 2
    assert kept(front(messages(of(shop.arrives("in/broken.jpg", b"no"))))) == []
    assert len(shop.given_up()) == 1 and shop.versions() == 3, (
        "a new arrival, if of the same content"
    )


def test_a_broken_image_stays_in_the_queue_until_its_result_is_written(shop: Shop) -> None:
    body = of(shop.arrives("in/broken.jpg", b"no"))
    with (
        peer(lambda _: Response(503, b"")) as busy,
        shop.front("throttled", AWS_ENDPOINT_URL_S3=busy.url) as front,
    ):
        assert kept(front(messages(body, count=8))) == ["message-0"]
    ((reason, _),) = shop.given_up()
    assert "503" in reason and not shop.keys()
    with shop.front() as front:
        assert kept(front(messages(body, count=9))) == []
    assert "cannot be decoded" in shop.result("in/broken.jpg")["error"]


def test_two_at_the_same_event_at_once_write_one_result(shop: Shop) -> None:
    """The endpoint responds once both have sent the image."""
    together = threading.Barrier(2)

    def both(asked: Request) -> Response:
        together.wait(30)
        return named_detector(asked)

    shop.keep_versions()
    sent = {"Records": [shop.arrives("in/cat.jpg")]}
    with peer(both) as endpoint:
        shop.endpoint = endpoint
        with shop.front("a") as a, shop.front("b") as b:
            threads = [threading.Thread(target=one, args=(sent,)) for one in (a, b)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(endpoint.requests) == 2 and shop.versions() == 1
