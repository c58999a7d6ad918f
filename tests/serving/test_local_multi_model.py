"""SageMaker's part of a multi-model endpoint, as boto3 sees it: loads on first use, evicts.

The container is a small server of the tests, which can be held back; `test_conform_petbox.py` uses
petbox's own.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from support.hostile_archives import hostile
from support.multi_model_server import MultiModelServer, multi_model_server

from petbox.serving.http_client import Address
from petbox.serving.multi_model.endpoint import endpoint
from petbox.serving.multi_model.library import library
from petbox.serving.multi_model.loaded import LoadedModels

Invoke = Callable[..., Any]


def archive(path: Path, answer: str) -> Path:
    """A model of the small server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("answer")
        member.size = len(answer.encode())
        tar.addfile(member, io.BytesIO(answer.encode()))
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    archive(folder / "a.tar.gz", "from a")
    archive(folder / "b.tar.gz", "from b")
    return folder


@pytest.fixture
def server() -> Iterator[MultiModelServer]:
    with multi_model_server() as server:
        yield server


@contextmanager
def invoking(server: MultiModelServer, models: Path, **options: Any) -> Iterator[Invoke]:
    """boto3's `invoke_endpoint` for models in this folder: returns what the server answered."""
    at = Address("127.0.0.1", server.port)
    with (
        library(models, None) as found,
        endpoint(0, at, LoadedModels(at, found, **options)) as served,
    ):
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=str(served),
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"max_attempts": 0}),
        )

        def invoke(name: str | None, body: bytes = b"hello", **more: Any) -> Any:
            if name is not None:
                more["TargetModel"] = name
            response = client.invoke_endpoint(EndpointName="many", Body=body, **more)
            assert response["InvokedProductionVariant"] == "AllTraffic"
            return json.loads(response["Body"].read())

        invoke.unpacked = found.unpacked  # type: ignore[attr-defined]
        yield invoke


def refused(invoke: Invoke, *words: Any, **more: Any) -> dict[str, Any]:
    """What boto3 raises, with its HTTP status."""
    with pytest.raises(ClientError) as raised:
        invoke(*words, **more)
    found: dict[str, Any] = raised.value.response
    return {**found, **found["Error"], "Status": found["ResponseMetadata"]["HTTPStatusCode"]}


def unpacked(invoke: Invoke) -> list[Path]:
    return list(invoke.unpacked.iterdir())  # type: ignore[attr-defined]


def test_a_model_is_loaded_on_first_use(server: MultiModelServer, models: Path) -> None:
    with invoking(server, models) as invoke:
        assert server.loads == []
        assert invoke("a.tar.gz")["answer"] == "from a"
        assert invoke("b.tar.gz", b"1")["answer"] == "from b"
        assert invoke("a.tar.gz", b"2")["sent"] == "2"
        assert len(server.loads) == 2, "a loaded model is not loaded again"
        assert {Path(url).parent for url in server.loads} == set(unpacked(invoke))
        assert all(Path(url).name == "model" for url in server.loads)
    assert not Path(server.loads[0]).exists(), "the files go at the end"


def test_sagemakers_headers_are_passed_on_and_no_others(
    server: MultiModelServer, models: Path
) -> None:
    with invoking(server, models) as invoke:
        more = {"ContentType": "text/csv", "Accept": "text/csv", "CustomAttributes": "a=1"}
        answer = invoke("a.tar.gz", **more, InferenceId="7", SessionId="NEW_SESSION")
    assert answer["target"] == "a.tar.gz"
    assert {name.lower() for name in answer["others"]} == {
        *("host", "accept-encoding", "content-length", "content-type", "accept"),
        *(f"x-amzn-sagemaker-{n}" for n in ("custom-attributes", "inference-id", "session-id")),
        "x-amzn-sagemaker-target-model",
    }


@pytest.mark.parametrize(
    "name", ["two words.tar.gz", "Bär, 猫.tar.gz", "sub/deep.tar.gz", "a&b?%.tgz"]
)
def test_names_may_have_any_letters(name: str, server: MultiModelServer, models: Path) -> None:
    archive(models / name, f"from {name}")
    with invoking(server, models) as invoke:
        assert invoke(name)["answer"] == f"from {name}"


