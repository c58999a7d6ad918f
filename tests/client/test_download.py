"""Downloads from untrusted addresses: real servers, and what they may try."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.peer import GOLDEN, Request, Response, peer

from petbox.client.download import Address, Limits, NotAnImage, TooLarge, fetch, is_public
from petbox.errors import DataError

JPEG = (GOLDEN / "picture.jpg").read_bytes()
IMAGE = Response(200, JPEG, {"Content-Type": "image/jpeg"})


def here(address: Address) -> bool:
    """In place of `is_public`: the tests' servers are on this machine, and not on 127.0.0.2."""
    return address == ipaddress.ip_address("127.0.0.1")


def here_limits(**limits: float) -> Limits:
    """The tests' servers have ports of their own."""
    return Limits(**limits, ports=())  # type: ignore[arg-type]


def got(answer: Callable[[Request], Response], path: str = "/cat.jpg", **limits: float) -> bytes:
    with peer(answer) as server:
        return fetch(server.url + path, here_limits(**limits), here)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        *[
            (address, False)
            for address in (
                "0.0.0.0",
                "10.1.2.3",
                "100.64.0.1",
                "127.0.0.1",
                "169.254.169.254",
                "172.31.0.1",
                "192.168.1.1",
                "198.18.0.1",
                "224.0.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::127.0.0.1",
                "::ffff:127.0.0.1",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:7f00:1::",
                "2002:a9fe:a9fe::1",
                "fc00::1",
                "fd00:ec2::254",
                "fe80::1%eth0",
                "fec0::1",
                "ff02::1",
            )
        ],
    ],
)
def test_only_what_the_whole_internet_reaches_is_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_an_image_is_fetched_without_credentials() -> None:
    with peer(lambda _: IMAGE) as server:
        assert fetch(f"{server.url}/a/cat.jpg?size=2", here_limits(), here) == JPEG
    (asked,) = server.requests
    assert asked.path == "/a/cat.jpg?size=2"
    assert asked.headers["Host"] == server.url.removeprefix("http://")
    assert not {"Authorization", "Cookie"} & set(asked.headers)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
    ],
)
def test_this_machine_and_its_network_are_rejected_by_any_name(url: str) -> None:
    with pytest.raises(DataError, match="not on the public Internet"):
        fetch(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "//example.org/",
        "http:///cat.jpg",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/\r\nX: y",
        "http://[::1/",
        "",
    ],
)
def test_only_addresses_of_the_web_are_taken(url: str) -> None:
    with pytest.raises(DataError, match="not the address"):
        fetch(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:22/", "https://example.org:8443/cat.jpg"])
def test_other_ports_than_those_of_the_web_are_not_connected_to(url: str) -> None:
    with pytest.raises(DataError, match=r"port \d+ is not fetched from, only 80 and 443 are"):
        fetch(url, may_reach=lambda _: pytest.fail("looked up"))


def test_a_redirect_to_another_port_is_not_followed() -> None:
    with peer(lambda _: Response(302, b"", {"Location": "http://127.0.0.1:22/"})) as server:
        limits = Limits(ports=(server.port,))
        with pytest.raises(DataError, match="port 22 is not fetched from"):
            fetch(server.url, limits, here)


def test_a_closed_port_and_a_filtered_one_give_the_same_error() -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        closed.bind(("127.0.0.1", 0))  # without listening, so that it refuses
        with contextlib.ExitStack() as waiting:  # a queue that is full drops what comes next
            for _ in range(4):
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            errors = []
            for listening in (closed, full):
                url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
                with pytest.raises(DataError) as failed:
                    fetch(url, here_limits(seconds=0.5), here)
                errors.append(str(failed.value).removeprefix(url))
    assert errors == [": no server responds there; check the address"] * 2


def test_the_look_up_of_a_name_is_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own has no timeout."""
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(30) and [])
    with pytest.raises(DataError, match="no host of this name"):
        fetch("http://example.org/cat.jpg", Limits(seconds=0.2))
    assert not done.is_set()
    done.set()


def test_an_address_with_a_password_is_rejected_without_repeating_it() -> None:
    with pytest.raises(DataError, match="give one without") as rejected:
        fetch("https://me:secret@example.org/cat.jpg")
    assert "secret" not in str(rejected.value)


def test_a_redirect_is_followed() -> None:
    def answer(asked: Request) -> Response:
        return IMAGE if asked.path == "/b.jpg" else Response(302, b"", {"Location": "b.jpg"})

    assert got(answer, "/a.jpg") == JPEG


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://127.0.0.2/", "not on the public Internet"),
        ("http://[::1]/", "not on the public Internet"),
        ("file:///etc/passwd", "not the address"),
        ("/again", "redirects more than 3 times"),
    ],
)
def test_a_redirect_is_checked_as_the_first_address_was(to: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        got(lambda _: Response(302, b"", {"Location": to}))


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name that leads elsewhere by the second look-up gains nothing: there is none."""
    judged: list[str] = []

    def note(address: Address) -> bool:
        judged.append(str(address))
        return address.is_loopback

    with peer(lambda _: IMAGE) as server:
        assert fetch(f"http://localhost:{server.port}/", here_limits(), note) == JPEG
    assert judged and len(judged) == len(set(judged))


def test_one_address_that_is_not_public_spoils_a_name_with_several() -> None:
    with pytest.raises(DataError, match="not on the public Internet"):
        fetch("http://localhost/", may_reach=lambda a: a.version == 6 and not a.is_loopback)


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (Response(404, JPEG, {"Content-Type": "image/jpeg"}), DataError, "responds 404"),
        (Response(200, b"<html>", {"Content-Type": "text/html"}), NotAnImage, "is text/html"),
        (Response(200, b"<svg>", {"Content-Type": "image/svg+xml"}), NotAnImage, "svg"),
        (
            Response(200, JPEG, {**IMAGE.headers, "Content-Encoding": "gzip"}),
            NotAnImage,
            "compressed",
        ),
        (Response(200, JPEG * 100, IMAGE.headers), TooLarge, "more than"),
    ],
    ids=["404", "html", "svg", "gzip", "large"],
)
def test_what_is_no_image_of_the_size_is_rejected(
    answer: Response, kind: type[DataError], why: str
) -> None:
    with pytest.raises(kind, match=why):
        got(lambda _: answer, most=len(JPEG) * 2)


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Says what it wants on the first connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def once() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                serve(connection)

        thread = threading.Thread(target=once)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


