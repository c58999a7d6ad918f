"""The zips themselves: what is in them, what is not, and the script's output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.lambda_runtime import CHECKOUT, build, running
from support.templates import of_kind

SCRIPT = CHECKOUT / "scripts" / "package_lambda.sh"
NOWHERE = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "ENDPOINT_NAME": "pets",
    "DEAD_LETTER_URL": "http://127.0.0.1:9/queue",
}
# Imported only when an image is drawn or shrunk, and when a model is fetched.
DRAWING = {"petbox.images.draw", "petbox.images.drawn_copies", "petbox.images.shrink"}
DRAWING |= {"petbox.outputs"}
FETCHING = {"petbox.data.fetch.archives", "petbox.lambdas.model_archive"}
LATER = {"http_front": DRAWING, "s3_front": DRAWING, "detector": DRAWING | FETCHING}
PACKAGES = {"PIL", "aws_lambda_powertools", "jmespath", "pillow", "petbox", "typing_extensions"}
FORMS = {"pybase64", "python_multipart", "multipart"}
MOST_UNPACKED = 262_144_000  # Lambda's 250 MB
MOST_DIRECTLY = 50_000_000  # what Lambda takes without S3
FUNCTIONS = tuple(LATER)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_zip_has_every_module_that_its_function_imports_and_no_other_room(
    fronts: dict[str, Path], name: str, tmp_path: Path
) -> None:
    with running(fronts, name, tmp_path, NOWHERE) as function:
        imported = {module for module in function.modules if module.split(".")[0] == "petbox"}
    imported |= LATER[name]
    there = {module_name(path, fronts[name]) for path in (fronts[name] / "petbox").rglob("*.py")}
    assert imported <= there
    assert rooms(there) | {"cli"} == rooms(imported) | {"cli"}  # which every room may use


def module_name(path: Path, folder: Path) -> str:
    return ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")


def rooms(modules: set[str]) -> set[str]:
    return {module.split(".")[1] for module in modules if module.count(".") > 1}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_imported_later_is_included(fronts: dict[str, Path], name: str) -> None:
    modules = ", ".join(sorted(LATER[name]))
    path = [str(fronts[name]), str(fronts["boto3"])]
    code = f"import sys; sys.path[:0] = {path!r}; import {modules}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)


def tops(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name.split("/")[0].split(".")[0].split("-")[0] for name in opened.namelist()}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("http_front", PACKAGES | FORMS),
        ("s3_front", PACKAGES),
        ("detector", PACKAGES | FORMS | {"ai_edge_litert", "model", "numpy"}),
        ("zoo", set()),
    ],
)
def test_a_zip_holds_nothing_its_function_does_not_need(
    zips: dict[str, Path], name: str, more: set[str]
) -> None:
    program = "zoo_front" if name == "zoo" else name
    assert tops(zips[name]) <= {"LICENSE", "__pycache__", program, *more}
    with zipfile.ZipFile(zips[name]) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) < MOST_UNPACKED
    assert zips[name].stat().st_size < MOST_DIRECTLY


def test_the_same_content_makes_the_same_zip(zips: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path, "http_front", "zoo")
    for name, path in again.items():
        assert path.read_bytes() == zips[name].read_bytes()


def test_a_model_goes_into_the_detectors_zip(zips: dict[str, Path], lite_model: Path) -> None:
    with zipfile.ZipFile(zips["detector"]) as archive:
        there = {name for name in archive.namelist() if name.startswith("model/")}
    assert there == {f"model/{path.name}" for path in lite_model.iterdir()}


def packed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_zip_too_large_for_lambda_is_rejected(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with (model / "model.tflite").open("wb") as file:
        file.truncate(MOST_UNPACKED)  # with what else is in the zip it is more
    done = packed("--out", tmp_path, "--model", model, "detector")
    assert done.returncode == 1 and not done.stdout
    assert "MB unpacked, and Lambda's limit is 262 MB; leave the model in S3" in done.stderr
    assert not list(tmp_path.glob("*.zip"))


def test_a_folder_without_a_litert_model_is_rejected(tmp_path: Path) -> None:
    done = packed("--out", tmp_path, "--model", tmp_path, "detector")
    assert done.returncode == 1
    assert "contains no model.tflite; create one: petbox convert" in done.stderr


def test_sizes_are_reported_beside_the_paths(tmp_path: Path) -> None:
    done = packed("--out", tmp_path, "zoo")
    assert done.stdout == f"{tmp_path}/zoo.zip\n"
    assert f"zoo.zip for Python {runtime()} on x86_64 has" in done.stderr
    assert "kB unpacked" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--architecture", "riscv"], "must be x86_64 or arm64"),
        (["no_front"], "no such function"),
        (["--python"], "needs a value"),
        (["--python", "3.9"], "deploy build/lambda with Python"),
        (["--architecture", "arm64"], "deploy build/lambda on x86_64, unless with Architecture="),
        (["--fast"], "unknown option"),
    ],
)
def test_a_usage_error_prints_the_usage(words: list[str], why: str) -> None:
    done = packed(*words)
    assert done.returncode == 2
    assert why in done.stderr and "--architecture ARCH" in done.stderr and not done.stdout


# The runtime, which the templates alone state


def runtime() -> str:
    """Of every function in every template."""
    functions = [of_kind(name, "AWS::Lambda::Function") for name in ("front", "detector", "zoo")]
    stated = [one.get("Runtime") for several in functions for one in several.values()]
    (only,) = set(stated) - {None}  # an image has its own
    return str(only).removeprefix("python")


def test_the_image_has_the_same_python() -> None:
    dockerfile = (CHECKOUT / "serverless/detector.Dockerfile").read_text()
    assert f"\nARG BASE=public.ecr.aws/lambda/python:{runtime()}\n" in dockerfile


ARM64 = 183  # e_machine of ELF


def test_an_arm64_zip_fits_the_runtime_of_the_template(tmp_path: Path) -> None:
    done = packed("--architecture", "arm64", "--out", tmp_path, "detector")
    assert done.returncode == 0, done.stderr
    libraries, versions = 0, set()
    with zipfile.ZipFile(tmp_path / "detector.zip") as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                head = file.read(20)
            if head.startswith(b"\x7fELF"):
                libraries += 1
                assert int.from_bytes(head[18:20], "little") == ARM64, entry.filename
            versions |= set(re.findall(r"\.cpython-(\d+)", entry.filename))
    assert libraries > 10  # numpy's, Pillow's, pybase64's and LiteRT's
    assert versions == {runtime().replace(".", "")}


@pytest.mark.parametrize("lock", ["detector_image", "zoo"])
def test_every_package_of_an_image_exists_for_arm64(lock: str, tmp_path: Path) -> None:
    """Found in the index by its hash, and not downloaded."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--target", tmp_path]
    command += ["--python-platform", "aarch64-manylinux_2_28", "--python-version", runtime()]
    command += ["--only-binary=:all:", "--no-deps", "--require-hashes"]
    command += ["--requirement", CHECKOUT / f"locks/{lock}.txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_runtime_of_the_tests_sees_nothing_else(
    fronts: dict[str, Path], tmp_path: Path
) -> None:
    """Or the other tests would prove nothing."""
    with (
        pytest.raises(AssertionError, match="No module named 'pytest'"),
        running(fronts, "zoo", tmp_path, {"_HANDLER": "pytest.main"}),
    ):
        pass
