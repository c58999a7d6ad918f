"""Downloads of images, bounded in size, time and type, and safe for untrusted URLs.

HTTP and HTTPS only, and by default ports 80 and 443 of public hosts only: a name is resolved once,
each of its addresses is checked, and the connection goes to a checked one, so that a second lookup
cannot lead elsewhere. Redirects are checked in the same way. One deadline covers lookup,
connection and content. A closed port and a filtered one give the same error, which is no help to
scan a network. Sends no credentials and uses no proxy.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from petbox import __version__
from petbox.cli.sizes import megabytes
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
    """More bytes than allowed."""


class NotAnImage(DataError):
    """Another content type, or a compressed response."""


@dataclass(frozen=True)
class Limits:
    most: int = 20_000_000  # bytes of an image
    seconds: float = 10.0  # for everything, redirects included
    images_only: bool = True  # by the server's Content-Type
    ports: tuple[int, ...] = (80, 443)  # () for any


def is_public(address: Address) -> bool:
    """Whether it is on the public Internet, so that a request to it reveals nothing."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address embeds, if any."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def fetch(
    url: str,
    limits: Limits | None = None,
    may_reach: Callable[[Address], bool] = is_public,
) -> bytes:
    """The image at `url`; a DataError says why it cannot be fetched."""
    limits = limits or Limits()
    clock = _Clock(limits.seconds)
    target = url
    for _ in range(MOST_REDIRECTS + 1):
        response = _get(target, clock, limits, may_reach)
        if isinstance(response, bytes):
            return response
        target = urljoin(target, response)
    raise DataError(f"{url}: redirects more than {MOST_REDIRECTS} times; give the final address")


class _Clock:
    """The time that is left for all of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _get(
    url: str, clock: _Clock, limits: Limits, may_reach: Callable[[Address], bool]
) -> bytes | str:
    """The image at `url`, or the address that it redirects to."""
    parts = _parts(url, limits)
    try:
        addresses = _addresses(url, parts, clock, may_reach)
        with (
            _connected(url, addresses, clock) as bare,
            _ended_by(clock, bare),
            contextlib.closing(_secured(bare, parts)) as connection,
        ):
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers=HEADERS)
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status in REDIRECTS and location:
                return location
            _check(url, response, limits)
            content = _content(url, response, limits.most)
            clock.left()  # a connection that was cut looks like one that is done
            return content
    except (OSError, http.client.HTTPException) as error:
        why = _why(error, clock)
        raise DataError(f"{url}: cannot be fetched ({why}); check the address") from error


def _parts(url: str, limits: Limits) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url) or parts.scheme not in PORTS:
        raise DataError(f"{url[:200]!r}: not the address of an image on the web (https://…)")
    if parts.username is not None or parts.password is not None:
        raise DataError("an address with a name or password in it; give one without")
    if limits.ports and (parts.port or PORTS[parts.scheme]) not in limits.ports:
        allowed = " and ".join(map(str, limits.ports))
        raise DataError(f"{url}: port {parts.port} is not fetched from, only {allowed} are")
    return parts


def _addresses(
    url: str, parts: SplitResult, clock: _Clock, may_reach: Callable[[Address], bool]
) -> list[tuple[str, int]]:
    """The host's addresses, once each has been checked."""
    port = parts.port or PORTS[parts.scheme]
    hosts = _looked_up(str(parts.hostname), port, clock)
    if not hosts:
        raise DataError(f"{url}: no host of this name; check the address")
    if not all(may_reach(ipaddress.ip_address(host)) for host in hosts):
        raise DataError(f"{url}: not on the public Internet; give a public address")
    return [(host, port) for host in hosts]


def _looked_up(host: str, port: int, clock: _Clock) -> list[str]:
    """In a thread that is left behind when time is up: the system's look-up takes no timeout."""
    results: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        results.put(list(dict.fromkeys(str(where[0]) for *_, where in found)))

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return results.get(timeout=clock.left())
    except queue.Empty:
        return []


@contextlib.contextmanager
def _connected(
    url: str, addresses: list[tuple[str, int]], clock: _Clock
) -> Iterator[socket.socket]:
    """A connection to the first address that accepts one."""
    failure: OSError | None = None
    for address in addresses:
        try:
            bare = socket.create_connection(address, timeout=clock.left())
        except OSError as error:
            failure = error
            continue
        with bare:
            yield bare
        return
    raise DataError(f"{url}: no server responds there; check the address") from failure


@contextlib.contextmanager
def _ended_by(clock: _Clock, bare: socket.socket) -> Iterator[None]:
    """Closes the connection when time is up; a slow sender never exceeds a single timeout."""

    def end() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    # A duplicate, because TLS takes over the original.
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
    """HTTP over an open connection; the certificate must be for the host's name."""
    host = str(parts.hostname)
    connection = http.client.HTTPConnection(host, parts.port or PORTS[parts.scheme])
    connection.default_port = PORTS[parts.scheme]  # the Host header leaves it out
    connection.auto_open = 0  # it never resolves the name itself
    connection.sock = bare
    if parts.scheme == "https":
        connection.sock = _tls().wrap_socket(bare, server_hostname=host)
    return connection


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _check(url: str, response: http.client.HTTPResponse, limits: Limits) -> None:
    if response.status != 200:
        raise DataError(f"{url}: the server responds {response.status}; check the address")
    kind = (response.getheader("Content-Type") or "nothing").split(";")[0].strip().lower()
    if limits.images_only and (not kind.startswith("image/") or kind == "image/svg+xml"):
        raise NotAnImage(f"{url}: is {kind[:80]}; give the address of the image itself")
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise NotAnImage(f"{url}: the response is compressed; give an address that sends it plain")
    if response.length is not None and response.length > limits.most:
        raise _too_large(url, limits.most)


def _content(url: str, response: http.client.HTTPResponse, most: int) -> bytes:
    parts, size = [], 0
    while part := response.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(url, most)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _too_large(url: str, most: int) -> TooLarge:
    return TooLarge(f"{url}: has more than {megabytes(most)}; give a smaller image")


def _why(error: Exception, clock: _Clock) -> str:
    try:
        clock.left()
    except TimeoutError:
        return f"not within {clock.seconds:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or "the connection broke").lower()
    return f"not valid HTTP: {type(error).__name__}"
