"""`petbox endpoint package` as a command: the archive and its address."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aws import Aws
from support.endpoint_aws import IMAGE, aws_proxy, done, failed, petbox

from petbox.lambdas import model_archive
from petbox.sagemaker.endpoint.package import files, pack

BUCKET = "pets-bucket"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_proxy() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


def saved_model(folder: Path, content: bytes = b"graph") -> Path:
    """Enough of one to be packed."""
    for name, data in {
        "saved_model.pb": content,
        "variables/variables.index": b"index",
        "variables/variables.data-00000-of-00001": b"weights" * 100_000,
        "assets.extra/tf_serving_warmup_requests": b"warm",
        ".DS_Store": b"the system's",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def stored(aws: Aws, address: str) -> bytes:
    key = address.removeprefix(f"s3://{BUCKET}/")
    return bytes(aws.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())


def test_a_model_is_packed_and_uploaded_once(aws: Aws, tmp_path: Path) -> None:
    model = saved_model(tmp_path / "toy" / "1")
    to = f"s3://{BUCKET}/models"
    dry = done(petbox(aws.env, "endpoint", "package", tmp_path / "toy", to, "--dry-run"))
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=BUCKET)
    first = done(petbox(aws.env, "endpoint", "package", tmp_path / "toy", to))
    assert dry.stdout == first.stdout
    address = first.stdout.strip()
    assert re.fullmatch(rf"{to}/toy-[0-9a-f]{{12}}/model\.tar\.gz", address)
    archive = stored(aws, address)
    match = re.search(r"model.tar.gz: 4 files, (\S+) MB, sha256 ([0-9a-f]{64})", first.stderr)
    assert match and match[2] == hashlib.sha256(archive).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == [
            "1/assets.extra/tf_serving_warmup_requests",
            "1/saved_model.pb",
            "1/variables/variables.data-00000-of-00001",
            "1/variables/variables.index",
        ]
        graph = tar.extractfile("1/saved_model.pb")
        assert graph is not None and graph.read() == (model / "saved_model.pb").read_bytes()
    as_json = done(petbox(aws.env, "endpoint", "package", tmp_path / "toy", to, "--json"))
    assert json.loads(as_json.stdout) == {
        "address": address,
        "sha256": match[2],
        "files": 4,
        "bytes": len(archive),
    }
    again = done(petbox(aws.env, "endpoint", "package", tmp_path / "toy", to))
    assert again.stdout == first.stdout
    assert f"{address}: already uploaded" in again.stderr


def test_a_lambda_function_takes_what_package_uploads(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite = tmp_path / "pets-litert"
    lite.mkdir()
    (lite / "model.tflite").write_bytes(b"network")
    (lite / "labels.txt").write_text("cat")
    versions = tmp_path / "versions litert"
    shutil.copytree(lite, versions / "2")
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    for model, member in (
        (saved_model(tmp_path / "sums"), "1/saved_model.pb"),
        (lite, "labels.txt"),
        (versions, "2/labels.txt"),
    ):
        words = ("endpoint", "package", model, f"s3://{BUCKET}/sums", "--json")
        facts = json.loads(done(petbox(aws.env, *words)).stdout)
        folder = model_archive.fetched(facts["address"], "", tmp_path / "fetched")
        assert (folder / member).is_file() and facts["sha256"] in str(folder)
        key = facts["address"].removeprefix(f"s3://{BUCKET}/")
        metadata = aws.client("s3").head_object(Bucket=BUCKET, Key=key)["Metadata"]
        assert metadata == {"sha256": facts["sha256"]}


def test_a_model_is_registered_once_with_its_metrics(aws: Aws, tmp_path: Path) -> None:
    model, evaluation = saved_model(tmp_path / "registered"), tmp_path / "evaluation.json"
    evaluation.write_text('{"split": "test", "mAP": 0.61, "AP@0.5": 0.9, "AR@1": null}')
    words = ("endpoint", "package", model, f"s3://{BUCKET}/r", "--register", "cats", "--json")
    more = ("--image", IMAGE, "--evaluation", evaluation)
    facts = json.loads(done(petbox(aws.env, *words, *more)).stdout)
    found = aws.client("sagemaker").describe_model_package(ModelPackageName=facts["model_package"])
    (container,) = found["InferenceSpecification"]["Containers"]
    assert (container["Image"], container["ModelDataUrl"]) == (IMAGE, facts["address"])
    assert found["ModelApprovalStatus"] == "PendingManualApproval"
    metrics = {"sha256": facts["sha256"], "mAP": "0.61", "AP@0.5": "0.9"}
    assert found["CustomerMetadataProperties"] == metrics
    statistics = found["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    assert stored(aws, statistics) == evaluation.read_bytes()
    again = done(petbox(aws.env, *words, *more))
    assert json.loads(again.stdout) == facts and "already registered" in again.stderr
    other = (*more[:1], f"{IMAGE[:-1]}1")
    second = json.loads(done(petbox(aws.env, *words, *other)).stdout)["model_package"]
    assert (facts["model_package"][-2:], second[-2:]) == ("/1", "/2")
    for content in ("", "[]", '{"split": "test"}'):
        evaluation.write_text(content)
        assert "petbox evaluate wrote" in failed(petbox(aws.env, *words, *more))


def test_a_litert_model_is_registered_without_a_container(aws: Aws, tmp_path: Path) -> None:
    lite = tmp_path / "Hündchen litert"
    lite.mkdir()
    (lite / "model.tflite").write_bytes(b"network")
    words = ("endpoint", "package", lite, f"s3://{BUCKET}/r", "--register", "lite", "--json")
    facts = json.loads(done(petbox(aws.env, *words)).stdout)
    found = aws.client("sagemaker").describe_model_package(ModelPackageName=facts["model_package"])
    specification = found["InferenceSpecification"]
    assert specification["Containers"] == [{"ModelDataUrl": facts["address"]}]
    assert not specification.get("SupportedContentTypes")
    assert found["CustomerMetadataProperties"] == {"sha256": facts["sha256"]}
    again = done(petbox(aws.env, *words))
    assert json.loads(again.stdout) == facts and "already registered" in again.stderr
    refused = petbox(aws.env, *words, "--image", IMAGE)
    assert refused.returncode == 2 and "cannot run the LiteRT model" in refused.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--register", "cats"), "--register requires --image"),
        (("--image", IMAGE), "--image and --evaluation require --register"),
        (("--register", "c_s", "--image", IMAGE), "argument --register: 'c_s' is not a valid"),
    ],
)
def test_options_of_the_registry_go_together(words: tuple[str, ...], expected: str) -> None:
    result = petbox({}, "endpoint", "package", "model", "s3://b12", *words)
    assert result.returncode == 2 and expected in result.stderr


def test_a_bare_model_becomes_version_1_and_is_called_after_its_parent(
    aws: Aws, tmp_path: Path
) -> None:
    saved_model(tmp_path / "toy" / "7")
    done_ = done(petbox(aws.env, "endpoint", "package", tmp_path / "toy" / "7", f"s3://{BUCKET}"))
    address = done_.stdout.strip()
    assert re.fullmatch(rf"s3://{BUCKET}/toy-7-[0-9a-f]{{12}}/model\.tar\.gz", address)
    with tarfile.open(fileobj=io.BytesIO(stored(aws, address))) as tar:
        assert "1/saved_model.pb" in tar.getnames()


def test_the_archive_contains_no_times_owners_or_paths(tmp_path: Path) -> None:
    digests = set()
    for n, folder in enumerate(("here", "elsewhere")):
        model = saved_model(tmp_path / folder / "toy")
        for path in model.rglob("*"):
            os.utime(path, (n, time.time() + n))
            path.chmod(0o700 + n if path.is_dir() else 0o600 + n)
        members = dict(reversed(list(files(model).items()))) if n else files(model)
        digests.add(pack(dict(sorted(members.items())), tmp_path / f"{n}.tar.gz"))
    assert len(digests) == 1
    with tarfile.open(tmp_path / "0.tar.gz") as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar.getmembers()}
    assert facts == {(0, 0, 0, "", 0o644)}


def test_another_model_goes_to_another_address(aws: Aws, tmp_path: Path) -> None:
    addresses = set()
    for content in (b"one", b"two"):
        model = saved_model(tmp_path / "toy", content)
        result = petbox(aws.env, "endpoint", "package", model, f"s3://{BUCKET}", "--dry-run")
        addresses.add(done(result).stdout)
    assert len(addresses) == 2


def test_all_versions_are_packed(tmp_path: Path) -> None:
    for version in ("1", "12"):
        saved_model(tmp_path / version)
    (tmp_path / "13").mkdir()  # not a version: nothing is in it
    (tmp_path / "evaluation.json").write_text("{}")
    assert {name.split("/")[0] for name in files(tmp_path)} == {"1", "12"}


def test_the_models_code_goes_with_it(tmp_path: Path) -> None:
    version = saved_model(tmp_path / "toy" / "7")
    code = tmp_path / "toy" / "code"
    (code / "lib").mkdir(parents=True)
    (code / "inference.py").touch()
    (code / "lib" / "more.py").touch()
    for named in (tmp_path / "toy", version):  # which is found as version 1
        code_of = {name for name in files(named) if name.startswith("code/")}
        assert code_of == {"code/inference.py", "code/lib/more.py"}


def test_a_folder_without_a_model_is_rejected(aws: Aws, tmp_path: Path) -> None:
    to = f"s3://{BUCKET}"
    line = failed(petbox(aws.env, "endpoint", "package", tmp_path, to))
    assert f"{tmp_path}: has neither a saved_model.pb nor a model.tflite nor numbered" in line
    (tmp_path / "eyes/2").mkdir(parents=True)
    (tmp_path / "eyes/2/model.xml").touch()
    line = failed(petbox(aws.env, "endpoint", "package", tmp_path / "eyes", to))
    assert "eyes: is a model for OpenVINO" in line and "make image MODEL=" in line
    line = failed(petbox(aws.env, "endpoint", "package", tmp_path / "none", to))
    assert "none: no such folder" in line
    model = saved_model(tmp_path / "toy")
    line = failed(petbox(aws.env, "endpoint", "package", model, "s3://no-such-bucket"))
    assert "NoSuchBucket" in line and "create it, or choose another" in line
    wrong = petbox(aws.env, "endpoint", "package", model, "bucket/models")
    assert wrong.returncode == 2
    assert "argument TO: 'bucket/models' is not an S3 address" in wrong.stderr
