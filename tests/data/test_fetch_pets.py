"""Fetching Oxford-IIIT Pet from servers with every kind of fault, and from hostile archives."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from petbox.data.fetch.checksum import Fingerprint
from petbox.data.fetch.download import RetryPolicy, fetch
from petbox.errors import DataError, ServiceError

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = "train/fetch_pets.py"
ENV = {**os.environ, "no_proxy": "*", "PYTHONPATH": str(CHECKOUT)}
STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"


def tar(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


PHOTOS = {f"images/Abyssinian_{i}.jpg": noise(i, 50_000) for i in range(1, 7)}
LISTS = {"annotations/list.txt": b"#\n", "annotations/xmls/Abyssinian_1.xml": b"<annotation/>"}
ALL = PHOTOS | LISTS
IMAGES, ANNOTATIONS = tar(PHOTOS), tar(LISTS)
HASHES = {
    f"--{name}-sha256": hashlib.sha256(content).hexdigest()
    for name, content in (("images", IMAGES), ("annotations", ANNOTATIONS))
}
TRUST = [word for pair in HASHES.items() for word in pair]
ANYTHING = ["--images-sha256", "any", "--annotations-sha256", "any"]

Response = Callable[["Request"], None]


class Mirror(ThreadingHTTPServer):
    """A server of files; it sends the scripted responses first, then correct ones."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files = {"/images.tar.gz": IMAGES, "/annotations.tar.gz": ANNOTATIONS}
        self.marks = {"ETag": '"one"'}
        self.script: dict[str, list[Response]] = {}
        self.requested: list[tuple[str, str | None]] = []  # path, Range
        self.sent = 0  # bytes of images.tar.gz
        self.over = threading.Event()  # ends the responses that hang
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that were killed."""

    def ranges(self, path: str = "/images.tar.gz") -> list[str | None]:
        return [range_ for requested, range_ in self.requested if requested == path]


class Request(BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requested.append((self.path, self.headers["Range"]))
        script = self.server.script.get(self.path)
        (script.pop(0) if script else correct)(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in {**headers, **self.server.marks}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, content: bytes) -> None:
        if self.path == "/images.tar.gz":
            self.server.sent += len(content)
        self.wfile.write(content)
        self.wfile.flush()


def correct(request: Request, upto: int | None = None) -> None:
    content = request.server.files.get(request.path)
    if content is None:
        return request.send_error(404)
    range_, only_if = request.headers["Range"], request.headers["If-Range"]
    if range_ and only_if in (None, *request.server.marks.values()):
        start = int(range_.removeprefix("bytes=").removesuffix("-"))
        size = len(content)
        if start >= size:
            return request.head(416, Content_Range=f"bytes */{size}", Content_Length=0)
        request.head(
            206, Content_Range=f"bytes {start}-{size - 1}/{size}", Content_Length=size - start
        )
        return request.body(content[start:upto])
    request.head(200, Content_Length=len(content))
    return request.body(content[:upto])


def breaks_at(upto: int) -> Response:
    return lambda request: correct(request, upto)


def hangs_at(upto: int) -> Response:
    def response(request: Request) -> None:
        correct(request, upto)
        request.server.over.wait()

    return response


def without_ranges(request: Request) -> None:
    content = request.server.files[request.path]
    request.head(200, Content_Length=len(content))
    request.body(content)


def status_only(status: int, **headers: object) -> Response:
    return lambda request: request.head(status, **{"Content_Length": 0, **headers})


def web_page(request: Request) -> None:
    page = b"<html>please log in</html>"
    request.head(200, Content_Type="text/html; charset=utf-8", Content_Length=len(page))
    request.body(page)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pets"


@pytest.fixture
def fetched(run: Any, out: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program; by default with the hashes of the test archives."""

    def fetched(place: object, *options: str, trust: list[str] = TRUST, **settings: Any) -> Any:
        options = ("--from", str(place), "--out", out, *trust, *options)
        return run(SCRIPT, *options, env=ENV, timeout=60, **settings)

    return fetched


