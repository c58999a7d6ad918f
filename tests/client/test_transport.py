"""Requests to a real server, over plain HTTP and through boto3."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.peer import Request, Response, classic_detector, golden, named_detector, peer

from petbox.client.detector import Detector
from petbox.client.http_transport import Http
from petbox.client.transport import Remote, SageMaker
from petbox.errors import ServiceError, WireError

JPEG = golden("picture.jpg")
AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials that open nothing, and none of the developer's own."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def names(detector: Remote) -> list[str | None]:
    return [one.name for one in detector.detect(JPEG)]


# Which signature


def test_names_come_with_the_signature_detect() -> None:
    with peer(named_detector) as server:
        found = names(Remote(Http(server.url)))
    assert found == ["Abyssinian", "yorkshire_terrier", "american_bulldog"]
    assert server.requests[0].body == golden("request_detect.json")


def test_a_model_without_detect_is_called_without_a_signature_from_then_on() -> None:
    with peer(classic_detector) as server:
        detector = Remote(Http(server.url))
        assert names(detector) == names(detector) == [None] * 3
    bodies = [asked.body for asked in server.requests]
    assert bodies == [golden("request_detect.json"), *[golden("request_one.json")] * 2]


def test_several_may_learn_at_the_same_time_that_there_is_no_detect() -> None:
    both = threading.Barrier(2)

    def answer(asked: Request) -> Response:
        if b"signature_name" in asked.body:
            both.wait(30)
        return classic_detector(asked)

    with peer(answer) as server, ThreadPoolExecutor(2) as pool:
        detector = Remote(Http(server.url))
        assert list(pool.map(lambda _: names(detector), range(2))) == [[None] * 3] * 2
    assert len(server.requests) == 4


def test_everything_is_requested_without_a_signature_at_once() -> None:
    with peer(named_detector) as server:
        names(Remote(Http(server.url), all_detections=True))
    assert [asked.body for asked in server.requests] == [golden("request_one.json")]


# HTTP


def test_the_connection_is_kept() -> None:
    with peer(named_detector) as server:
        detector = Remote(Http(server.url))
        for _ in range(3):
            names(detector)
    assert len({asked.connection for asked in server.requests}) == 1


def test_a_connection_closed_while_idle_is_made_again() -> None:
    with peer(named_detector, hangs_up=True) as server:
        detector = Remote(Http(server.url))
        for _ in range(3):
            names(detector)
    assert len({asked.connection for asked in server.requests}) == 3


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/invocations"),
        ("/", "/invocations"),
        ("/invocations", "/invocations"),
        ("/pets/", "/pets/invocations"),
        ("/v1/models/pets:predict", "/v1/models/pets:predict"),
    ],
)
def test_the_path_of_the_address_is_kept(given: str, path: str) -> None:
    with peer(named_detector) as server:
        names(Remote(Http(server.url + given)))
    assert server.requests[0].path == path


@pytest.mark.parametrize(
    "url", ["localhost:8080", "", "ftp://host", "http://", "http://host:port", "http://a b"]
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ServiceError, match=f"^{url}: not the URL of .* http://localhost:8080"):
        Http(url)


def test_without_a_server_the_command_that_starts_one_is_named() -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=rf"{url}: no server .*refused.*petbox serve MODEL"):
            Http(url).send(b"{}")


def test_a_slow_server_is_not_waited_for_without_end() -> None:
    done = threading.Event()

    def slow(_: Request) -> Response:
        done.wait(10)
        return Response(200, b"")

    with peer(slow) as server:
        slow_server = Http(server.url, seconds=0.1)
        with pytest.raises(ServiceError, match=r"no response within 0\.1 s"):
            slow_server.send(b"{}")
        done.set()


def test_a_server_that_closes_the_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceError, match=r"no server responds there \(.*closed|reset"):
            Http(url).send(b"{}")
        thread.join()


def test_a_server_without_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceError, match=r"not a valid HTTP response .*SSH.* right port"):
            Http(url).send(b"{}")
        thread.join()


def test_a_rejection_that_comes_before_all_is_sent_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = b'{"error": "the body is larger than 25 MB"}'

        def reject() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            head = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n"
            connection.sendall(head + answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):  # as nginx lingers, or the answer would be lost
                pass
            connection.close()

        thread = threading.Thread(target=reject)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(WireError, match=r"413\): the body is larger than 25 MB"):
            Http(url).send(bytes(10_000_000))
        thread.join()


# Answers that are none


@pytest.mark.parametrize("status", [400, 413, 415, 500])
def test_what_is_wrong_with_an_image_is_reported_in_the_servers_words(status: int) -> None:
    with peer(lambda _: Response(status, golden("answer_error.json"))) as server:
        detector = Remote(Http(server.url))
        with pytest.raises(WireError, match=rf"\({status}\): assertion failed: .*is empty"):
            detector.detect(JPEG)


@pytest.mark.parametrize("status", [404, 429, 502, 503, 504])
def test_what_is_wrong_with_the_server_is_an_error_of_the_service(status: int) -> None:
    with peer(lambda _: Response(status, b'{"error": "not ready"}')) as server:
        detector = Remote(Http(server.url))
        with pytest.raises(ServiceError, match=f"{server.url}: responded {status}: not ready"):
            detector.detect(JPEG)


def test_an_error_page_is_distinguished_from_a_response() -> None:
    page = b"<html>\n<h1>502 Bad Gateway</h1></html>"
    message = r"responded 502, not in JSON: <html> <h1>502"
    with (
        peer(lambda _: Response(502, page, {"Content-Type": "text/html"})) as server,
        pytest.raises(ServiceError, match=message),
    ):
        Http(server.url).send(b"{}")


def test_a_response_about_another_number_of_images_is_rejected() -> None:
    with peer(lambda _: Response(200, golden("answer_two.json"))) as server:
        detector = Remote(Http(server.url))
        with pytest.raises(WireError, match="got 2 predictions for one image"):
            detector.detect(JPEG)


# SageMaker


def test_an_endpoint_is_called_through_boto3(aws: pytest.MonkeyPatch) -> None:
    with peer(named_detector) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        found = names(Remote(SageMaker("pets")))
    assert found == ["Abyssinian", "yorkshire_terrier", "american_bulldog"]
    (asked,) = server.requests
    assert asked.path == "/endpoints/pets/invocations"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.body == golden("request_detect.json")


def test_a_model_of_a_multi_model_endpoint_is_named(aws: pytest.MonkeyPatch) -> None:
    with peer(named_detector) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        with Detector(endpoint="zoo", model="beagle") as detector:
            assert detector.detect(JPEG)
    headers = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert headers["x-amzn-sagemaker-target-model"] == "beagle.tar.gz"


def model_error(status: int, body: bytes) -> Response:
    """SageMaker's way to pass on what the container said."""
    words = {"OriginalStatusCode": status, "OriginalMessage": body.decode(), "Message": "Received"}
    return Response(424, json.dumps(words).encode(), {"x-amzn-ErrorType": "ModelError"})


