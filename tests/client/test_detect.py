"""`petbox detect` with many images, large ones, and overloaded servers."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.aws import Recorded, recorded
from support.command_line import IMAGE, Done, failed, petbox
from support.peer import GOLDEN, Peer, Request, Response, golden, named_detector, peer
from support.serving import tiny_detector
from support.warm_python import warm_python

from petbox.cli.parallel import AHEAD, in_order
from petbox.client.retry import while_busy
from petbox.errors import Busy, DataError, ServiceError
from petbox.images import photos
from petbox.images.shrink import shrink

MANY = 40
OTHER_IMAGE = str(GOLDEN / "picture.png")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Images named by numbers; each is 40 pixels wide, and its number more."""
    folder = tmp_path / "album"
    folder.mkdir()
    for n in range(MANY):
        Image.new("RGB", (40 + n, 30), "gray").save(folder / f"{n:02}.png")
    return folder


def sent_image(asked: Request) -> Image.Image:
    (instance,) = json.loads(asked.body)["instances"]
    return Image.open(io.BytesIO(base64.b64decode(instance["b64"])))


def said(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def numbers(done: Done) -> list[int]:
    return [int(Path(line["picture"]).stem) for line in said(done)]


def test_a_single_image_is_drawn_to_the_file_that_is_named(album: Path, tmp_path: Path) -> None:
    with peer(named_detector) as server:
        done = petbox("detect", IMAGE, "-o", tmp_path / "found.png", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "found.png").format == "PNG"
    several = failed(petbox("detect", album, "-o", tmp_path / "found.png"))
    assert several == f"error: {tmp_path}/found.png: is one file for 40 copies; name a folder\n"


# Many at once


def test_at_most_parallel_are_in_progress_and_the_order_is_kept(album: Path) -> None:
    """The server responds in pairs only, the later request first."""
    pair = threading.Barrier(2)
    later_is_out = threading.Event()
    under_way, most = 0, 0
    counting = threading.Lock()

    def answer(asked: Request) -> Response:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        pair.wait(30)
        if sent_image(asked).width % 2 == 0:
            later_is_out.wait(30)
            later_is_out.clear()
        else:
            later_is_out.set()
        with counting:
            under_way -= 1
        return named_detector(asked)

    with peer(answer) as server:
        done = petbox("detect", album, "--url", server.url, "--json", "--parallel", "2")
    assert done.returncode == 0, done.stderr
    assert numbers(done) == list(range(MANY))
    assert most == 2
    assert len({asked.connection for asked in server.requests}) == 2  # each kept


def test_a_bad_image_among_many_fails_alone(album: Path) -> None:
    (album / "07.png").write_bytes(b"not an image")

    def answer(asked: Request) -> Response:
        if sent_image(asked).width == 40 + 21:
            return Response(400, b'{"error": "instances[0] is not to my taste"}')
        return named_detector(asked)

    with peer(answer) as server:
        done = petbox("detect", album, "--url", server.url, "--json")
    assert done.returncode == 1
    assert [n for n, line in enumerate(said(done)) if "error" in line] == [7, 21]
    assert b"error: 2 of 40 images failed" in done.stderr
    assert len(server.requests) == MANY - 1  # none again


def test_results_are_printed_before_the_error_of_a_server_that_fails(album: Path) -> None:
    """Of those under way the first fails, and the others are answered after that."""
    failing = threading.Event()

    def answer(asked: Request) -> Response:
        number = sent_image(asked).width - 40
        if number == 10:
            failing.set()
            return Response(502, b'{"error": "the model server is not there"}')
        if number > 10:
            failing.wait(30)
        return named_detector(asked)

    with peer(answer) as server:
        done = petbox("detect", album, "--url", server.url, "--json", "--parallel", "4")
    assert failed(done) == f"error: {server.url}: responded 502: the model server is not there\n"
    answered = sorted(sent_image(asked).width - 40 for asked in server.requests)
    assert numbers(done) == [number for number in answered if number != 10]
    assert answered[:11] == list(range(11))


def test_none_is_started_far_ahead_of_the_oldest_that_is_not_done() -> None:
    begun: list[int] = []
    first = threading.Event()
    stop = threading.Event()

    def act(number: int) -> int:
        begun.append(number)
        if number == 0:
            first.wait(30)
        if number == 2 * AHEAD - 1:
            first.set()  # nothing but the first is left to do
        return number

    results = in_order(act, range(10_000), 2, stop)
    assert next(results) == 0
    assert len(begun) <= 2 * AHEAD + 2
    assert list(results) == list(range(1, 10_000))


def test_closing_the_results_stops_the_work() -> None:
    stop = threading.Event()
    begun: list[int] = []
    results = in_order(lambda number: begun.append(number), range(10_000), 4, stop)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert stop.is_set()
    assert len(begun) < 10_000


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_failure_in_the_work_is_raised(parallel: int) -> None:
    def act(number: int) -> int:
        if number == 5:
            raise ServiceError("gone")
        return number

    given: list[int] = []
    with pytest.raises(ServiceError, match="gone"):
        given.extend(in_order(act, range(100), parallel, threading.Event()))
    assert given[:5] == [0, 1, 2, 3, 4]
    assert given == sorted(given)


# Overloaded servers


def busy_at_first(times: int, rejected: Response) -> Callable[[Request], Response]:
    left = iter(range(times))
    return lambda asked: rejected if next(left, None) is not None else named_detector(asked)


@pytest.mark.parametrize(
    "rejected",
    [
        Response(429, b'{"error": "too many"}'),
        Response(429, b"slow down", {"Content-Type": "text/plain"}),
        Response(503, b'{"error": "the model is busy"}', {"Retry-After": "0"}),
    ],
)
def test_a_busy_server_is_retried(rejected: Response) -> None:
    with peer(busy_at_first(2, rejected)) as server:
        done = petbox("detect", IMAGE, "--url", server.url, "--json")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 3
    assert done.stderr.count(b"waiting") == 1  # reported once
    assert f"responded {rejected.status}".encode() in done.stderr


@pytest.mark.parametrize("status", [400, 404, 413, 500, 502, 503, 504])
def test_nothing_else_is_sent_again(status: int) -> None:
    with peer(lambda _: Response(status, b'{"error": "no"}')) as server:
        done = petbox("detect", IMAGE, "--url", server.url)
    assert done.returncode == 1
    assert len(server.requests) == 1


def test_retry_after_is_waited_for_and_more() -> None:
    pauses: list[float] = []
    answers = iter([Busy("busy", 3.0), Busy("busy", 3.0), None])

    def ask() -> bytes:
        if (error := next(answers)) is not None:
            raise error
        return b"done"

    assert while_busy(ask, lambda seconds: pauses.append(seconds)) == b"done"
    assert len(pauses) == 2
    assert 3.0 <= pauses[0] <= 3.5
    assert 3.0 <= pauses[1] <= 4.0


def test_pauses_are_random_and_grow_to_a_limit() -> None:
    def call() -> bytes:
        raise Busy("no slots")

    def pauses() -> list[float]:
        waited: list[float] = []
        with pytest.raises(ServiceError, match=r"no slots; still so after .*--parallel"):
            while_busy(call, lambda seconds: waited.append(seconds), seconds=300)
        return waited

    random.seed(1)
    one = pauses()
    random.seed(1)  # as in containers restored from one snapshot
    other = pauses()
    assert one[:5] != other[:5]
    assert all(pause <= 0.5 * 2**turn for turn, pause in enumerate(one))
    assert 5 < max(one) <= 10
    assert sum(one) <= 300


def test_a_pause_ends_when_the_work_is_over() -> None:
    stop = threading.Event()

    def call() -> bytes:
        stop.set()
        raise Busy("busy", 60.0)

    with pytest.raises(Busy):
        while_busy(call, stop.wait)


# Without a server, and without a file


def test_a_model_needs_no_server(tmp_path: Path) -> None:
    tiny_detector(tmp_path / "model" / "1", named=True)
    words = (IMAGE, "--model", tmp_path / "model", "--json", "--min-score", "0")
    done = petbox("detect", *words, command=(warm_python(), "-m", "petbox"))
    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = said(done)
    (one,) = line["detections"]
    assert (one["label"], one["id"], one["score"]) == ("Abyssinian", 3, 0.0588235296)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = failed(petbox("detect", IMAGE, "--model", tmp_path))
    assert line.startswith(f"error: {tmp_path}: no model; found: nothing; expected: saved_model.pb")


@pytest.mark.parametrize(
    ("words", "both"),
    [
        (("--url", "http://x", "--model", "m"), "--url and --model"),
        (("--endpoint", "x", "--url", "http://x"), "--url and --endpoint"),
    ],
)
def test_only_one_detector_can_be_named(words: tuple[str, ...], both: str) -> None:
    done = petbox("detect", IMAGE, *words)
    assert done.returncode == 2
    assert f"{both} exclude each other" in done.stderr.decode()


def test_an_address_is_downloaded_and_its_copy_drawn(tmp_path: Path) -> None:
    jpeg = Response(200, golden("picture.jpg"), {"Content-Type": "image/jpeg"})
    with peer(named_detector) as server, peer(lambda _: jpeg) as web:
        address = f"{web.url}/pets/cat.jpg?size=2"
        words = ("--url", server.url, "--json", "--draw", tmp_path / "drawn")
        done = petbox("detect", address, f"{web.url}/b/cat.jpg", *words)
    assert done.returncode == 0, done.stderr
    assert [line["picture"] for line in said(done)] == [address, f"{web.url}/b/cat.jpg"]
    assert [asked.path for asked in web.requests if "?" in asked.path] == ["/pets/cat.jpg?size=2"]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["cat-2.jpg", "cat.jpg"]


# Tables


def test_csv_has_a_head_and_a_line_a_detection(tmp_path: Path) -> None:
    path = tmp_path / 'the "best", 1.jpg'
    path.write_bytes(golden("picture.jpg"))
    with peer(named_detector) as server:
        done = petbox("detect", path, IMAGE, "--url", server.url, "--csv", "--min-score", "0.9")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["picture"] for row in rows] == [str(path), IMAGE]
    assert rows[0] == {
        "picture": str(path),
        "width": "24",
        "height": "16",
        "label": "Abyssinian",
        "id": "1",
        "score": "0.987654328",
        "ymin": "0.1",
        "xmin": "0.2",
        "ymax": "0.6",
        "xmax": "0.7",
    }


