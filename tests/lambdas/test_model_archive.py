"""model.tar.gz from S3 (moto over HTTP): fetched once, and only with the expected digest."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION, Aws, moto, settings
from support.hostile_archives import hostile
from support.peer import Response, peer

from petbox.errors import ModelError
from petbox.lambdas import model_archive

BUCKET = "models"
MB = 1 << 20


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


WHOLE = archive(**{"1__saved_model.pb": b"a model"})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def s3(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws.client("s3")


def test_an_archive_with_the_hash_that_is_given_is_unpacked(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/model.tar.gz", Body=WHOLE)
    folder = model_archive.fetched(f"s3://{BUCKET}/a/model.tar.gz", sha256(WHOLE), tmp_path)
    assert (folder / "1/saved_model.pb").read_bytes() == b"a model"
    assert list(tmp_path.iterdir()) == [folder.parent]
    assert list(folder.parent.iterdir()) == [folder], "the archive itself is gone"


def test_it_is_fetched_once(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="once", Body=WHOLE)
    first = model_archive.fetched(f"s3://{BUCKET}/once", sha256(WHOLE), tmp_path)
    s3.delete_object(Bucket=BUCKET, Key="once")
    assert model_archive.fetched(f"s3://{BUCKET}/once", sha256(WHOLE), tmp_path) == first


def test_one_with_another_hash_is_rejected_and_leaves_nothing(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="other", Body=archive(model=b"another"))
    with pytest.raises(ModelError, match=f"expected {sha256(WHOLE)}; nothing of it is used"):
        model_archive.fetched(f"s3://{BUCKET}/other", sha256(WHOLE), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_one_the_hash_that_s3_keeps_is_checked(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="kept", Body=WHOLE, ChecksumAlgorithm="SHA256")
    folder = model_archive.fetched(f"s3://{BUCKET}/kept", "", tmp_path)
    assert (folder / "1/saved_model.pb").is_file()
    assert sha256(WHOLE) in str(folder)


def test_without_any_hash_nothing_is_used(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="bare", Body=WHOLE)
    with pytest.raises(ModelError, match="S3 has no SHA-256 of it, and none is given"):
        model_archive.fetched(f"s3://{BUCKET}/bare", "", tmp_path)


def in_parts(body: bytes, size: int) -> str:
    """As S3 keeps it of an object that came in parts of so many bytes."""
    import base64

    parts = [body[at : at + size] for at in range(0, len(body), size)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    return f"{base64.b64encode(digest).decode()}-{len(parts)}"


@pytest.mark.parametrize("size", [7, 100, len(WHOLE)])
@pytest.mark.parametrize("sound", [True, False], ids=["sound", "spoilt"])
def test_the_hash_of_parts_is_checked_as_s3_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, sound: bool
) -> None:
    """As `aws s3 cp` leaves a large file; moto keeps no such hash."""
    kept = in_parts(WHOLE if sound else WHOLE + b"!", size)

    def respond(request: Any) -> Response:
        headers = {"ETag": '"1-2"', "x-amz-checksum-sha256": kept}
        if "partNumber=1" in request.path:
            return Response(206, WHOLE[:size], headers)
        return Response(200, WHOLE, {**headers, "x-amz-checksum-type": "COMPOSITE"})

    with peer(respond) as server:
        for name, value in settings(server.url).items():
            monkeypatch.setenv(name, value)
        if sound:
            folder = model_archive.fetched("s3://models/parts", "", tmp_path)
            assert (folder / "1/saved_model.pb").is_file()
        else:
            with pytest.raises(ModelError, match="nothing of it is used"):
                model_archive.fetched("s3://models/parts", "", tmp_path)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (hostile("../evil"), "leads out of the folder"),
        (hostile("/etc/evil"), "leads out of the folder"),
        (hostile("1/link", tarfile.SYMTYPE, "/etc"), "neither a plain file nor a folder"),
        (hostile("1/link", tarfile.LNKTYPE, "/etc/passwd"), "neither a plain file nor a folder"),
        (hostile("1/device", tarfile.CHRTYPE), "neither a plain file nor a folder"),
        (WHOLE[:60], "not a complete archive"),
        (b"no archive", "neither a .tar.gz nor a .tar"),
    ],
    ids=["parent", "absolute", "symbolic link", "hard link", "device", "cut off", "no archive"],
)
def test_a_malicious_archive_is_rejected_as_a_model(
    s3: Any, tmp_path: Path, body: bytes, why: str
) -> None:
    """Not as a DataError: callers would see it as an error of their image."""
    s3.put_object(Bucket=BUCKET, Key="evil", Body=body)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ModelError, match=why):
        model_archive.fetched(f"s3://{BUCKET}/evil", sha256(body), into)
    assert not list(into.iterdir()) and list(tmp_path.iterdir()) == [into]


@pytest.mark.parametrize(
    ("address", "digest", "why"),
    [
        ("models/a", "", "is not an S3 address"),
        ("https://example.org/model.tar.gz", "", "is not an S3 address"),
        ("s3://models", "", "has no key"),
        ("s3://models/a", "abc", "no SHA-256"),
    ],
)
def test_an_invalid_setting_is_reported(
    tmp_path: Path, address: str, digest: str, why: str
) -> None:
    with pytest.raises(ModelError, match=why):
        model_archive.fetched(address, digest, tmp_path)


def test_what_s3_says_is_reported(s3: Any, tmp_path: Path) -> None:
    from petbox.aws.session import Rejected

    with pytest.raises(Rejected, match=f"s3://{BUCKET}/none: NoSuchKey"):
        model_archive.fetched(f"s3://{BUCKET}/none", sha256(WHOLE), tmp_path)


# A download that is cut short


@contextmanager
def stalling() -> Iterator[str]:
    """An S3 that sends the beginning of an object, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def respond() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nbeginning")
                over.wait()

        thread = threading.Thread(target=respond)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def test_a_download_that_stalls_is_no_fault_of_the_storage(tmp_path: Path) -> None:
    import boto3
    from botocore.config import Config

    from petbox.aws.session import Unavailable

    with stalling() as url:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(read_timeout=0.3),
        )
        response = client.get_object(Bucket=BUCKET, Key="stalls")
        digest = model_archive.Digest(bytes(32))
        with pytest.raises(Unavailable, match=r"models/stalls: .*[Tt]ime.*check the network"):
            model_archive.download("s3://models/stalls", response, digest, tmp_path / "archive")


