"""The zips themselves: what is in them, what is not, and how soon they start."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lambda_runtime import FRONTS, WORKER, build, running

NOWHERE = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "ENDPOINT_NAME": "pets",
    "DEAD_LETTER_URL": "http://127.0.0.1:9/queue",
}
# Asked for only when a picture is drawn or made smaller.
LATER = {"petbox.draw", "petbox.fitting"}
PACKAGES = {"PIL", "aws_lambda_powertools", "jmespath", "pillow", "petbox", "typing_extensions"}


@pytest.mark.parametrize("front", FRONTS)
def test_a_zip_has_every_module_that_its_front_imports_and_no_other(
    fronts: dict[str, Path], front: str, tmp_path: Path
) -> None:
    with running(fronts, front, tmp_path, NOWHERE) as function:
        imported = {name for name in function.modules if name.split(".")[0] == "petbox"}
    there = {
        f"petbox.{path.stem}".removesuffix(".__init__")
        for path in (fronts[front] / "petbox").glob("*.py")
    }
    assert there == imported | LATER


@pytest.mark.parametrize("front", FRONTS)
def test_what_is_imported_later_is_there_too(fronts: dict[str, Path], front: str) -> None:
    code = f"import sys; sys.path[:0] = [{str(fronts[front])!r}]; import {', '.join(sorted(LATER))}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("front", FRONTS)
def test_a_zip_holds_nothing_its_front_does_not_need(zips: dict[str, Path], front: str) -> None:
    with zipfile.ZipFile(zips[front]) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0].split(".")[0].split("-")[0] for name in names}
    own = {"LICENSE", "__pycache__", front}
    parser = {"python_multipart", "multipart"} if front == "http_front" else set()
    assert tops <= PACKAGES | parser | own
    assert zips[front].stat().st_size < 50_000_000  # what Lambda takes directly
    assert not [name for name in names if "boto" in name.split("/")[0]]


def test_the_same_content_makes_the_same_zip(zips: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path)
    for front in FRONTS:
        assert again[front].read_bytes() == zips[front].read_bytes()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--architecture", "riscv"], "Lambda has x86_64 and arm64"),
        (["no_front"], "no such front"),
        (["--python"], "wants a value"),
        (["--fast"], "not understood"),
    ],
)
def test_a_misused_script_says_how_it_is_used(words: list[str], why: str) -> None:
    script = Path(__file__).parent.parent / "scripts" / "package_lambda.sh"
    done = subprocess.run([script, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert why in done.stderr and "--architecture ARCH" in done.stderr and not done.stdout


def test_the_runtime_of_the_tests_sees_nothing_else() -> None:
    """Or the other tests would prove nothing."""
    code = WORKER.format(path=[], module="pytest")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert "No module named 'pytest'" in done.stderr
