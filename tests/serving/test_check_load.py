"""`petbox serve --check --load` and `container/serve check --load`: what a model takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.other_models import classifier, many_kinds
from support.ports import free_port
from support.saved_models import corrupt
from support.serving import (
    CONTAINER,
    LONG,
    SERVE,
    Program,
    embedded_engine,
    empty_model,
    front,
    stand_in_engine,
    started,
)
from support.warm_python import warm_python

COMMAND = re.compile(r"^    ((?:curl|python3) .*(?:\n      .*|\n    curl .*)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    many_kinds(folder / "many" / "1")
    classifier(folder / "flowers" / "3")
    return folder


def test_it_prints_signatures_and_requests_that_work(models: Path, tmp_path: Path) -> None:
    server = f"{warm_python()} -m petbox.serving.model_server"
    env = {"PETBOX_MODELS": str(models), "PETBOX_MODEL_SERVER": server}
    port = free_port()
    with started(
        [str(CONTAINER / "serve"), "check", "--load"],
        tmp_path / "check",
        SAGEMAKER_BIND_TO_PORT=str(port),
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="many",
        **env,
    ) as program:
        assert program.process.stdout
        report = program.process.stdout.read()
        assert program.ended()[0] == 0
    assert report.startswith(f"port {port}: many flowers from {models} with 1 x ")
    assert "model flowers\n\n  signature serve (tensorflow/serving/predict)\n" in report
    assert "    input  features: float32 [N, 4]\n    output output_0: float32 [N, 3]\n" in report
    assert "    output total: float32 []\n" in report
    requests = COMMAND.findall(report)
    without = [part.split()[0] for part in report.split("  signature ")[1:] if "no example" in part]
    assert without == ["half"]
    assert len(requests) == 11  # 9 of one model, 2 of the other
    folders = {name: models / name for name in ("many", "flowers")}
    with (
        embedded_engine(tmp_path / "engine", **folders) as engine,
        front(tmp_path / "front", engine.port, settings={"models": ["many", "flowers"]}) as served,
    ):
        for request in requests:
            typed = request.replace(f"localhost:{port}", f"localhost:{served}")
            done = subprocess.run(
                ["bash", "-ec", typed.replace("curl ", "curl --fail-with-body --silent ", 1)],
                capture_output=True,
                text=True,
                timeout=LONG,
                check=False,
            )
            assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
            assert done.stdout.startswith("{"), typed


def test_features_of_examples_are_found_out(data: Path) -> None:
    recorded = data.parent / "tfs-transcripts/models/from_tfserving_testdata"
    done = subprocess.run(
        [
            warm_python(),
            *SERVE[1:],
            str(recorded / "saved_model_half_plus_two_cpu"),
            "--check",
            "--load",
        ],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for method in ("classify", "regress"):
        assert f"-Custom-Attributes: tfs-method={method}'" in done.stdout
    assert (
        """--data '{"signature_name": "classify_x_to_y", "examples": [{"x": 0.5}]}'"""
        in done.stdout
    )
    assert "no example" not in done.stdout


def test_a_check_loads_nothing_by_default(tmp_path: Path) -> None:
    model = empty_model(tmp_path / "model" / "1")
    done = subprocess.run(
        [*SERVE, str(model), "--check"], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"port 8080: model from {model} with 1 x ")
    assert done.stdout.count("\n") == 1


def test_a_model_that_cannot_be_loaded_fails_the_check(tmp_path: Path) -> None:
    model = corrupt(tmp_path / "1")
    command = [warm_python(), *SERVE[1:], str(model), "--check", "--load"]
    with started(command, tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 1
    assert "DATA_LOSS: Can't parse" in errors.splitlines()[-1]


def checking(folder: Path, engine: Path) -> AbstractContextManager[Program]:
    """`serve check --load` of the models in `folder`, with this stand-in for the model server."""
    return started(
        [str(CONTAINER / "serve"), "check", "--load"],
        folder / "run",
        PATH=f"{engine}:{os.environ['PATH']}",
        PETBOX_MODELS=str(folder / "models"),
    )


def test_a_model_without_signatures_fails_the_check(tmp_path: Path) -> None:
    """Also what another program answers that has taken the model server's port."""
    engine = stand_in_engine(tmp_path / "engine")
    empty_model(tmp_path / "models" / "1")
    with checking(tmp_path, engine) as program:
        assert program.process.stdout
        assert "the check failed: model model: has no signatures" in program.process.stdout.read()
        assert program.ended()[0] == 1


def test_a_signal_ends_the_check(tmp_path: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    os.mkfifo(engine / "load")
    empty_model(tmp_path / "models" / "1")
    with checking(tmp_path, engine) as program:
        with (engine / "load").open("w"):  # opened when the stand-in reads it
            program.send(signal.SIGTERM)
            assert program.ended()[0] == 128 + signal.SIGTERM
        assert not [*program.temporary.iterdir()]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_keras_is_told_how_it_becomes_a_savedmodel(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"flowers{suffix}"
    file.touch()
    commands = {
        f'load_model("{file}").export("{tmp_path}/1")': [*SERVE, str(tmp_path), "--check"],
        f'load_model("{file}").export("{tmp_path}/flowers/1")': [*SERVE, str(file), "--check"],
        f'load_model("{file}").export("1")': [str(CONTAINER / "serve"), "check"],
    }
    for advice, command in commands.items():
        env = {"PETBOX_MODELS": str(tmp_path), "PETBOX_MODEL_SERVER": "unused"}
        with started(command, tmp_path / "run", **env) as program:
            code, errors = program.ended()
        assert code == 1
        assert f"{file}: Keras' own format, not a SavedModel; make one with" in errors
        assert advice in errors