def test_a_length_that_is_not_reported_is_no_way_around_the_limit() -> None:
    def endless(connection: socket.socket) -> None:
        try:
            connection.sendall(HEAD + b"\r\n")
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass  # it hung up

    with raw_server(endless) as url, pytest.raises(TooLarge):
        fetch(url, here_limits(most=1_000_000), here)


@pytest.mark.parametrize("start", [b"", HEAD + b"X: ", HEAD + b"Content-Length: 99999\r\n\r\n"])
def test_a_server_that_drips_does_not_hold_longer_than_the_limit(start: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(start)
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)  # its pace, not a wait for anything
        except OSError:
            pass  # it hung up

    began = time.monotonic()
    with raw_server(drip) as url, pytest.raises(DataError, match=r"not within 0\.5 s"):
        fetch(url, here_limits(seconds=0.5), here)
    assert time.monotonic() - began < 5


def test_an_image_that_breaks_off_is_rejected() -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n" + JPEG[:50])

    with raw_server(half) as url, pytest.raises(DataError, match="not valid HTTP"):
        fetch(url, here_limits(), here)


def test_a_certificate_nobody_vouches_for_is_rejected(tmp_path: Path) -> None:
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", tmp_path / "key", "-out", tmp_path / "cert"]
    subprocess.run([*words.split(), *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def once() -> None:
            connection, _ = listening.accept()
            with pytest.raises(OSError), context.wrap_socket(connection, server_side=True):  # noqa: PT011
                pass

        thread = threading.Thread(target=once)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(DataError, match="certificate is not trusted"):
            fetch(url, here_limits(), here)
        thread.join()
