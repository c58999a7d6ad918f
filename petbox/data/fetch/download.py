"""Downloads a file over HTTP: complete and as expected, or not at all.

Partial content is kept in `NAME.part`, and `NAME.part.json` records its source, so that a broken
download resumes where it stopped, in this run or a later one. Sends no credentials.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

from petbox import __version__
from petbox.cli.program import say
from petbox.cli.progress import meter
from petbox.cli.sizes import MIB, megabytes
from petbox.data.fetch.checksum import Fingerprint, difference
from petbox.errors import DataError, ServiceError

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # retrying any other status is useless
LONGEST_WAIT = 60.0
ENOUGH = MIB  # bytes that make an attempt count as progress
CHUNK = 1 << 18


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up on a server."""

    seconds: float = 30.0  # without a byte
    attempts: int = 6  # in a row without progress
    sleep: Callable[[float], object] = time.sleep


class _Retryable(Exception):
    """The next attempt may succeed."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def is_url(source: str) -> bool:
    return "://" in source


def fetch(
    url: str,
    path: Path,
    fingerprint: Fingerprint | None = None,
    policy: RetryPolicy | None = None,
) -> None:
    """Downloads `url` to `path`, resuming what an earlier run left of it.

    A file other than the expected one is removed and raises a DataError; a server that does not
    send it raises a ServiceError. No other process may write to `path` meanwhile.
    """
    expected, policy = fingerprint or Fingerprint(), policy or RetryPolicy()
    _check(url)
    part = _Part(path)
    with _writing(part.path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _complete(url, part, expected, policy)
    trouble = difference(part.path, expected)
    if trouble and part.pieced:
        say(f"{path.name}: the pieces do not fit together ({trouble}); starting over")
        part.clear()
        _complete(url, part, expected, policy)
        trouble = difference(part.path, expected)
    if trouble:
        part.clear()
        raise _unexpected(url, trouble, expected)
    part.path.rename(path)
    part.memo.unlink(missing_ok=True)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url):
        raise ServiceError(f"{url}: not an address; write it like https://example.org/data")


def _unexpected(url: str, trouble: str, expected: Fingerprint) -> DataError:
    return DataError(f"{url}: sends another file than expected: {trouble}; {expected.otherwise}")


# The partial file


class _Part:
    """The content received so far, and which file it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.memo = path.with_name(f"{path.name}.part.json")
        self.pieced = self.size > 0  # of more than one response, which may not fit together

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)
        self.pieced = False

    def begin(self, url: str, headers: Message) -> None:
        """Drops the old content: the whole file follows."""
        self.clear()
        memory = {"url": url, "mark": _mark(headers)}
        with _writing(self.memo):
            self.memo.write_text(json.dumps(memory), encoding="utf-8")

    def rest(self, url: str, expected: Fingerprint) -> dict[str, str]:
        """The headers that request the rest, if the content so far can be used."""
        if not self.size:
            return {}
        try:
            memory = json.loads(self.memo.read_text(encoding="utf-8"))
            mark = memory["mark"] if memory["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            mark = None  # killed between the two files
        if mark is None and not expected.known:
            return {}  # nothing shows whether old and new belong to one file
        pieces = {"Range": f"bytes={self.size}-"}
        return {**pieces, "If-Range": str(mark)} if mark else pieces


def _mark(headers: Message) -> str | None:
    """Identifies this version of the file; a weak ETag does not (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns disk errors into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); fix that, then run the command again"
        ) from error


# Attempts


def _complete(url: str, part: _Part, expected: Fingerprint, policy: RetryPolicy) -> None:
    """Retries until the file is complete or the policy gives up."""
    failures, furthest = 0, part.size
    while part.size != expected.size:
        before = part.size
        try:
            _attempt(url, part, expected, policy.seconds)
            break
        except _Retryable as trouble:
            if part.size >= furthest + ENOUGH:
                failures, furthest = 0, part.size
            failures += 1
            if failures >= policy.attempts:
                raise ServiceError(
                    f"{url}: {trouble}, {failures} times in a row; repeat the command later to "
                    f"continue from {megabytes(part.size)}, or name another address or a local copy"
                ) from trouble
            wait = 0.0 if part.size > before else 2.0 ** (failures - 1)
            wait = min(LONGEST_WAIT, wait if trouble.wait is None else trouble.wait)
            after = f" in {wait:g} s" if wait else ""
            where = f"continuing from {megabytes(part.size)}" if part.size else "trying again"
            say(f"{url}: {trouble}; {where}{after}")
            policy.sleep(wait)


def _attempt(url: str, part: _Part, expected: Fingerprint, seconds: float) -> None:
    headers = {
        "User-Agent": f"petbox/{__version__}",
        "Accept-Encoding": "identity",
        **part.rest(url, expected),
    }
    request = urllib.request.Request(url, headers=headers)
    try:
        with _opener().open(request, timeout=seconds) as response:
            _save(url, response, part, expected)
    except urllib.error.HTTPError as error:
        with error:
            _handle_status(url, error, part, expected)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            why = error.reason.verify_message
            raise ServiceError(
                f"{url}: its certificate is not trusted ({why}); name another address, or set "
                "SSL_CERT_FILE to the certificates to trust"
            ) from error
        if isinstance(error.reason, str):  # a redirect to another protocol
            raise ServiceError(f"{url}: leads to an {error.reason}; name another") from error
        raise _Retryable(_why(error.reason, seconds)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Retryable(_why(error, seconds)) from error


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS with redirects and the environment's proxies; no redirect to a file or FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _why(error: object, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no data for {seconds:g} s"
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return "the connection broke"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror.lower()})"
    if isinstance(error, OSError):
        return f"cannot be reached ({error})"  # such as an error of the proxy
    return f"is not a valid HTTP server ({type(error).__name__})"


def _handle_status(
    url: str, error: urllib.error.HTTPError, part: _Part, expected: Fingerprint
) -> None:
    """Returns if the file is already complete; otherwise raises, retryable or not."""
    if error.code == 416:  # no bytes after those received
        match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if match and int(match[1]) == part.size and expected.size in (None, part.size):
            return
        part.clear()
        raise _Retryable("has another file now", wait=0) from error
    status = f"answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if error.code in TRANSIENT:
        after = error.headers.get("Retry-After", "")
        raise _Retryable(status, float(after) if after.isdecimal() else None) from error
    raise ServiceError(f"{url}: {status}; check the address, or name another") from error


# The response


def _save(url: str, response: http.client.HTTPResponse, part: _Part, expected: Fingerprint) -> None:
    if response.headers.get_content_type() == "text/html":
        raise ServiceError(f"{url}: sends a web page, not a file; open it in a browser to see why")
    total: int | None
    if response.status == 206:
        total = _total_of_rest(response, part)
        part.pieced = True
    elif response.status == 200:
        part.begin(url, response.headers)
        total = response.length
    else:
        raise ServiceError(
            f"{url}: responds {response.status} {response.reason} and no file; check the address"
        )
    if expected.size is not None and total not in (None, expected.size):
        part.clear()
        raise _unexpected(url, f"it has {total} bytes, not {expected.size}", expected)
    _write(response, part, expected.size if total is None else total)


def _total_of_rest(response: http.client.HTTPResponse, part: _Part) -> int | None:
    """The whole file's size, after checking that the response continues it."""
    ranges = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", ranges)
    if match is None or int(match[1]) != part.size:
        part.clear()
        raise _Retryable(f"sends another range than requested ({ranges})", wait=0)
    return None if match[2] == "*" else int(match[2])


def _write(response: http.client.HTTPResponse, part: _Part, total: int | None) -> None:
    start = part.size
    if total is not None:
        _check_free_space(part.path, total - start)
    with _writing(part.path):
        file = part.path.open("ab")
    name = part.path.name.removesuffix(".part")
    with contextlib.closing(file), meter(f"download {name}", total, start) as at:
        while chunk := response.read1(CHUNK):
            with _writing(part.path):
                file.write(chunk)
                file.flush()  # so that a KILL costs no more than this piece
            at(file.tell())
            if total is not None and file.tell() > total:
                break
        if total is not None and file.tell() < total:
            raise _Retryable(
                f"the connection broke at {megabytes(file.tell())} of {megabytes(total)}"
            )


def _check_free_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataError(
            f"{path}: {megabytes(needed)} more are needed, and only {megabytes(free)} are free; "
            "make room, then run the command again"
        )
