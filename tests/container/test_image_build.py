"""`make image`: for GPUs or for CPUs, with a model or without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.docker_engine import Engine
from support.serving_image import build_context, make_image

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `docker build` reads of the project, and a model."""
    folder = build_context(tmp_path_factory.mktemp("make") / "checkout", "Makefile")
    shutil.copytree(model, folder / "model/adder")
    return folder


@pytest.fixture(scope="module")
def make(engine: Engine, official_bases: tuple[str, str], image: str, checkout: Path) -> Make:
    """`make image`; most of its steps are in the engine's cache, since `image` has the same."""

    def make(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = make_image(checkout, engine.env, *words)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    return make


def base_of(engine: Engine) -> str:
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    return engine("inspect", f"--format={label}", "petbox").stdout.strip()


def test_it_is_for_gpus_unless_it_is_made_for_cpus(
    make: Make, engine: Engine, official_bases: tuple[str, str]
) -> None:
    with_gpu, without_gpu = official_bases
    make("MODEL=model/adder")
    assert base_of(engine) == with_gpu
    make("MODEL=model/adder", "CPU=1")
    assert base_of(engine) == without_gpu


def test_another_base_is_taken(make: Make, engine: Engine, base: str) -> None:
    make("MODEL=model/adder", f"BASE={base}")
    assert base_of(engine) == base


def test_without_a_model_it_serves_the_one_in_opt_ml_model(
    make: Make, engine: Engine, start: Callable[..., Any], model: Path
) -> None:
    make("MODEL=")
    with start(f"--volume={model}:/opt/ml/model:ro", image="petbox") as container:
        assert container.ready().post(b'{"instances": [1]}').json() == {"predictions": [3.5]}
    done = engine("run", "--rm", "--network=none", "petbox", check=False)
    assert done.returncode == 1
    assert "serve: no SavedModel in /opt/ml/model /models\n" in done.stderr


def test_a_gateway_whose_workers_crash_never_becomes_an_image(make: Make, checkout: Path) -> None:
    path = checkout / "container/nginx.conf"
    before = path.read_text()
    crashing, changed = re.subn(r"(?m)^worker_rlimit_nofile .*", "worker_rlimit_nofile 5;", before)
    assert changed
    path.write_text(crashing)  # and `nginx -t` finds nothing wrong with it
    try:
        done = make("MODEL=", check=False)
    finally:
        path.write_text(before)
    assert done.returncode
    assert "exited with fatal code" in done.stdout
    assert 'request "GET /execution-parameters"' in done.stderr.splitlines()[-2]


@pytest.mark.parametrize("words", [["--build-arg=MODEL=model/adder"], []])
def test_buildkit_needs_no_code_and_no_model(
    engine: Engine, debian: str, checkout: Path, words: list[str]
) -> None:
    """Docker's builder of today, of which Debian's client needs no plugin."""
    words = [f"--build-arg=BASE={debian}", *words, "--target=python", "--network=none"]
    for docker in ("docker", "/usr/bin/docker"):
        done = subprocess.run(
            [docker, "build", *words, "--file=container/Dockerfile", "."],
            cwd=checkout,
            env={**engine.env, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
        )
        if "buildx component is missing" not in done.stderr:
            assert done.returncode == 0 and "COPY container/hooks" in done.stderr, done.stderr
            return
    pytest.skip("no docker client here has BuildKit; scripts/install_system.sh docker")


def test_a_clone_without_a_model_says_what_to_do(checkout: Path) -> None:
    done = make_image(checkout, os.environ)
    assert done.returncode == 2
    assert done.stdout == "", "docker must not be called"
    said = done.stderr.splitlines()[0]
    assert said.startswith(
        "make image: model/toy contains no SavedModel and no detector of petbox convert; "
    )
    assert "make demo" in said and "make image MODEL= " in said


def test_a_model_that_docker_does_not_get_is_named(checkout: Path, model: Path) -> None:
    done = make_image(checkout, os.environ, f"MODEL={model}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == (
        f"make image: {model} is outside of model/, which the build reads; copy it to model/NAME"
    )
