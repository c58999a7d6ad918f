"""A file from an HTTP address: whole and as expected, or not there.

What has arrived is kept in `NAME.part`, with `NAME.part.json` saying whose it is, so that a broken
download goes on where it stopped, in this run or in a later one. Knows nothing of what is in the
file, and sends no credentials.
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

PASSING = (408, 425, 429, 500, 502, 503, 504)  # by any other status, asking again is useless
LONGEST_WAIT = 60.0
ENOUGH = MIB  # bytes that make an attempt fruitful, whatever became of it then
CHUNK = 1 << 18


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with."""

    seconds: float = 30.0  # without a byte
    attempts: int = 6  # in a row that bring nothing worth having
    sleep: Callable[[float], object] = time.sleep


class _Again(Exception):
    """What may go better at the next attempt."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def is_url(place: str) -> bool:
    return "://" in place


def fetch(
    url: str,
    path: Path,
    fingerprint: Fingerprint | None = None,
    patience: Patience | None = None,
) -> None:
    """Makes `path` the file at `url`, going on with what an earlier run has left of it.

    A file that is not the one expected raises a DataError and is removed, a server that cannot
    be got to send it a ServiceError. Nobody else may write to `path` meanwhile.
    """
    wanted, patience = fingerprint or Fingerprint(), patience or Patience()
    _check(url)
    part = _Part(path)
    with _writing(part.path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _complete(url, part, wanted, patience)
    trouble = difference(part.path, wanted)
    if trouble and part.pieced:
        say(f"{path.name}: the pieces do not fit together ({trouble}); starting over")
        part.clear()
        _complete(url, part, wanted, patience)
        trouble = difference(part.path, wanted)
    if trouble:
        part.clear()
        raise _another(url, trouble, wanted)
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


def _another(url: str, trouble: str, wanted: Fingerprint) -> DataError:
    return DataError(f"{url}: sends another file than expected: {trouble}; {wanted.otherwise}")


# The part that has arrived


class _Part:
    """What has arrived of a file, and which file that is."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.memo = path.with_name(f"{path.name}.part.json")
        self.pieced = self.size > 0  # of more than one answer, which may not fit together

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)
        self.pieced = False

    def begin(self, url: str, headers: Message) -> None:
        """Forgets what was there: the whole file comes now."""
        self.clear()
        memory = {"url": url, "mark": _mark(headers)}
        with _writing(self.memo):
            self.memo.write_text(json.dumps(memory), encoding="utf-8")

    def rest(self, url: str, wanted: Fingerprint) -> dict[str, str]:
        """The headers that ask for what is missing, if what is there can be gone on with."""
        if not self.size:
            return {}
        try:
            memory = json.loads(self.memo.read_text(encoding="utf-8"))
            mark = memory["mark"] if memory["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            mark = None  # killed between the two files
        if mark is None and not wanted.known:
            return {}  # nobody could tell whether old and new are of one file
        pieces = {"Range": f"bytes={self.size}-"}
        return {**pieces, "If-Range": str(mark)} if mark else pieces


def _mark(headers: Message) -> str | None:
    """What tells this version of the file from others; a weak ETag may not (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); fix that, then run the command again"
        ) from error


# Attempts


def _complete(url: str, part: _Part, wanted: Fingerprint, patience: Patience) -> None:
    """Asks until all is there, but not for ever."""
    fruitless, furthest = 0, part.size
    while part.size != wanted.size:  # which is never None
        before = part.size
        try:
            _attempt(url, part, wanted, patience.seconds)
            break
        except _Again as trouble:
            if part.size >= furthest + ENOUGH:
                fruitless, furthest = 0, part.size
            fruitless += 1
            if fruitless >= patience.attempts:
                raise ServiceError(
                    f"{url}: {trouble}, {fruitless} times in a row; the same command goes on from "
                    f"{megabytes(part.size)} later, or name another address or a copy of your own"
                ) from trouble
            wait = 0.0 if part.size > before else 2.0 ** (fruitless - 1)
            wait = min(LONGEST_WAIT, wait if trouble.wait is None else trouble.wait)
            after = f" in {wait:g} s" if wait else ""
            where = f"going on from {megabytes(part.size)}" if part.size else "trying again"
            say(f"{url}: {trouble}; {where}{after}")
            patience.sleep(wait)


def _attempt(url: str, part: _Part, wanted: Fingerprint, seconds: float) -> None:
    headers = {
        "User-Agent": f"petbox/{__version__}",
        "Accept-Encoding": "identity",
        **part.rest(url, wanted),
    }
    request = urllib.request.Request(url, headers=headers)
    try:
        with _opener().open(request, timeout=seconds) as answer:
            _take(url, answer, part, wanted)
    except urllib.error.HTTPError as error:
        with error:
            _judge(url, error, part, wanted)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            why = error.reason.verify_message
            raise ServiceError(f"{url}: its certificate is not to be trusted ({why})") from error
        if isinstance(error.reason, str):  # a redirect to another protocol
            raise ServiceError(f"{url}: leads to an {error.reason}; name another") from error
        raise _Again(_why(error.reason, seconds)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Again(_why(error, seconds)) from error


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
        return f"nothing came for {seconds:g} s"
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return "the connection broke"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror.lower()})"
    if isinstance(error, OSError):
        return f"cannot be reached ({error})"  # a proxy's refusal, for one
    return f"does not speak HTTP as it should ({type(error).__name__})"


def _judge(url: str, error: urllib.error.HTTPError, part: _Part, wanted: Fingerprint) -> None:
    """Returns if all is there already, and says else whether asking again makes sense."""
    if error.code == 416:  # there is nothing after what we have
        match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if match and int(match[1]) == part.size and wanted.size in (None, part.size):
            return
        part.clear()
        raise _Again("has another file by now", wait=0) from error
    says = f"answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if error.code in PASSING:
        after = error.headers.get("Retry-After", "")
        raise _Again(says, float(after) if after.isdecimal() else None) from error
    raise ServiceError(f"{url}: {says}; check the address, or name another") from error


# An answer


def _take(url: str, answer: http.client.HTTPResponse, part: _Part, wanted: Fingerprint) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise ServiceError(f"{url}: sends a web page, not a file; open it in a browser to see why")
    total: int | None
    if answer.status == 206:
        total = _total_of_rest(answer, part)
        part.pieced = True
    elif answer.status == 200:
        part.begin(url, answer.headers)
        total = answer.length
    else:
        raise ServiceError(f"{url}: answers {answer.status} {answer.reason}, not with a file")
    if wanted.size is not None and total not in (None, wanted.size):
        part.clear()
        raise _another(url, f"it has {total} bytes, not {wanted.size}", wanted)
    _write(answer, part, wanted.size if total is None else total)


def _total_of_rest(answer: http.client.HTTPResponse, part: _Part) -> int | None:
    """The whole file's size, once it is sure that the rest is what comes."""
    ranges = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", ranges)
    if match is None or int(match[1]) != part.size:
        part.clear()
        raise _Again(f"sends another range than requested ({ranges})", wait=0)
    return None if match[2] == "*" else int(match[2])


def _write(answer: http.client.HTTPResponse, part: _Part, total: int | None) -> None:
    start = part.size
    if total is not None:
        _refuse_without_room(part.path, total - start)
    with _writing(part.path):
        file = part.path.open("ab")
    name = part.path.name.removesuffix(".part")
    with contextlib.closing(file), meter(f"download {name}", total, start) as at:
        while chunk := answer.read1(CHUNK):
            with _writing(part.path):
                file.write(chunk)
                file.flush()  # so that a KILL costs no more than this piece
            at(file.tell())
            if total is not None and file.tell() > total:
                break
        if total is not None and file.tell() < total:
            raise _Again(f"the connection broke at {megabytes(file.tell())} of {megabytes(total)}")


def _refuse_without_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataError(
            f"{path}: {megabytes(needed)} are to come, and only {megabytes(free)} are free here; "
            "make room, and the same command goes on"
        )
