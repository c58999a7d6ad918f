"""A picture from an address that a stranger names, fetched so that it can do no harm.

HTTP and HTTPS only, and public hosts only: a name is looked up once, every address it has is
judged, and the connection goes to one that was judged, so that a second look-up cannot lead
elsewhere. Each redirect is judged in the same way. Size, time and type are limited. Sends no
credentials, uses no proxy, and does not look into the picture.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from petbox import __version__
from petbox.errors import DataError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
CHUNK = 1 << 16
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
HEADERS = {
    "User-Agent": f"petbox/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class TooLarge(DataError):
    """More bytes than are wanted."""


class NotAPicture(DataError):
    """The server says that it sends something else."""


@dataclass(frozen=True)
class Limits:
    most: int = 20_000_000  # bytes of a picture
    seconds: float = 10.0  # for everything, redirects included


def is_public(address: Address) -> bool:
    """Whether the whole Internet can reach it, so that reaching it reveals nothing."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def fetch(
    url: str,
    limits: Limits | None = None,
    may_reach: Callable[[Address], bool] = is_public,
) -> bytes:
    """The picture at `url`. A DataError says why there is none."""
    limits = limits or Limits()
    clock = _Clock(limits.seconds)
    asked = url
    for _ in range(MOST_REDIRECTS + 1):
        answer = _ask(asked, clock, limits.most, may_reach)
        if isinstance(answer, bytes):
            return answer
        asked = urljoin(asked, answer.to)
    raise DataError(f"{url}: leads on more than {MOST_REDIRECTS} times; give the last address")


class _Clock:
    """What is left of the time for all of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(frozen=True)
class _Redirect:
    to: str


def _ask(
    url: str, clock: _Clock, most: int, may_reach: Callable[[Address], bool]
) -> bytes | _Redirect:
    parts = _parts(url)
    try:
        addresses = _addresses(url, parts, may_reach)
        with (
            _connected(addresses, clock) as bare,
            _ended_by(clock, bare),
            contextlib.closing(_secured(bare, parts)) as connection,
        ):
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers=HEADERS)
            answer = connection.getresponse()
            if answer.status in REDIRECTS and answer.getheader("Location"):
                return _Redirect(str(answer.getheader("Location")))
            _check(url, answer, most)
            content = _content(url, answer, most)
            clock.left()  # a connection that was ended looks like one that is done
            return content
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: cannot be fetched ({_why(error, clock)})") from error


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url) or parts.scheme not in PORTS:
        raise DataError(f"{url[:200]!r}: not an address of a picture on the web (https://…)")
    if parts.username is not None or parts.password is not None:
        raise DataError("an address with a name or password in it; give one without")
    return parts


def _addresses(
    url: str, parts: SplitResult, may_reach: Callable[[Address], bool]
) -> list[tuple[str, int]]:
    """Where the host is, once each place it claims to be at has been judged."""
    port = parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{url}: no host of this name is known") from error
    hosts = list(dict.fromkeys(str(where[0]) for *_, where in found))
    if not all(may_reach(ipaddress.ip_address(host)) for host in hosts):
        raise DataError(f"{url}: not on the public Internet; give a public address")
    return [(host, port) for host in hosts]


@contextlib.contextmanager
def _connected(addresses: list[tuple[str, int]], clock: _Clock) -> Iterator[socket.socket]:
    """A connection to the first that answers."""
    trouble: OSError | None = None
    for address in addresses:
        try:
            bare = socket.create_connection(address, timeout=clock.left())
        except OSError as error:
            trouble = error
            continue
        with bare:
            yield bare
        return
    raise trouble or OSError("no address")


@contextlib.contextmanager
def _ended_by(clock: _Clock, bare: socket.socket) -> Iterator[None]:
    """Ends the connection when time is up: one that drips keeps every single wait short."""

    def end() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    # Of its own, for TLS takes the other one over.
    with socket.socket(fileno=socket.dup(bare.fileno())) as twin:
        timer = threading.Timer(clock.left(), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _secured(bare: socket.socket, parts: SplitResult) -> http.client.HTTPConnection:
    """HTTP over the connection that there is; the certificate must be of the name given."""
    host = str(parts.hostname)
    connection = http.client.HTTPConnection(host, parts.port or PORTS[parts.scheme])
    connection.default_port = PORTS[parts.scheme]  # which the header Host leaves out
    connection.auto_open = 0  # it never looks the name up itself
    connection.sock = bare
    if parts.scheme == "https":
        connection.sock = _tls().wrap_socket(bare, server_hostname=host)
    return connection


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _check(url: str, answer: http.client.HTTPResponse, most: int) -> None:
    if answer.status != 200:
        raise DataError(f"{url}: its server answers {answer.status}; give one that gives a picture")
    kind = (answer.getheader("Content-Type") or "nothing").split(";")[0].strip().lower()
    if not kind.startswith("image/") or kind == "image/svg+xml":
        raise NotAPicture(f"{url}: sends {kind[:80]}; give the address of the picture itself")
    if (answer.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise NotAPicture(f"{url}: sends a packed picture; give one that is sent as it is")
    if answer.length is not None and answer.length > most:
        raise _too_large(url, most)


def _content(url: str, answer: http.client.HTTPResponse, most: int) -> bytes:
    parts, size = [], 0
    while part := answer.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(url, most)
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _too_large(url: str, most: int) -> TooLarge:
    return TooLarge(f"{url}: has more than {most / 1e6:g} MB; give a smaller picture")


def _why(error: Exception, clock: _Clock) -> str:
    try:
        clock.left()
    except TimeoutError:
        return f"not within {clock.seconds:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or "the connection broke").lower()
    return f"no proper HTTP: {type(error).__name__}"
