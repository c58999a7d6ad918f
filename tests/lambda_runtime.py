"""Lambda for tests: a front's real zip, unpacked, in a Python that sees nothing else but boto3.

As in Lambda's own runtime, boto3 and what it needs lie beside the function. The handler takes one
event after the other, as in a warm container.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
EVENTS = Path(__file__).parent / "events"
BESIDE = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")

WORKER = """
import importlib, json, os, sys

sys.path[:0] = {path!r}
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what a function prints is its log


class Context:
    function_name = "front"
    function_version = "$LATEST"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:front"
    aws_request_id = "52fdfc07-2182-454f-963f-5f0f9a621d72"

    @staticmethod
    def get_remaining_time_in_millis():
        return 30_000


handler = importlib.import_module({module!r}).handler
print(json.dumps(sorted(sys.modules)), file=answers)
for line in sys.stdin:
    try:
        answer = handler(json.loads(line), Context)
    except Exception as error:
        answer = {{"errorType": type(error).__name__, "errorMessage": str(error)}}
    print(json.dumps(answer), file=answers)
"""


def event(name: str) -> dict[str, Any]:
    """A real event, as its source sends it."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


FRONTS = ("http_front", "s3_front")


def build(folder: Path) -> dict[str, Path]:
    """The fronts' zips, built for the Python that runs the tests."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    machine = "arm64" if os.uname().machine == "aarch64" else "x86_64"
    script = [CHECKOUT / "scripts" / "package_lambda.sh", "--python", version]
    done = subprocess.run(
        [*script, "--architecture", machine, "--out", folder],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {Path(line).stem: Path(line) for line in done.stdout.splitlines()}


@pytest.fixture(scope="session")
def zips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("zips"))


@pytest.fixture(scope="session")
def fronts(zips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The zips unpacked, by their names, and `boto3` for what Lambda has itself."""
    folder = tmp_path_factory.mktemp("lambda")
    beside = folder / "boto3"
    beside.mkdir()
    for name in BESIDE:
        found = importlib.util.find_spec(name)
        assert found and found.origin, name
        origin = Path(found.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        (beside / place.name).symlink_to(place)
    trees = {"boto3": beside}
    for front, file in zips.items():
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder / front)
        trees[front] = folder / front
    return trees


class Function:
    """A started container of a function."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors
        self.modules: list[str] = self._answer()

    def __call__(self, event: Mapping[str, Any]) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def log(self) -> str:
        return self._errors.read_text()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, self.log()
        return json.loads(line)


@contextmanager
def running(
    fronts: Mapping[str, Path], front: str, folder: Path, env: Mapping[str, str]
) -> Iterator[Function]:
    """The front, started once, with nothing importable but its zip and boto3."""
    folder.mkdir(parents=True, exist_ok=True)
    path = [str(fronts[front]), str(fronts["boto3"])]
    code = WORKER.format(path=path, module=front)
    errors = folder / "log"
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "AWS_REGION": "us-east-1", **env},
        )
    try:
        yield Function(process, errors)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