def test_csv_of_nothing_has_its_head() -> None:
    with peer(named_detector) as server:
        done = petbox("detect", IMAGE, "--url", server.url, "--csv", "--min-score", "1")
    assert done.stdout.decode().splitlines() == [
        "picture,width,height,label,id,score,ymin,xmin,ymax,xmax"
    ]


# The limit of the target


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """An image of 1200x800 that no format makes small: 2.9 MB, a request of 3.8 MB."""
    path = tmp_path / "noise.png"
    content = random.Random(0).randbytes(1200 * 800 * 3)
    Image.frombytes("RGB", (1200, 800), content).save(path, compress_level=0)
    return path


def test_an_image_over_the_limit_is_rejected_before_it_is_sent(noise: Path) -> None:
    with peer(named_detector) as server:
        words = ("--url", server.url, "--limit", "3")
        message = failed(petbox("detect", noise, *words))
        assert message == (
            f"error: {noise}: makes a request of 3.7 MB, and the server, by "
            "--limit (in Python limit), takes 3 MB; "
            "use --fit (in Python fit=True) to send a smaller copy\n"
        )
        assert server.requests == []
        assert petbox("detect", noise, "--url", server.url).returncode == 0


def test_an_image_is_made_to_fit_and_its_boxes_stay_right(noise: Path, tmp_path: Path) -> None:
    words = ("--limit", "0.5", "--fit", "--json", "--draw", str(tmp_path / "found"))
    with peer(named_detector) as server:
        done = petbox("detect", noise, IMAGE, "--url", server.url, *words)
    assert done.returncode == 0, done.stderr
    (large,) = (asked for asked in server.requests if len(asked.body) > 10_000)
    assert 0.3 * 2**19 < len(large.body) <= 2**19
    sent = sent_image(large)
    assert sent.width / sent.height == pytest.approx(1.5, abs=0.01)
    line, other = said(done)
    assert (line["width"], line["height"]) == (1200, 800)  # of the original
    assert line["detections"] == other["detections"]  # the answer's fractions, untouched
    with Image.open(tmp_path / "found" / "noise.png") as copy:
        assert copy.size == (1200, 800)


