"""`petbox conform` and `petbox local` with petbox's own image."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.conforming import CONFORM, failing, outcomes
from support.docker_engine import Engine
from support.serving import started
from support.serving_image import MOUNTS, until

# The model in the image adds numbers: whatever is about images is tried on the front alone, by
# test_conform.py, and nothing is mounted at /opt/ml/model.
NOT_TRIED = {"model-found", "model-read-only", "picture", "picture-drawn", "built-in-form"}
NOT_TRIED |= {"json-lines", "json-lines-bad", "json-lines-text"}
TOO_FAST = {"leavers-not-computed", "metrics-under-load"}  # on most machines


def test_petbox_keeps_the_contract_and_its_promises(
    engine: Engine,
    image: str,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"instances": [1.0]}')
    words = (image, "--request", request, f"--docker={' '.join(MOUNTS)}", "--json")
    done = run(*CONFORM, *words, env=engine.env)
    assert done.stdout, done.stderr
    assert failing(done) == {}, done.stderr
    timed = {"ping-under-load", "leavers-not-computed"}
    assert failing(done, "petbox").keys() <= timed, "other tests are at work as well"
    lines = json.loads(done.stdout)["lines"]
    not_tried = {line["name"] for line in lines if line["outcome"] == "not tried"}
    assert not_tried - TOO_FAST == NOT_TRIED
    assert done.returncode == 0


def test_boto3_asks_what_local_runs(engine: Engine, image: str, tmp_path: Path) -> None:
    boto3 = pytest.importorskip("boto3")
    command = [sys.executable, "-m", "petbox", "local", image, "--port=0"]
    command += [f"--docker={' '.join(MOUNTS)}"]
    with started(command, tmp_path / "run", **engine.env) as program:
        line = program.line()
        found = re.fullmatch(r'boto3\.client\("sagemaker-runtime", endpoint_url="(.*)"\)', line)
        assert found, line + program.errors.read_text()
        secrets = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        client = boto3.client(
            "sagemaker-runtime", endpoint_url=found[1], region_name="us-east-1", **secrets
        )
        answer = client.invoke_endpoint(
            EndpointName="local", ContentType="application/json", Body=b'{"instances": [1.0]}'
        )
        assert json.loads(answer["Body"].read()) == {"predictions": [3.5]}


@pytest.fixture(scope="module")
def models(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive and a folder that add 2.5."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(["tar", "-czf", folder / "a.tar.gz", "-C", model, "1"], check=True)
    shutil.copytree(model, folder / "b")
    return folder


def test_petbox_keeps_the_contract_of_multi_model_endpoints(
    engine: Engine,
    image: str,
    models: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"instances": [1.0]}')
    words = ("--multi-model", models, "--request", request, f"--docker={' '.join(MOUNTS)}")
    done = run(*CONFORM, image, *words, "--json", env=engine.env)
    assert done.stdout, done.stderr
    assert set(outcomes(done).values()) == {"holds"}, done.stdout


def test_boto3_names_the_models_that_local_loads(
    engine: Engine, image: str, models: Path, tmp_path: Path
) -> None:
    boto3 = pytest.importorskip("boto3")
    command = [sys.executable, "-m", "petbox", "local", image, "--port=0", "--load-seconds=0"]
    command += [f"--multi-model={models}", "--max-loaded=1", f"--docker={' '.join(MOUNTS)}"]
    with started(command, tmp_path / "run", **engine.env) as program:
        found = re.fullmatch(r'boto3.*endpoint_url="(.*)"\)', program.line())
        assert found, program.errors.read_text()
        secrets = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        client = boto3.client(
            "sagemaker-runtime", endpoint_url=found[1], region_name="us-east-1", **secrets
        )
        not_ready = client.exceptions.ModelNotReadyException

        def invoke(name: str) -> Any:
            response = client.invoke_endpoint(
                EndpointName="local",
                TargetModel=name,
                ContentType="application/json",
                Body=b'{"instances": [1.0]}',
            )
            return json.loads(response["Body"].read())

        for name in ("a.tar.gz", "b"):
            with pytest.raises(not_ready):  # --load-seconds=0
                invoke(name)
            until(lambda name=name: f"loaded {name}\n" in program.errors.read_text())  # type: ignore[misc]
            assert invoke(name) == {"predictions": [3.5]}
        program.send(signal.SIGINT)
        code, said = program.ended()
        assert not list(program.temporary.glob("petbox-*")), "the models' folder is left behind"
    assert code == 0
    assert "unloaded a.tar.gz\n" in said, "--max-loaded=1"