def test_a_full_storage_is_reported(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="full", Body=WHOLE)
    response = s3.get_object(Bucket=BUCKET, Key="full")
    digest = model_archive.Digest(bytes.fromhex(sha256(WHOLE)))
    with pytest.raises(ModelError, match=r"No space left on device.*more ephemeral storage"):
        model_archive.download("s3://models/full", response, digest, Path("/dev/full"))


def test_leftovers_of_a_killed_download_are_removed(s3: Any, tmp_path: Path) -> None:
    fetch = "import sys; from pathlib import Path; from petbox.lambdas import model_archive as m; "
    fetch += "m.fetched(sys.argv[1], sys.argv[2], Path(sys.argv[3]))"
    address = f"s3://{BUCKET}/cut"
    with stalling() as url:
        command = [sys.executable, "-c", fetch, address, sha256(WHOLE), str(tmp_path)]
        with subprocess.Popen(command, env={**os.environ, **settings(url)}) as process:
            give_up = time.monotonic() + 60
            while not list(tmp_path.rglob("model.tar.gz")):
                assert process.poll() is None and time.monotonic() < give_up
                time.sleep(0.02)
            process.kill()
    assert list(tmp_path.rglob("model.tar.gz")), "nothing was left"
    s3.put_object(Bucket=BUCKET, Key="cut", Body=WHOLE)
    folder = model_archive.fetched(address, sha256(WHOLE), tmp_path)
    assert list(tmp_path.iterdir()) == [folder.parent]
    assert list(folder.parent.iterdir()) == [folder]
