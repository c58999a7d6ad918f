"""Requests to a URL: headers, AWS's signature, proxies, and petbox's HTTP API in AWS."""

from __future__ import annotations

import json
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import IMAGE, failed, petbox
from support.peer import GOLDEN, Peer, Request, Response, named_detector, peer

import petbox as library
from petbox.aws.signing import Signer
from petbox.client.http_transport import Http
from petbox.errors import ServiceError, WireError

JPEG = (GOLDEN / "picture.jpg").read_bytes()
FOUND = {
    "class": "Abyssinian",
    "confidence": 0.9,
    "detections": [
        {"label": "Abyssinian", "id": 1, "score": 0.9, "box": [0.1, 0.2, 0.6, 0.7]},
        {"label": "pug", "id": 7, "score": 0.3, "box": [0.0, 0.0, 1.0, 1.0]},
    ],
    "width": 4,
    "height": 3,
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxy and no account of the developer's own."""
    for name in (*PROXIES, *map(str.lower, PROXIES), "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return monkeypatch


def api(request: Request) -> Response:
    """petbox's HTTP API with a key."""
    if request.headers.get("x-api-key") != "k3y":
        return Response(403, b'{"error": "Forbidden"}')
    return Response(200, json.dumps(FOUND).encode())


# petbox's HTTP API


def test_an_image_is_sent_to_the_api_as_it_is() -> None:
    with peer(api) as server:
        url = f"{server.url}/v1/detect"
        done = petbox("detect", IMAGE, "--url", url, "--header", "x-api-key: k3y", "--csv")
    assert done.returncode == 0, done.stderr
    rows = [line.split(",")[3:6] for line in done.stdout.decode().splitlines()[1:]]
    assert rows == [["Abyssinian", "1", "0.9"], ["pug", "7", "0.3"]], "the API chose them"
    (request,) = server.requests
    assert (request.path, request.body) == ("/v1/detect", JPEG)
    assert request.headers["Content-Type"] == "application/x-image"


def test_a_detector_in_python_does_the_same_and_names_its_minimum_score() -> None:
    with peer(api) as server:
        url = f"{server.url}/v1/detect?stage=1"
        with library.Detector(url, headers={"x-api-key": "k3y"}, min_score=0.5) as detector:
            found = detector.detect(JPEG)
    assert [(one.name, one.label, one.score) for one in found] == [("Abyssinian", 1, 0.9)]
    assert [one.path for one in server.requests] == ["/v1/detect?stage=1&min_score=0.5"]


def test_a_missing_key_is_an_error_that_says_how_to_pass_it() -> None:
    with peer(api) as server:
        words = ("--url", f"{server.url}/v1/detect", "--header", "x-api-key: other")
        message = failed(petbox("detect", IMAGE, *words))
    assert "responded 403: Forbidden; pass what it asks for with --header" in message
    assert "--sign" in message and "other" not in message


def test_another_server_under_the_apis_path_is_named() -> None:
    with (
        peer(lambda _: Response(200, b'{"detections": [{}]}')) as server,
        pytest.raises(WireError, match="not a response of petbox's HTTP API"),
    ):
        library.Detector(f"{server.url}/detect").detect(JPEG)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An image of 5 MB."""
    path = tmp_path / "noise.png"
    content = random.Random(0).randbytes(1400 * 1200 * 3)
    Image.frombytes("RGB", (1400, 1200), content).save(path, compress_level=0)
    return path


def with_uploads(bucket: Peer) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        if request.path.endswith("?upload=1"):
            form = {"url": bucket.url, "fields": {"key": "uploads/1"}, "upload": "uploads/1"}
            return Response(200, json.dumps(form).encode())
        return api(request)

    return respond


WORDS = ("--header", "x-api-key: k3y", "--sign")


def test_an_image_over_lambdas_limit_is_uploaded(large: Path) -> None:
    with peer(lambda _: Response(204, b"")) as bucket, peer(with_uploads(bucket)) as server:
        done = petbox("detect", large, "--url", f"{server.url}/v1/detect", *WORDS)
    assert done.returncode == 0, done.stderr
    (upload,) = bucket.requests
    message = message_from_bytes(
        f"Content-Type: {upload.headers['Content-Type']}\r\n\r\n".encode() + upload.body
    )
    parts = {part.get_param("name", header="Content-Disposition"): part for part in message.walk()}
    assert list(parts)[1:] == ["key", "file"], "S3 reads no field after the file"
    assert large.read_bytes() in upload.body
    assert not {"x-api-key", "Authorization"} & upload.headers.keys(), "the form is enough"
    _, request = server.requests
    assert json.loads(request.body) == {"upload": "uploads/1"}


def test_an_api_without_uploads_gets_a_smaller_copy_on_request(large: Path) -> None:
    def respond(request: Request) -> Response:
        is_upload = request.path.endswith("?upload=1")
        return (
            Response(400, b'{"error": "this API takes no uploads"}') if is_upload else api(request)
        )

    with peer(respond) as server:
        words = (large, "--url", f"{server.url}/v1/detect", "--header", "x-api-key: k3y")
        message = failed(petbox("detect", *words))
        assert "takes no uploads; --fit (in Python fit=True) sends a smaller copy" in message
        assert petbox("detect", *words, "--fit").returncode == 0
    assert len(server.requests[-1].body) < 6 * 2**20 * 3 / 4


def test_an_upload_that_fails_is_an_error_of_the_service(large: Path) -> None:
    error = b"<Error><Message>Policy expired.</Message></Error>"
    with peer(lambda _: Response(403, error)) as bucket, peer(with_uploads(bucket)) as server:
        message = failed(petbox("detect", large, "--url", f"{server.url}/v1/detect", *WORDS))
        nowhere = bucket._replace(url="http://127.0.0.1:port/")
        with (
            peer(with_uploads(nowhere)) as other,
            library.Detector(f"{other.url}/detect", headers={"x-api-key": "k3y"}) as detector,
            pytest.raises(ServiceError, match=r"the upload to S3 failed \(nonnumeric port"),
        ):
            detector.detect(large)
    assert "upload to S3 failed (HTTP Error 403: Forbidden: Policy expired.); try again" in message


# Headers


def test_headers_go_to_any_server() -> None:
    with peer(named_detector) as server:
        words = ("--header", "Authorization: Bearer a:b", "--header", "X-Trace:1")
        assert petbox("detect", IMAGE, "--url", server.url, *words).returncode == 0
    (request,) = server.requests
    assert request.headers["Authorization"] == "Bearer a:b"
    assert request.headers["X-Trace"] == "1"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--header", "x-api-key"), "--header: the header x-api-key has no value"),
        (("--header", "a b: c"), "'a b' is not the name of a header"),
        (("--header", "Host: x"), "the header Host is set by petbox"),
        (("--header", "X: s\tecret"), "the header X has a value with characters other than"),
        (("--header", "a: b", "--endpoint", "pets"), "--header is for a server (--url)"),
        (("--sign", "--model", "m"), "--sign is for a server (--url), not for --model"),
    ],
)
def test_headers_that_cannot_be_sent_are_rejected(words: tuple[str, ...], why: str) -> None:
    done = petbox("detect", IMAGE, *words)
    assert done.returncode == 2
    message = " ".join(done.stderr.decode().split())
    assert why in message and "ecret" not in message.partition("error:")[2]


def test_headers_in_python_are_for_a_url() -> None:
    with pytest.raises(ValueError, match="headers and sign are for a url"):
        library.Detector(endpoint="pets", headers={"a": "b"})


# AWS's signature


def test_a_signature_covers_what_the_server_receives() -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    with peer(lambda _: Response(200, json.dumps(FOUND).encode())) as server:
        url = f"{server.url}/v1/detect"
        words = ("--url", url, "--sign", "--header", "x-api-key: k3y", "--min-score", "0.5")
        done = petbox("detect", IMAGE, *words)
    assert done.returncode == 0, done.stderr
    (request,) = server.requests
    scope, signed, signature = (
        part.partition("=")[2] for part in request.headers["Authorization"].split(", ")
    )
    assert scope.startswith("AKIDEXAMPLE/") and scope.endswith(
        "/eu-west-1/execute-api/aws4_request"
    )
    headers = {name: request.headers[name] for name in request.headers}
    lower = {name.lower(): value for name, value in headers.items()}
    given = {name: lower[name] for name in signed.split(";")}
    assert {"host", "x-amz-date", "x-api-key"} <= given.keys()
    again = AWSRequest("POST", server.url + request.path, given, request.body)
    again.context["timestamp"] = lower["x-amz-date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "execute-api", "eu-west-1")
    text = auth.string_to_sign(again, auth.canonical_request(again))
    assert signature == auth.signature(text, again)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("abc.execute-api.us-west-2.amazonaws.com", "us-west-2/execute-api"),
        ("abc.lambda-url.us-west-2.on.aws", "us-west-2/lambda"),
        ("api.pets.example", "eu-west-1/execute-api"),
        ("execute-api.us-west-2.amazonaws.com.pets.example", "eu-west-1/execute-api"),
    ],
)
def test_the_host_names_service_and_region(host: str, scope: str) -> None:
    url = f"https://{host}/v1/detect"
    signed = Signer(url).signed("POST", url, b"", {})
    assert f"/{scope}/aws4_request" in signed["Authorization"]


def test_without_credentials_or_region_nothing_is_signed(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.delenv("AWS_REGION")
    settings.delenv("AWS_DEFAULT_REGION", raising=False)
    settings.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ServiceError, match="no AWS region is set"):
        Signer("https://api.pets.example/v1/detect")
    settings.delenv("AWS_ACCESS_KEY_ID")
    settings.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    settings.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ServiceError, match="no AWS credentials"):
        Signer("https://a.execute-api.us-east-1.amazonaws.com/v1/detect")


# Proxies


class Tunnel:
    """A proxy that takes CONNECT, and connects to `port` on this machine whatever it names."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.heads: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.heads.append(head.decode())
        server = socket.create_connection(("127.0.0.1", self._port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(one, other), daemon=True).start()

    def close(self) -> None:
        self._listening.close()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with one, other:
        while data := one.recv(65536):
            other.sendall(data)


@contextmanager
def encrypted(server: Peer, folder: Path, name: str) -> Iterator[int]:
    """A port that speaks TLS with a certificate for `name` before the server."""
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name}"
    files = ["-keyout", folder / "key", "-out", folder / "cert", "-days", "2"]
    more = ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*words.split(), *files, *more], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            bare, _ = listening.accept()
            client = context.wrap_socket(bare, server_side=True)
            other = socket.create_connection(("127.0.0.1", server.port))
            threading.Thread(target=_copy, args=(other, client), daemon=True).start()
            _copy(client, other)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def test_https_goes_through_the_proxy_of_the_environment(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with peer(api) as server, encrypted(server, tmp_path, "api.pets.example") as port:
        proxy = Tunnel(port)
        settings.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        settings.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        url = "https://api.pets.example/v1/detect"
        done = petbox("detect", IMAGE, "--url", url, "--header", "x-api-key: k3y")
        proxy.close()
    assert done.returncode == 0, done.stderr
    (head,) = proxy.heads
    assert head.startswith("CONNECT api.pets.example:443 HTTP/1.")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in head
    assert "k3y" not in head
    (request,) = server.requests
    assert "Proxy-Authorization" not in request.headers


def test_http_goes_through_the_proxy_of_the_environment(settings: pytest.MonkeyPatch) -> None:
    with peer(named_detector) as proxy:
        settings.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        Http("http://pets.example:8080").send(b"{}")
    (request,) = proxy.requests
    assert request.path == "http://pets.example:8080/invocations"
    assert request.headers["Host"] == "pets.example:8080"


@pytest.mark.parametrize(("name", "value"), [("NO_PROXY", "*"), ("HTTPS_PROXY", "http://x:1")])
def test_this_machine_and_exceptions_are_reached_without_a_proxy(
    settings: pytest.MonkeyPatch, name: str, value: str
) -> None:
    settings.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    settings.setenv(name, value)
    with peer(named_detector) as server:
        Http(server.url).send(b"{}")
        Http(f"http://localhost:{server.port}").send(b"{}")
    assert len(server.requests) == 2


def test_no_proxy_names_hosts_to_reach_directly(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    settings.setenv("NO_PROXY", ".invalid")
    with pytest.raises(ServiceError, match="no server responds there"):
        Http("http://pets.invalid").send(b"{}")
    with pytest.raises(
        ServiceError, match=r"through the proxy 127\.0\.0\.1:9: .*check HTTPS_PROXY"
    ):
        Http("http://pets.example").send(b"{}")


def test_a_proxy_that_opens_no_tunnel_says_why(settings: pytest.MonkeyPatch) -> None:
    with peer(named_detector) as proxy:  # which knows no CONNECT
        settings.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(ServiceError, match=r"through the proxy .*: .*failed: 501 .*; check"):
            Http("https://pets.example").send(b"{}")


def test_a_password_in_the_url_is_neither_sent_nor_printed() -> None:
    with pytest.raises(ServiceError, match="--header 'Authorization: Basic") as error:
        Http("https://me:secret@pets.example/v1/detect")
    assert "pets.example" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["socks5://me:secret@host:1", "https://host", "http://", "http://secret@[::1"]
)
def test_a_proxy_that_cannot_be_used_is_named(settings: pytest.MonkeyPatch, address: str) -> None:
    settings.setenv("HTTPS_PROXY", address)
    with pytest.raises(ServiceError, match="HTTPS_PROXY: not the address of a proxy") as error:
        Http("https://pets.example")
    assert "secret" not in str(error.value)
