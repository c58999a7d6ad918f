"""docs/openapi.yaml against the front itself: schemathesis makes requests of it, good and bad.

Bounded, and the same requests in every run.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CHECKOUT
from support.multi_model import multi_model_endpoint
from support.openapi_bodies import npy
from support.peer import golden
from support.serving import LONG, predict_json, served_detector, stand_in_engine

from petbox import __version__

PICTURE = golden("picture.jpg")
DESCRIPTION = CHECKOUT / "docs/openapi.yaml"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
RUN = (
    *(sys.executable, "-m", "schemathesis.cli", "run"),
    *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
    *("--max-examples", "15", "--seed", "1", "--generation-deterministic"),
    *("--suppress-health-check", "all", "--workers", "1", "--no-color"),
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_detector(tmp_path_factory.mktemp("served")) as (port, _):
        yield f"http://127.0.0.1:{port}"


def put(url: str, description: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs schemathesis with this description on that server."""
    env = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "support.openapi_bodies",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")]),
    }
    command = [*RUN, "--url", url, *more, str(description)]
    return subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_front_is_as_described(url: str, tmp_path: Path) -> None:
    assert passed(put(url, DESCRIPTION, tmp_path, "--exclude-path-regex", "^/models"), 6) > 100


def test_the_front_of_many_models_is_as_described(tmp_path: Path) -> None:
    server = stand_in_engine(tmp_path / "engine") / "tensorflow_model_server"
    with multi_model_endpoint(tmp_path, str(server)) as endpoint:
        only = ("--include-path-regex", "^/models", "--exclude-path-regex", "invoke$")
        assert passed(put(endpoint.url, DESCRIPTION, tmp_path, *only), 4) > 50


def passed(done: subprocess.CompletedProcess[str], operations: int) -> int:
    """The number of requests, which all had the responses described."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"Tested: {operations}" in done.stdout
    (made,) = re.findall(r"(\d+) generated, \1 passed", done.stdout)
    return int(made)


def test_a_wrong_description_is_found_out(url: str, tmp_path: Path) -> None:
    wrong = tmp_path / "openapi.yaml"
    right = DESCRIPTION.read_text()
    wrong.write_text(right.replace("enum: [SINGLE_RECORD, MULTI_RECORD]", "enum: [ONE, MANY]"))
    done = put(url, wrong, tmp_path, "--include-path", "/execution-parameters")
    assert done.returncode == 1
    assert "Response violates schema" in done.stdout


def description() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    described: dict[str, Any] = yaml.safe_load(DESCRIPTION.read_text())
    return described


def test_every_route_is_described() -> None:
    routes = set()
    for name, body in re.findall(
        r"^        location (?:= |~ )?(\S+) \{\n(.*?)^        \}",
        (CHECKOUT / "container/nginx.conf").read_text(),
        re.MULTILINE | re.DOTALL,
    ):
        if "internal;" not in body and not name.startswith("@") and name != "/":
            route = name.replace("[^/]+", "{name}").strip("^$")
            routes |= {f"/{one}" for one in route.strip("/()").split("|")}
    assert routes == set(description()["paths"])


def test_every_type_described_is_taken_and_no_other(url: str) -> None:
    accepted = description()["components"]["requestBodies"]["Request"]["content"]
    bodies = {
        "application/json": predict_json(PICTURE),
        "text/csv": base64.b64encode(PICTURE),
        "application/x-npy": npy([PICTURE]),
    }
    for kind in accepted:
        status = ask(url, bodies.get(kind, PICTURE), {"Content-Type": kind}).status_code
        # A picture is no JSON Lines, but its lines are answered all the same.
        assert status == 200, kind
    assert ask(url, PICTURE, {"Content-Type": "image/tiff"}).status_code == 415


def test_the_examples_are_answered(url: str) -> None:
    accepted = description()["components"]["requestBodies"]["Request"]["content"]
    examples = accepted["application/json"]["examples"]
    for name, example in examples.items():
        body = json.dumps(example["value"]).encode()
        assert ask(url, body, {"Content-Type": "application/json"}).status_code == 200, name


def ask(url: str, body: bytes, headers: dict[str, str]) -> requests.Response:
    return requests.post(f"{url}/invocations", data=body, headers=headers, timeout=LONG)


def test_the_description_is_of_this_version() -> None:
    assert description()["info"]["version"] == __version__
