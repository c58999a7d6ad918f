"""Requests over HTTP to a URL: with headers of the caller's own, signed for AWS, through a proxy.

Connections are kept, as many as there are concurrent requests. All of it is thread-safe.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import re
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from petbox import __version__
from petbox.client.transport import SECONDS, URL, response_error
from petbox.errors import ServiceError

API = "/detect"  # what the path of petbox's HTTP API in AWS ends with
# The latter is TensorFlow Serving's.
COMPLETE = ("/invocations", API, ":predict")
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OWN = ("content-length", "content-type", "host", "transfer-encoding")


class Http:
    """A server at a URL."""

    def __init__(
        self,
        url: str = URL,
        seconds: float = SECONDS,
        headers: Mapping[str, str] | None = None,
        sign: bool = False,
        min_score: float | None = None,  # for petbox's HTTP API, which else decides itself
    ) -> None:
        try:
            parts = urlsplit(url)
            host, self._port = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.username is not None:
            raise ServiceError(
                f"the URL of {host} has a user name or a password, which are not sent; pass "
                "--header 'Authorization: Basic …' (in Python headers=) instead"
            )
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not host or not url.isascii() or " " in url:
            raise ServiceError(f"{url}: not the URL of a server; write it like {URL}")
        path = parts.path.rstrip("/")
        if not path.endswith(COMPLETE):
            path += "/invocations"
        self.is_api = path.endswith(API)
        kind = "application/x-image" if self.is_api else "application/json"
        self._url, self._host, self._seconds = url, host, seconds
        score = [f"min_score={min_score:g}"] if self.is_api and min_score is not None else []
        query = "&".join([parts.query] * bool(parts.query) + score)
        self._path = f"{path}?{query}" if query else path
        self._kind: type[http.client.HTTPConnection] = kinds[parts.scheme]
        self._headers = {"Content-Type": kind, "User-Agent": f"petbox/{__version__}"}
        self._headers |= checked(headers or {})
        self._full_url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._path}"
        self._signer = None
        if sign:
            from petbox.aws.signing import Signer

            self._signer = Signer(self._full_url)
        self._proxy = _proxy(parts)
        self._proxy_headers = _credentials(self._proxy)
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._process = os.getpid()

    def send(self, body: bytes, kind: str = "", query: str = "") -> bytes:
        """The response to the body, of another content type and with another query if given."""
        if self._process != os.getpid():  # a fork must not use its parent's connections
            self._idle, self._process = deque(), os.getpid()
        try:
            connection, reused = self._idle.pop(), True
        except IndexError:
            connection, reused = self._connection(), False
        headers = {**self._headers, "Content-Type": kind} if kind else self._headers
        target, url = self._path, self._full_url
        if query:
            target, url = (one.partition("?")[0] + f"?{query}" for one in (target, url))
        if self._signer:
            headers = self._signer.signed("POST", url, body, headers)
        if self._proxy and self._kind is http.client.HTTPConnection:
            headers, target = {**headers, **self._proxy_headers}, url
        try:
            with contextlib.suppress(BrokenPipeError):  # a server may reject before it has read all
                connection.request("POST", target, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if not (reused and isinstance(error, ConnectionError)):
                raise self._no_response(error) from error
        else:
            self._idle.append(connection)
            if response.status != 200:
                after = response.getheader("Retry-After")
                raise response_error(response.status, content, self._url, after)
            return content
        return self.send(
            body, kind, query
        )  # the server had closed the idle connection, as it may at any time

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._proxy is None:
            return self._kind(self._host, self._port, timeout=self._seconds)
        host = str(self._proxy.hostname)
        connection = self._kind(host, self._proxy.port or 80, timeout=self._seconds)
        if self._kind is http.client.HTTPSConnection:
            connection.set_tunnel(self._host, self._port, self._proxy_headers)
        return connection

    def _no_response(self, error: Exception) -> ServiceError:
        where = self._url
        if self._proxy:
            where += f", through the proxy {self._proxy.hostname}:{self._proxy.port or 80}"
        if isinstance(error, TimeoutError):
            return ServiceError(
                f"{where}: no response within {self._seconds:g} s; is the server overloaded?"
            )
        if not isinstance(error, OSError):
            return ServiceError(
                f"{where}: not a valid HTTP response ({error!r}); is it the right port, "
                "and is the server still running?"
            )
        closed = "it closed the connection" if isinstance(error, ConnectionError) else str(error)
        why = error.strerror or closed
        if self._proxy:
            return ServiceError(f"{where}: {why}; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
        return ServiceError(
            f"{where}: no server responds there ({why}); start one with `petbox serve MODEL`, "
            "or give another URL"
        )


def checked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers; a ValueError names one that cannot be sent, never its value."""
    for name, value in headers.items():
        if not HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header; write 'x-api-key: KEY'")
        if name.lower() in OWN:
            raise ValueError(f"the header {name} is set by petbox; leave it out")
        if not value:
            raise ValueError(f"the header {name} has no value; write '{name}: VALUE'")
        if not value.isascii() or not value.isprintable():
            raise ValueError(
                f"the header {name} has a value with characters other than printable ASCII; "
                "encode or remove them"
            )
    return dict(headers)


def _proxy(server: SplitResult) -> SplitResult | None:
    """The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); none to this machine."""
    from urllib.request import getproxies, proxy_bypass  # takes a while to import

    address = getproxies().get(server.scheme)
    host = str(server.hostname)
    if not address or _is_this_machine(host):
        return None
    if proxy_bypass(f"{host}:{server.port}" if server.port else host):
        return None
    try:
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        good = proxy.scheme == "http" and proxy.hostname and proxy.port != 0
    except ValueError:
        good = False
    if not good:
        variable = f"{server.scheme.upper()}_PROXY"
        raise ServiceError(f"{variable}: not the address of a proxy; write http://HOST:PORT")
    return proxy


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(proxy: SplitResult | None) -> dict[str, str]:
    if proxy is None or proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