@pytest.mark.parametrize("name", ["plain", "plain.tar.gz", "plain/"])
def test_a_folder_is_a_model_as_well(name: str, server: MultiModelServer, models: Path) -> None:
    (models / "plain").mkdir()
    (models / "plain/answer").write_text("from a folder")
    with invoking(server, models) as invoke:
        assert invoke(name)["answer"] == "from a folder"


def test_the_least_recently_used_model_is_evicted_at_the_limit(
    server: MultiModelServer, models: Path
) -> None:
    archive(models / "c.tar.gz", "from c")
    with invoking(server, models, most=2) as invoke:
        for name in "aba":
            invoke(f"{name}.tar.gz")
        assert invoke("c.tar.gz")["answer"] == "from c"
        assert sorted(server.models.values()) == ["from a", "from c"]
        assert len(unpacked(invoke)) == 2, "the files of an evicted model go as well"
        assert invoke("b.tar.gz")["answer"] == "from b"
        assert sorted(server.models.values()) == ["from b", "from c"]


def test_at_a_limit_of_one_each_model_gives_way(server: MultiModelServer, models: Path) -> None:
    with invoking(server, models, most=1) as invoke:
        for name in "abab":
            assert invoke(f"{name}.tar.gz")["answer"] == f"from {name}"
            assert list(server.models.values()) == [f"from {name}"]


def test_a_load_without_memory_evicts_and_is_repeated(models: Path) -> None:
    with multi_model_server(slots=1) as server, invoking(server, models) as invoke:
        assert invoke("a.tar.gz")["answer"] == "from a"
        assert invoke("b.tar.gz")["answer"] == "from b"
        assert list(server.models.values()) == ["from b"]


def test_an_invocation_without_memory_evicts_and_is_repeated(
    server: MultiModelServer, models: Path
) -> None:
    with invoking(server, models) as invoke:
        invoke("a.tar.gz")
        invoke("b.tar.gz")
        invoke("a.tar.gz", b"too much")
        assert list(server.models.values()) == ["from a"]


def test_without_anything_to_evict_the_containers_error_is_returned(models: Path) -> None:
    with multi_model_server(slots=0) as server, invoking(server, models) as invoke:
        error = refused(invoke, "a.tar.gz")
        assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 507)
        assert unpacked(invoke) == []


def test_simultaneous_first_requests_load_once(server: MultiModelServer, models: Path) -> None:
    server.may_load.clear()
    with invoking(server, models) as invoke, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(invoke, "a.tar.gz") for _ in range(4)]
        server.waiting.acquire()
        server.may_load.set()
        assert [one.result()["answer"] for one in waiting] == ["from a"] * 4
    assert len(server.loads) == 1


def test_a_loaded_model_is_invoked_while_another_loads(
    server: MultiModelServer, models: Path
) -> None:
    with invoking(server, models) as invoke, ThreadPoolExecutor(1) as pool:
        invoke("a.tar.gz")
        server.may_load.clear()
        waiting = pool.submit(invoke, "b.tar.gz")
        server.waiting.acquire()
        assert invoke("a.tar.gz")["answer"] == "from a"
        assert not waiting.done()
        server.may_load.set()
        assert waiting.result()["answer"] == "from b"


def test_a_busy_model_is_evicted_once_it_has_answered(models: Path) -> None:
    with (
        multi_model_server("cuts requests off when it unloads") as server,
        invoking(server, models, most=1) as invoke,
        ThreadPoolExecutor(2) as pool,
    ):
        invoke("a.tar.gz")
        server.may_answer.clear()
        busy = pool.submit(invoke, "a.tar.gz", b"wait")
        server.waiting.acquire()
        other = pool.submit(invoke, "b.tar.gz")
        with server.changed:
            assert not server.changed.wait_for(lambda: "from a" not in server.models.values(), 0.3)
        server.may_answer.set()
        assert busy.result()["answer"] == "from a"
        assert other.result()["answer"] == "from b"


def test_an_idle_model_is_evicted_before_a_busy_one(server: MultiModelServer, models: Path) -> None:
    archive(models / "c.tar.gz", "from c")
    with invoking(server, models, most=2) as invoke, ThreadPoolExecutor(1) as pool:
        invoke("a.tar.gz")
        server.may_answer.clear()
        busy = pool.submit(invoke, "a.tar.gz", b"wait")
        server.waiting.acquire()
        invoke("b.tar.gz")
        assert invoke("c.tar.gz")["answer"] == "from c"
        assert sorted(server.models.values()) == ["from a", "from c"]
        server.may_answer.set()
        assert busy.result()["answer"] == "from a"