@pytest.mark.parametrize("most", [2_000_000, 300_000, 20_000])
def test_a_fitted_image_is_as_large_as_may_be(noise: Path, most: int) -> None:
    encoded = shrink(photos.read(str(noise)), most)
    assert len(encoded) <= most
    size = Image.open(io.BytesIO(encoded)).size
    # Noise is the worst case: scaled down it is noise no longer.
    assert size == (1200, 800) or len(encoded) > 0.3 * most


def test_what_cannot_be_made_to_fit_is_named(noise: Path) -> None:
    with pytest.raises(DataError, match=rf"^{noise}: cannot be made to fit into 300 bytes"):
        shrink(photos.read(str(noise)), 300)


def test_a_jpeg_of_too_many_pixels_is_shrunk_on_request(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (9000, 8000), "gray").save(path, exif=exif)
    with pytest.raises(DataError, match="9000x8000 are more than 64 million pixels"):
        photos.read(str(path))
    photo = photos.read(str(path), shrink=True)
    assert (photo.width, photo.height) == (8000, 9000)
    assert photo.decode().size == (4000, 4500)


def test_a_phones_photo_of_up_to_64_megapixels_is_sent(tmp_path: Path) -> None:
    """As it is if it is upright; otherwise turned, in half its size."""
    path = tmp_path / "phone.jpg"
    image = Image.new("L", (8000, 6000), "gray")
    image.save(path)
    assert photos.read(str(path)).encoded == path.read_bytes()
    exif = Image.Exif()
    exif[274] = 6
    image.save(path, exif=exif)
    photo = photos.read(str(path))
    assert (photo.width, photo.height) == (6000, 8000)
    assert photo.decode().size == (3000, 4000)
    image.save(path, progressive=True)
    with pytest.raises(DataError, match="8000x6000 are more than 40 million pixels"):
        photos.read(str(path))


