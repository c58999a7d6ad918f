"""`petbox endpoint models`: the archives of a multi-model endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.endpoint_aws import UP, AwsProxy, done, failed, petbox

UNDER = "s3://pets-bucket/models"


@pytest.fixture(scope="module")
def aws(aws: AwsProxy) -> AwsProxy:
    aws.client("s3").create_bucket(Bucket="pets-bucket")
    done(petbox(aws.env, "endpoint", "up", "zoo", *UP, "--multi-model", UNDER))
    done(petbox(aws.env, "endpoint", "up", "single", *UP))
    return aws


def model(folder: Path, content: bytes) -> Path:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "saved_model.pb").write_bytes(content)
    return folder


def test_models_are_added_listed_and_removed(aws: AwsProxy, tmp_path: Path) -> None:
    words = ("endpoint", "models", "zoo")
    beagle = model(tmp_path / "beagle", b"one")
    assert done(petbox(aws.env, *words)).stdout == ""
    assert done(petbox(aws.env, *words, "add", beagle)).stdout == f"{UNDER}/beagle.tar.gz\n"
    again = petbox(aws.env, *words, "add", beagle, "--json")
    assert json.loads(done(again).stdout)["address"] == f"{UNDER}/beagle.tar.gz"
    model(beagle, b"another")
    line = failed(petbox(aws.env, *words, "add", beagle))
    assert f"{UNDER}/beagle.tar.gz: is another model" in line and "--as" in line
    done(petbox(aws.env, *words, "add", beagle / "1", "--as", "beagle-2"))
    listed = json.loads(done(petbox(aws.env, *words, "--json")).stdout)
    assert listed == ["beagle-2.tar.gz", "beagle.tar.gz"]
    asked = failed(petbox(aws.env, *words, "remove", "beagle"))
    assert f"{UNDER}/beagle.tar.gz: stdin is not a terminal; pass --yes to confirm" in asked
    done(petbox(aws.env, *words, "remove", "beagle.tar.gz", "--yes"))
    assert done(petbox(aws.env, *words)).stdout == "beagle-2.tar.gz\n"
    assert "no such model" in failed(petbox(aws.env, *words, "remove", "beagle"))


def test_a_litert_model_is_rejected(aws: AwsProxy, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"lite")
    line = failed(petbox(aws.env, "endpoint", "models", "zoo", "add", tmp_path, "--as", "lite"))
    assert f"{tmp_path}: is a LiteRT model" in line and "petbox export --run" in line
    assert "lite" not in done(petbox(aws.env, "endpoint", "models", "zoo")).stdout


def test_other_endpoints_have_no_models(aws: AwsProxy) -> None:
    line = failed(petbox(aws.env, "endpoint", "models", "single"))
    assert "endpoint single: has one model; for several: petbox endpoint up single" in line
    assert "endpoint none: not found" in failed(petbox(aws.env, "endpoint", "models", "none"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("list", "x"), "list: takes no MODEL"),
        (("add",), "add: needs a MODEL"),
        (("remove", "x", "--as", "y"), "--as requires add"),
        (("add", "x", "--yes"), "--yes requires remove"),
        (("add", "x", "--as", "a_b"), "argument --as: 'a_b' is not a valid SageMaker name"),
    ],
)
def test_invalid_options_are_wrong_usage(words: tuple[str, ...], expected: str) -> None:
    result = petbox({}, "endpoint", "models", "zoo", *words)
    assert result.returncode == 2 and expected in result.stderr