def test_what_the_container_said_is_unwrapped(aws: pytest.MonkeyPatch) -> None:
    with peer(lambda _: model_error(400, golden("answer_error.json"))) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        detector = Remote(SageMaker("pets"))
        with pytest.raises(WireError, match=r"\(400\): assertion failed: .*is empty"):
            detector.detect(JPEG)


def test_an_endpoint_without_detect_is_called_without_a_signature(aws: pytest.MonkeyPatch) -> None:
    def behind_sagemaker(asked: Request) -> Response:
        answer = classic_detector(asked)
        return answer if answer.status == 200 else model_error(answer.status, answer.body)

    with peer(behind_sagemaker) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        assert names(Remote(SageMaker("pets"))) == [None] * 3


def test_a_container_called_by_boto3_directly_keeps_its_error(aws: pytest.MonkeyPatch) -> None:
    with peer(classic_detector) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        assert names(Remote(SageMaker("pets"))) == [None] * 3


def test_an_endpoint_that_is_not_there_is_reported_in_awss_words(aws: pytest.MonkeyPatch) -> None:
    body = b'{"Message": "Endpoint pets of account 1 not found."}'
    answer = Response(400, body, {"x-amzn-ErrorType": "ValidationError"})
    with peer(lambda _: answer) as server:
        aws.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(ServiceError, match=r"endpoint pets: ValidationError: .* not found"):
            SageMaker("pets").send(b"{}")


def test_missing_credentials_are_named(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    aws.setenv("HOME", str(tmp_path))
    with pytest.raises(ServiceError, match=r"endpoint pets: .*credentials.*AWS_PROFILE"):
        SageMaker("pets").send(b"{}")


def test_a_missing_region_is_named(aws: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        aws.delenv(name)
    with pytest.raises(ServiceError, match=r"endpoint pets: .*region.*AWS_REGION"):
        SageMaker("pets")