# SageMaker


def endpoint(kind: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda request: {
        "EndpointName": request["EndpointName"],
        "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/pets",
        "EndpointConfigName": "pets-1",
        "EndpointStatus": "InService",
        "CreationTime": 0,
        "LastModifiedTime": 0,
        "ProductionVariants": [{"VariantName": "all", **kind}],
    }


SERVERLESS = endpoint({"CurrentServerlessConfig": {"MemorySizeInMB": 4096, "MaxConcurrency": 5}})
REAL_TIME = endpoint({"CurrentInstanceCount": 1})


def at_aws(server: Peer, account: Recorded, *words: str | Path) -> Done:
    """`petbox detect --endpoint pets`; the server is its runtime, all else is the account."""
    env = {**account.env, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": server.url}
    return petbox("detect", "--endpoint", "pets", *words, env=env)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """4.3 MB, which a serverless endpoint does not take."""
    path = tmp_path / "big.png"
    content = random.Random(0).randbytes(1200 * 1200 * 3)
    Image.frombytes("RGB", (1200, 1200), content).save(path, compress_level=0)
    return path


def test_a_small_image_needs_no_permission_to_describe_the_endpoint() -> None:
    with peer(named_detector) as server, recorded() as account:
        done = at_aws(server, account, IMAGE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert account.calls == []


def test_the_limit_of_a_serverless_endpoint_is_checked_before_the_call(big: Path) -> None:
    with peer(named_detector) as server, recorded(DescribeEndpoint=SERVERLESS) as account:
        message = failed(at_aws(server, account, big))
        assert "5.5 MB, and endpoint pets is serverless and takes 4 MB; use --fit" in message
        assert server.requests == []
        assert at_aws(server, account, big, "--fit").returncode == 0
    assert len(server.requests[0].body) <= 4 * 2**20


def test_a_real_time_endpoint_takes_25_mb(big: Path) -> None:
    with peer(named_detector) as server, recorded(DescribeEndpoint=REAL_TIME) as account:
        assert at_aws(server, account, big).returncode == 0
        assert at_aws(server, account, big, "--limit", "4").returncode == 1
    assert account.names() == ["DescribeEndpoint"]  # once, and not where the limit is given


def test_without_permission_to_describe_the_endpoint_the_flag_is_named(big: Path) -> None:
    twin = big.with_name("twin.png")
    twin.write_bytes(big.read_bytes())
    with peer(named_detector) as server, recorded() as account:
        done = at_aws(server, account, big, twin)
    assert done.returncode == 0
    message, progress = done.stderr.decode().splitlines()  # once for both
    assert message.startswith("endpoint pets: AccessDeniedException: not allowed to call Describe")
    assert message.endswith("for a serverless endpoint use --limit 4 (in Python limit=4)")
    assert progress.startswith("detect: 2/2")


def test_a_request_that_aws_rejects_as_too_large_fails_only_its_image() -> None:
    def answer(asked: Request) -> Response:
        if len(server.requests) == 1:
            return aws_rejection("ValidationError", "Request 1-2 has oversize body.", 400)
        return named_detector(asked)

    with peer(answer) as server, recorded() as account:
        done = at_aws(server, account, IMAGE, OTHER_IMAGE, "--parallel", "1", "--json")
    assert ["error" in line for line in said(done)] == [True, False]
    assert "oversize body" in said(done)[0]["error"]
    assert "use --fit and a smaller --limit" in said(done)[0]["error"]


def aws_rejection(code: str, text: str, status: int) -> Response:
    body = json.dumps({"Message": text}).encode()
    return Response(status, body, {"x-amzn-ErrorType": code})


def model_error(status: int, text: str) -> Response:
    words = {"OriginalStatusCode": status, "OriginalMessage": text, "Message": "Received"}
    return Response(424, json.dumps(words).encode(), {"x-amzn-ErrorType": "ModelError"})


@pytest.mark.parametrize(
    "rejected",
    [
        aws_rejection("ThrottlingException", "Rate exceeded", 400),
        aws_rejection("ModelNotReadyException", "still loading", 429),
        aws_rejection("ServiceUnavailable", "try your call again", 503),
        model_error(503, '{"error": "the model is busy"}'),
        model_error(429, "slow down"),
    ],
)
def test_a_busy_endpoint_is_retried(rejected: Response) -> None:
    with peer(busy_at_first(2, rejected)) as server, recorded() as account:
        done = at_aws(server, account, IMAGE)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("rejected", "message"),
    [
        (model_error(400, '{"error": "instances[0]: is empty"}'), "(400): instances[0]: is empty"),
        (model_error(500, "Traceback ..."), "responded 500, not in JSON: Traceback"),
        (aws_rejection("InternalFailure", "sorry", 500), "InternalFailure: sorry"),
        (aws_rejection("ValidationError", "Endpoint pets not found.", 400), "not found"),
        (
            aws_rejection("AccessDeniedException", "no", 403),
            "AccessDeniedException: no; ask the account's administrator",
        ),
    ],
)
def test_an_endpoint_that_rejects_is_not_retried(rejected: Response, message: str) -> None:
    with peer(lambda _: rejected) as server, recorded() as account:
        line = failed(at_aws(server, account, IMAGE))
    assert message in line
    assert "ModelError" not in line
    assert len(server.requests) == 1