def started(place: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, SCRIPT, "--from", place, "--out", str(out), *TRUST]
    return subprocess.Popen(command, cwd=CHECKOUT, env=ENV, stderr=subprocess.PIPE, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def part(out: Path) -> Path:
    return out.with_name("pets.download") / "images.tar.gz.part"


def complete(done: subprocess.CompletedProcess[str], out: Path) -> str:
    """The stderr of a run that made the whole folder, with nothing left beside it."""
    assert done.returncode == 0, done.stderr
    assert contents(out) == ALL
    assert list(out.parent.iterdir()) == [out]
    return done.stderr


def error_of(done: subprocess.CompletedProcess[str], out: Path) -> str:
    """The error of a run, in one line; it has made nothing."""
    assert done.returncode == 1, done.stderr
    assert not out.exists() and not list(out.parent.glob(".pets*"))
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# From an address


def test_both_archives_become_one_folder(mirror: Mirror, fetched: Any, out: Path) -> None:
    done = fetched(f"{mirror.url}/")
    stderr = complete(done, out)
    assert done.stdout == f"{out}\n"
    assert stderr.endswith(f"{out}: 6 photos\n")
    assert "download images.tar.gz: 1/1 MB" in stderr
    assert "unpack images.tar.gz: 1/1 MB" in stderr


def test_what_is_there_already_is_not_fetched_again(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    assert fetched(mirror.url).returncode == 0
    mirror.requested.clear()
    part(out).parent.mkdir()  # as after a KILL at the very end
    done = fetched(mirror.url)
    assert "exists already" in complete(done, out)
    assert done.stdout == f"{out}\n"
    assert mirror.requested == []


def test_another_folder_of_that_name_is_not_changed(fetched: Any, out: Path) -> None:
    out.mkdir(parents=True)
    done = fetched("http://127.0.0.1:1")
    assert done.returncode == 1
    assert f"{out}: exists, but images is missing" in done.stderr


def test_a_broken_download_continues_where_it_broke(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script["/images.tar.gz"] = [breaks_at(100_000), breaks_at(250_000)]
    stderr = complete(fetched(mirror.url), out)
    assert mirror.ranges() == [None, "bytes=100000-", "bytes=250000-"]
    assert mirror.sent == len(IMAGES)  # not a byte twice
    assert "the connection broke at 0.1 MB of 0.3 MB; continuing from 0.1 MB" in stderr


@pytest.mark.parametrize("marks", [{"Last-Modified": STAMP}, {"ETag": 'W/"weak"'}, {}])
def test_a_server_that_marks_its_files_badly_can_be_resumed(
    marks: dict[str, str], mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.marks = marks
    mirror.script["/images.tar.gz"] = [breaks_at(100_000)]
    complete(fetched(mirror.url), out)
    assert mirror.sent == len(IMAGES)


def test_without_mark_and_hash_pieces_are_not_put_together(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.marks = {}
    mirror.script["/images.tar.gz"] = [breaks_at(100_000)]
    complete(fetched(mirror.url, trust=ANYTHING), out)
    assert mirror.ranges() == [None, None]


def test_a_server_that_ignores_ranges_starts_over(mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.script["/images.tar.gz"] = [breaks_at(100_000), without_ranges]
    complete(fetched(mirror.url), out)
    assert mirror.sent == 100_000 + len(IMAGES)


def test_a_server_that_sends_another_piece_starts_over(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    def other_piece(request: Request) -> None:
        size = len(IMAGES)
        request.head(206, Content_Range=f"bytes 7-{size - 1}/{size}", Content_Length=size - 7)
        request.body(IMAGES[7:])

    mirror.script["/images.tar.gz"] = [breaks_at(100_000), other_piece]
    assert "sends another range than requested (bytes 7-" in complete(fetched(mirror.url), out)


def test_a_file_that_changes_in_between_is_downloaded_again(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.files["/images.tar.gz"] = noise(1, 400_000)

    def changes(request: Request) -> None:
        correct(request, 100_000)
        mirror.files["/images.tar.gz"], mirror.marks = IMAGES, {"ETag": '"two"'}

    mirror.script["/images.tar.gz"] = [changes]
    complete(fetched(mirror.url, trust=ANYTHING), out)
    assert mirror.ranges() == [None, "bytes=100000-"]


def test_a_file_that_changes_unnoticed_is_downloaded_again(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.files["/images.tar.gz"] = noise(1, len(IMAGES))

    def changes(request: Request) -> None:
        correct(request, 100_000)
        mirror.files["/images.tar.gz"] = IMAGES  # under the same ETag

    mirror.script["/images.tar.gz"] = [changes]
    assert "the pieces do not fit together" in complete(fetched(mirror.url), out)


def test_a_file_that_got_shorter_is_downloaded_again(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    part(out).parent.mkdir(parents=True)
    part(out).write_bytes(noise(1, len(IMAGES) + 1))
    complete(fetched(mirror.url), out)
    assert mirror.ranges() == [f"bytes={len(IMAGES) + 1}-", None]


def test_a_file_that_came_whole_is_not_requested_again(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    part(out).parent.mkdir(parents=True)
    part(out).write_bytes(IMAGES)  # killed before it was renamed
    part(out).with_name("annotations.tar.gz").write_bytes(ANNOTATIONS)
    complete(fetched(mirror.url), out)
    assert mirror.sent == 0


def test_a_server_that_hangs_is_dropped_and_retried(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script["/images.tar.gz"] = [hangs_at(100_000)]
    assert "no data for 0.5 s; continuing from 0.1 MB" in complete(
        fetched(mirror.url, "--timeout", "0.5"), out
    )
    assert mirror.sent == len(IMAGES)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_overloaded_is_retried(
    status: int, mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script["/images.tar.gz"] = [status_only(status, Retry_After=0)]
    assert f"images.tar.gz: answers {status} " in complete(fetched(mirror.url), out)


def test_a_redirect_is_followed_with_its_range(mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.files["/moved"] = IMAGES
    moved = status_only(301, Location="/moved")
    mirror.script = {"/images.tar.gz": [moved, moved], "/moved": [breaks_at(100_000)]}
    complete(fetched(mirror.url), out)
    assert mirror.ranges("/moved") == [None, "bytes=100000-"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_ends_it_at_once(status: int, mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.script["/annotations.tar.gz"] = [status_only(status)]
    why = error_of(fetched(mirror.url), out)
    assert why.startswith(f"{mirror.url}/annotations.tar.gz: answers {status} ")
    assert "check the address" in why
    assert len(mirror.requested) == 1


@pytest.mark.parametrize("place", ["/loop", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_an_unsafe_place_is_rejected(
    place: str, mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script = {
        "/annotations.tar.gz": [status_only(302, Location=place)],
        "/loop": [status_only(302, Location="/loop")] * 20,
    }
    error_of(fetched(mirror.url), out)
    assert len(mirror.requested) < 12


def test_a_web_page_is_not_mistaken_for_an_archive(mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.script["/annotations.tar.gz"] = [web_page]
    assert "sends a web page, not a file" in error_of(fetched(mirror.url, trust=ANYTHING), out)


def test_a_wrong_file_is_named_with_both_hashes(mirror: Mirror, fetched: Any, out: Path) -> None:
    wrong = mirror.files["/images.tar.gz"] = tar({"images/a.jpg": b"other"})
    done = fetched(mirror.url)
    assert error_of(done, out) == (
        f"{mirror.url}/images.tar.gz: sends another file than expected: its SHA-256 is "
        f"{hashlib.sha256(wrong).hexdigest()}, not {HASHES['--images-sha256']}; get it from "
        "another place with --from, or trust it with --images-sha256"
    )
    assert mirror.ranges() == [None]
    assert contents(part(out).parent).keys() == {"annotations.tar.gz"}  # the good one is kept


def test_the_published_size_is_checked_first(mirror: Mirror, fetched: Any, out: Path) -> None:
    why = error_of(fetched(mirror.url, trust=[]), out)
    assert f"it has {len(ANNOTATIONS)} bytes, not 19173078" in why
    assert not part(out).exists()


def test_any_hash_can_be_trusted_by_flag(mirror: Mirror, fetched: Any, out: Path) -> None:
    complete(fetched(mirror.url, trust=ANYTHING), out)


def test_one_archive_at_an_address_suffices(mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.files["/all.tgz"] = tar({f"pets/{name}": content for name, content in ALL.items()})
    complete(fetched(f"{mirror.url}/all.tgz"), out)


def test_a_download_larger_than_the_disk_is_rejected_first(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script["/annotations.tar.gz"] = [status_only(200, Content_Length=1 << 60)]
    why = error_of(fetched(mirror.url, trust=ANYTHING), out)
    assert "more are needed, and only" in why and "make room" in why


def test_a_disk_that_fills_up_is_named_and_the_rest_comes_later(
    mirror: Mirror, fetched: Any, out: Path
) -> None:
    limit = (100_000, resource.RLIM_INFINITY)
    done = fetched(mirror.url, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert error_of(done, out) == (
        f"{part(out)}: cannot be written (File too large); fix that, then run the command again"
    )
    complete(fetched(mirror.url), out)
    assert mirror.ranges() == [None, "bytes=100000-"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_download_continues(
    how: signal.Signals, mirror: Mirror, fetched: Any, out: Path
) -> None:
    mirror.script["/images.tar.gz"] = [hangs_at(150_000)]
    with started(mirror.url, out) as process:
        while not (part(out).exists() and part(out).stat().st_size == 150_000):
            assert process.poll() is None
        process.send_signal(how)
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert "Traceback" not in stderr
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    assert not out.exists()
    complete(fetched(mirror.url), out)
    assert mirror.ranges() == [None, "bytes=150000-"]
    assert mirror.sent == len(IMAGES)
    assert mirror.ranges("/annotations.tar.gz") == [None]  # whole then, and kept


def test_two_at_once_do_not_mix_their_bytes(mirror: Mirror, fetched: Any, out: Path) -> None:
    mirror.script["/images.tar.gz"] = [hangs_at(150_000)]
    with started(mirror.url, out) as process:
        while not part(out).exists():
            assert process.poll() is None
        assert "another process is fetching into it" in error_of(fetched(mirror.url), out)
        process.kill()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/pets", "http://", "http://a b/", "http://[/"])
def test_what_is_not_an_address_is_rejected(url: str, fetched: Any, out: Path) -> None:
    assert "not an address" in error_of(fetched(url), out)


# How often, and how long between


def attempts(url: str, path: Path) -> list[float]:
    """How long was waited between the attempts, all of which failed."""
    waits: list[float] = []
    with pytest.raises(ServiceError, match="5 times in a row; repeat the command later"):
        fetch(url, path, policy=RetryPolicy(seconds=5, attempts=5, sleep=waits.append))
    return waits


def test_waits_get_longer_and_end(mirror: Mirror, tmp_path: Path) -> None:
    mirror.script["/images.tar.gz"] = [status_only(503)] * 9
    assert attempts(f"{mirror.url}/images.tar.gz", tmp_path / "file") == [1, 2, 4, 8]


def test_a_server_may_delay_a_retry_but_not_forever(mirror: Mirror, tmp_path: Path) -> None:
    waits = [3, 9999, "Wed, 21 Oct 2015 07:28:00 GMT", 1]
    mirror.script["/images.tar.gz"] = [status_only(503, Retry_After=w) for w in [*waits, 1]]
    assert attempts(f"{mirror.url}/images.tar.gz", tmp_path / "file") == [3, 60, 4, 1]


def test_an_unreachable_server_is_reported_after_some_attempts(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.shutdown()
    mirror.server_close()
    assert len(attempts(f"{mirror.url}/file", tmp_path / "file")) == 4


def test_a_server_that_always_breaks_at_the_same_byte_is_not_retried_forever(
    mirror: Mirror, tmp_path: Path
) -> None:
    def cut(request: Request) -> None:  # ignores ranges, too
        request.head(200, Content_Length=4 << 20)
        request.body(bytes(3 << 20))

    mirror.script["/images.tar.gz"] = [cut] * 99
    assert attempts(f"{mirror.url}/images.tar.gz", tmp_path / "file") == [0, 2, 4, 8]
    assert len(mirror.requested) == 5


def test_progress_resets_the_attempts(mirror: Mirror, tmp_path: Path) -> None:
    content = mirror.files["/images.tar.gz"] = noise(1, 12 << 20)
    breaks = [breaks_at((i << 20) + 1) for i in range(1, 12)]
    mirror.script["/images.tar.gz"] = list(breaks)
    waits: list[float] = []
    policy = RetryPolicy(attempts=3, sleep=waits.append)
    fetch(f"{mirror.url}/images.tar.gz", tmp_path / "file", policy=policy)
    assert (tmp_path / "file").read_bytes() == content
    assert waits == [0] * len(breaks)
    assert mirror.sent == len(content)


def test_a_stream_without_length_is_read_to_its_end(mirror: Mirror, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.head(200)
        request.body(IMAGES)

    mirror.script["/images.tar.gz"] = [endless]
    fetch(f"{mirror.url}/images.tar.gz", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == IMAGES


def test_a_stream_longer_than_expected_is_left(mirror: Mirror, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.head(200)
        with contextlib.suppress(ConnectionError):
            while True:
                request.body(bytes(1 << 16))

    mirror.script["/images.tar.gz"] = [endless]
    with pytest.raises(DataError, match="bytes, not 1000; get it from another place"):
        fetch(f"{mirror.url}/images.tar.gz", tmp_path / "file", Fingerprint(size=1000))
    assert list(tmp_path.iterdir()) == []


# From this machine


def test_a_folder_with_the_archives_suffices(fetched: Any, out: Path, tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").write_bytes(IMAGES)
    (tmp_path / "annotations.tar.gz").write_bytes(ANNOTATIONS)
    complete(fetched(tmp_path), out)
    assert (tmp_path / "images.tar.gz").exists()


def test_a_wrong_archive_in_a_folder_is_rejected(fetched: Any, out: Path, tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").write_bytes(IMAGES[:-1])
    (tmp_path / "annotations.tar.gz").write_bytes(ANNOTATIONS)
    why = error_of(fetched(tmp_path), out)
    assert why.startswith(f"{tmp_path / 'images.tar.gz'}: is not the published one: its SHA-256 is")


def test_one_archive_suffices(fetched: Any, out: Path, tmp_path: Path) -> None:
    (tmp_path / "all.tar").write_bytes(gzip.decompress(tar(ALL)))
    complete(fetched(tmp_path / "all.tar"), out)


def test_one_archive_of_the_two_does_not_suffice(fetched: Any, out: Path, tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").write_bytes(IMAGES)
    why = error_of(fetched(tmp_path / "images.tar.gz"), out)
    assert "images.tar.gz: annotations/list.txt is missing" in why


def test_a_folder_with_half_of_it_names_the_other_half(
    fetched: Any, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "annotations").mkdir()
    assert f"{tmp_path}: has neither images.tar.gz nor images/" in error_of(fetched(tmp_path), out)


def test_a_folder_that_is_not_there_is_named(fetched: Any, out: Path, tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: not there" in error_of(fetched(tmp_path / "nowhere"), out)


def test_an_unpacked_folder_is_copied_as_it_is(fetched: Any, out: Path, data: Path) -> None:
    done = fetched(data / "pets", trust=[])
    assert done.returncode == 0, done.stderr
    for half in ("images", "annotations"):
        assert contents(out / half) == contents(data / "pets" / half)
    assert {path.name for path in out.iterdir()} == {
        "images",
        "annotations",
    }  # the rest is not ours


# Hostile and broken archives


@pytest.fixture
def unpack_error(fetched: Any, out: Path, tmp_path: Path) -> Callable[[bytes], str]:
    """The error for an archive of these bytes, after `hostile.tar.gz: `."""

    def unpack_error(content: bytes) -> str:
        (tmp_path / "hostile.tar.gz").write_bytes(content)
        return error_of(fetched(tmp_path / "hostile.tar.gz"), out)

    return unpack_error


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


PLAIN = "is neither a plain file nor a folder"
HOSTILE = {
    "absolute": (member("/tmp/petbox-evil.jpg"), "leads out of the folder"),
    "upward": (member("images/../../../evil.jpg"), "leads out of the folder"),
    "windows": (member("images\\..\\..\\evil.jpg"), "leads out of the folder"),
    "symlink": (member("images/a", type=tarfile.SYMTYPE, linkname="/etc"), PLAIN),
    "hard link": (member("a", type=tarfile.LNKTYPE, linkname="/etc/passwd"), PLAIN),
    "device": (member("images/a", type=tarfile.CHRTYPE, devmajor=1, devminor=3), PLAIN),
    "pipe": (member("images/a", type=tarfile.FIFOTYPE), PLAIN),
    "huge": (member("images/a.jpg", size=9_000_000_000), "has a stated size of 9000000000 bytes"),
    "negative": (member("images/a.jpg", size=-512), "has a stated size of -512 bytes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_rejected_by_name(
    kind: str, unpack_error: Any, out: Path, tmp_path: Path
) -> None:
    hostile, trouble = HOSTILE[kind]
    why = unpack_error(gzip.compress(hostile.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    archive = tmp_path / "hostile.tar.gz"
    assert f"{archive}: its member {hostile.name!r} {trouble}" in why
    assert set(tmp_path.rglob("*")) <= {out.parent, archive}


def test_a_link_is_not_written_through(unpack_error: Any, tmp_path: Path) -> None:
    link = member("images", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    through = member("images/evil.jpg")
    unpack_error(gzip.compress(link.tobuf() + through.tobuf() + bytes(1024)))
    assert not (tmp_path / "evil.jpg").exists()


def test_a_header_that_needs_all_memory_is_rejected(unpack_error: Any) -> None:
    header = member("././@PaxHeader", type=tarfile.XHDTYPE, size=4_000_000_000)
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT))
    assert "has a header of 4000 MB" in unpack_error(content)


def test_endless_small_members_are_rejected(unpack_error: Any) -> None:
    raw = member("images", type=tarfile.DIRTYPE).tobuf() * 50_001
    assert "holds more than 50000 files" in unpack_error(gzip.compress(raw, 1))


def test_a_file_with_the_name_of_a_folder_is_rejected(unpack_error: Any) -> None:
    content = tar({"images": b"", "images/a.jpg": b""})
    assert "images/a.jpg: cannot be written" in unpack_error(content)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (IMAGES[:200_000], "is not a complete archive"),
        (flipped(IMAGES, 200_000), "is not a complete archive"),
        (flipped(IMAGES, -6), "is not a complete archive"),  # gzip's own check sum
        (b"", "neither a .tar.gz nor a .tar"),
        (b"PK\3\4 a zip", "neither a .tar.gz nor a .tar"),
        (gzip.compress(b"no tar at all" * 100), "is not a complete archive"),
    ],
    ids=["cut", "flipped", "check sum", "empty", "zip", "no tar"],
)
def test_a_broken_archive_is_rejected(content: bytes, trouble: str, unpack_error: Any) -> None:
    assert trouble in unpack_error(content)


def test_permissions_and_owners_in_the_archive_do_not_count(
    fetched: Any, out: Path, tmp_path: Path
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name in (*ALL, "images/secret.jpg"):
            archive.addfile(member(name, mode=0o6000, uid=12345))
    (tmp_path / "all.tar.gz").write_bytes(made.getvalue())
    assert fetched(tmp_path / "all.tar.gz").returncode == 0
    status = (out / "images" / "secret.jpg").stat()
    assert status.st_mode & 0o7600 == 0o600 and status.st_uid == os.getuid()