def test_a_slow_load_is_model_not_ready_and_goes_on(server: MultiModelServer, models: Path) -> None:
    server.may_load.clear()
    with invoking(server, models, seconds=0.05) as invoke:
        error = refused(invoke, "a.tar.gz")
        assert (error["Code"], error["Status"]) == ("ModelNotReadyException", 429)
        error = refused(invoke, "no such model")
        assert error["Code"] == "ValidationError", "it does not wait for the load"
        server.may_load.set()
        while refused_or_answer(invoke, "a.tar.gz") is None:
            pass
    assert len(server.loads) == 1


def refused_or_answer(invoke: Invoke, name: str) -> Any:
    """None while the model is not ready."""
    try:
        return invoke(name)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ModelNotReadyException"
        return None


def test_a_request_without_target_model_is_refused(server: MultiModelServer, models: Path) -> None:
    with invoking(server, models) as invoke:
        error = refused(invoke, None)
    assert (error["Code"], error["Status"]) == ("ValidationError", 400)
    assert "is missing a target model header" in error["Message"]


@pytest.mark.parametrize(
    "name", ["c.tar.gz", ".tar.gz", "../models/a.tar.gz", "/etc", ".", "x" * 1000, "a.tar.gz/b"]
)
def test_a_name_that_is_not_in_the_folder_is_refused(
    name: str, server: MultiModelServer, models: Path
) -> None:
    with invoking(server, models) as invoke:
        error = refused(invoke, name)
        assert (error["Code"], error["Status"]) == ("ValidationError", 400)
        assert error["Message"].startswith("Failed to download model data")
    assert server.loads == []


@pytest.mark.parametrize(
    "content",
    [
        b"not an archive",
        hostile("../out"),
        hostile("link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("link", tarfile.LNKTYPE, "/etc/passwd"),
    ],
    ids=["text", "traversal", "symbolic link", "hard link"],  # the bytes hold the time
)
def test_a_broken_or_hostile_archive_is_refused(
    content: bytes, server: MultiModelServer, models: Path
) -> None:
    (models / "bad.tar.gz").write_bytes(content)
    with invoking(server, models) as invoke:
        error = refused(invoke, "bad.tar.gz")
        assert (error["Code"], error["Status"]) == ("ValidationError", 400)
        assert error["Message"].startswith("Failed to extract model data archive")
        assert unpacked(invoke) == []
        archive(models / "bad.tar.gz", "good now")
        assert invoke("bad.tar.gz")["answer"] == "good now"


def test_a_model_that_the_container_rejects_is_a_model_error(
    server: MultiModelServer, models: Path
) -> None:
    (models / "empty").mkdir()
    with invoking(server, models) as invoke:
        error = refused(invoke, "empty")
        assert (error["Code"], error["Status"]) == ("ModelError", 424)
        assert error["OriginalStatusCode"] == 400
        assert unpacked(invoke) == []
        (models / "empty/answer").write_text("full")
        assert invoke("empty")["answer"] == "full", "the next request loads it"


def test_a_models_own_error_is_a_model_error(server: MultiModelServer, models: Path) -> None:
    with invoking(server, models) as invoke:
        error = refused(invoke, "a.tar.gz", b"fail")
    assert (error["Code"], error["Status"]) == ("ModelError", 424)
    assert (error["OriginalStatusCode"], json.loads(error["OriginalMessage"])) == (
        418,
        {"error": "a teapot"},
    )
    assert error["Message"].startswith("Received client error (418) from primary with message")


def test_a_container_that_is_gone_is_a_model_error(models: Path) -> None:
    with multi_model_server() as server:
        gone = server
    with invoking(gone, models) as invoke:
        error = refused(invoke, "a.tar.gz")
    assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--multi-model", "models", "--model", "model"), "not allowed with --model"),
        (("--max-loaded", "2"), "need --multi-model"),
        (("--load-seconds", "5"), "need --multi-model"),
        (("--multi-model", "models", "--max-loaded", "0"), "--max-loaded: 0 is less than 1"),
        (("--multi-model", "models", "--load-seconds", "-1"), "--load-seconds: -1"),
    ],
)
def test_what_is_misused_exits_2(
    words: tuple[str, ...], why: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run("-m", "petbox", "local", "image", *words)
    assert done.returncode == 2
    assert why in done.stderr
