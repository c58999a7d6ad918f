"""The sagemaker SDK's snippets in docs/sagemaker-sdk.md, each run as it stands there.

Only where PETBOX_SAGEMAKER_SDK names a folder, in which both versions are installed (1.3 GB) if
they are not there: moto's server stands for AWS, the container's own front for an endpoint, and
local mode runs the built image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from support.aws import moto, settings
from support.docker_engine import MINE, Engine
from support.peer import GOLDEN, Request, Response, peer
from support.ports import free_port
from support.serving import embedded_engine, front, tiny_detector
from support.serving_image import MOUNTS
from support.snippets import snippets

VARIABLE = "PETBOX_SAGEMAKER_SDK"
WANTED = {"2": "sagemaker>=2.257,<3", "3": "sagemaker>=3,<4"}
DOCUMENT = "docs/sagemaker-sdk.md"
SIDE = 1 / 17  # where the tiny detector's box begins in an image of 16 rows

pytestmark = pytest.mark.skipif(
    VARIABLE not in os.environ,
    reason=f"{VARIABLE} does not name a folder for the sagemaker SDK (1.3 GB to download)",
)


def python_with(version: str) -> Path:
    folder = Path(os.environ[VARIABLE]).resolve() / version
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", WANTED[version]]
        subprocess.run(pip, check=True, timeout=3600)
        (folder / "installed").touch()
    return python


def run_snippet(version: str, snippet: str, folder: Path, env: dict[str, str]) -> str:
    """What a snippet prints, with the names that the document uses."""
    (names,) = snippets(DOCUMENT, "The sagemaker SDK")
    (folder / "cat.jpg").write_bytes((GOLDEN / "picture.jpg").read_bytes())
    quiet = {"SAGEMAKER_SUPPRESS_V2_WARNING": "1", "HOME": str(folder)}
    done = subprocess.run(
        [python_with(version), "-c", f"{names}\n{snippet}"],
        env={**os.environ, **env, **quiet},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    folder.chmod(0o755)
    tiny_detector(folder / "1")
    return folder


@pytest.fixture(scope="module")
def account(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which moto is AWS, and the container's gateway serves its endpoints."""
    folder = tmp_path_factory.mktemp("front")
    with (
        embedded_engine(folder / "engine", model=detector) as engine,
        front(folder / "nginx", engine.port) as port,
        moto() as aws,
        peer(without_empty_fields(aws.url)) as server,
    ):
        yield {
            **settings(server.url),
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{port}",
        }


def without_empty_fields(url: str) -> Callable[[Request], Response]:
    """Moto, but for the fields that AWS leaves out and moto returns as {}."""

    def respond(asked: Request) -> Response:
        headers = {k: v for k, v in asked.headers.items() if k.lower() != "content-length"}
        got = requests.post(url + asked.path, asked.body, headers=headers, timeout=60)
        body = got.content
        if body.startswith(b"{"):
            kept = {k: v for k, v in got.json().items() if v not in ({}, None)}
            body = json.dumps(kept).encode()
        return Response(got.status_code, body, {"Content-Type": got.headers["Content-Type"]})

    return respond


def box_in(printed: str) -> list[float]:
    """Of the first detection in the response that a snippet printed, among the SDK's own output."""
    text = printed.replace("'", '"')
    start = [found.start() for found in re.finditer(r'\{\s*"predictions"', text)][-1]
    response, _ = json.JSONDecoder().raw_decode(text, start)
    box: list[float] = response["predictions"][0]["detection_boxes"][0]
    return box


def test_version_3_makes_asks_and_deletes_an_endpoint(
    account: dict[str, str], tmp_path: Path
) -> None:
    up, invoke, down = snippets(DOCUMENT, "Version 3: an endpoint")
    run_snippet("3", up, tmp_path, account)
    assert box_in(run_snippet("3", invoke, tmp_path, account))[0] == pytest.approx(SIDE)
    run_snippet("3", down, tmp_path, account)
    assert left(account) == {"endpoints": 0, "configs": 0, "models": 0}


def left(account: dict[str, str]) -> dict[str, int]:
    import boto3

    client = boto3.client(
        "sagemaker",
        endpoint_url=account["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    return {
        "endpoints": len(client.list_endpoints()["Endpoints"]),
        "configs": len(client.list_endpoint_configs()["EndpointConfigs"]),
        "models": len(client.list_models()["Models"]),
    }


def test_version_3_trains(account: dict[str, str], tmp_path: Path) -> None:
    (train,) = snippets(DOCUMENT, "Version 3: a training job")
    printed = run_snippet("3", train, tmp_path, account)
    assert printed.splitlines()[-1] == "s3://bucket/jobs/pets-1/output/model.tar.gz"


def test_version_2_makes_asks_and_deletes_an_endpoint(
    account: dict[str, str], tmp_path: Path
) -> None:
    (snippet,) = snippets(DOCUMENT, "Version 2: an endpoint")
    printed = run_snippet("2", snippet, tmp_path, account)
    assert box_in(printed)[0] == pytest.approx(SIDE)
    assert left(account) == {"endpoints": 0, "configs": 0, "models": 0}


@pytest.fixture
def packages(engine: Engine, image: str) -> Iterator[str]:
    """A container to take volumes from: what the stand-in base needs beside it."""
    name = f"{MINE}-packages"
    engine("create", f"--name={name}", *MOUNTS, image)
    try:
        yield name
    finally:
        engine("rm", "--force", name, check=False)


def test_version_2_runs_the_image_in_local_mode(
    engine: Engine, image: str, packages: str, detector: Path, tmp_path: Path
) -> None:
    if not shutil.which("docker-compose", path=engine.env["PATH"]):
        version = engine("compose", "version", check=False)
        if version.returncode != 0:
            pytest.skip("local mode needs docker compose; apt-get install docker-compose")
    (snippet,) = snippets(DOCUMENT, "Version 2: local mode")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "toy").symlink_to(detector)
    port = free_port()
    container = {"volumes_from": [f"container:{packages}"]}
    config = {"local": {"serving_port": port, "container_config": container}}
    # As the document has it, but for the image's name, a free port, and the stand-in's volumes.
    snippet = changed(snippet, 'image_uri="petbox"', f"image_uri={image!r}")
    session = f"(lambda s: setattr(s, 'config', {config!r}) or s)(LocalSession())"
    snippet = changed(snippet, "LocalSession(),", f"{session},")
    env = {**engine.env, **settings("http://127.0.0.1:9")}  # no server: no account is needed
    try:
        printed = run_snippet("2", snippet, tmp_path, env)
    finally:
        engine("network", "rm", "sagemaker-local", check=False)
    assert box_in(printed)[0] == pytest.approx(SIDE)


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)
