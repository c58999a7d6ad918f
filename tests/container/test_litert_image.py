"""The image of a converted detector: petbox's own model server in TensorFlow Serving's place."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from PIL import Image
from support import openvino_models, wheels
from support.docker_engine import MINE, Engine
from support.serving_image import Container, build, build_context, make_image, until

DEMO = CHECKOUT / "petbox/serving/demo/model"
CODE = """
import base64, json
def input_handler(data, context):
    image = base64.b64encode(data.read()).decode()
    return json.dumps({"instances": [{"b64": image}]})
def output_handler(response, context):
    return f"{len(response.json()['predictions'])} image", "text/plain"
"""
SAMPLE = CHECKOUT / "container/page/samples/Midnight_121.jpg"


@pytest.fixture(scope="module")
def litert_image(engine: Engine, litert_base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """As `make image` builds it."""
    checkout = build_context(tmp_path_factory.mktemp("litert") / "checkout", "Makefile")
    shutil.copytree(DEMO, checkout / "model/demo")
    given = {"BASE": litert_base, "MODEL": "model/demo"}
    build(
        engine, checkout, "litert-cached", ENGINE="litert", **given
    )  # with a network, for the next
    done = make_image(checkout, engine.env, *(f"{key}={value}" for key, value in given.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    engine("tag", "petbox", name := f"{MINE}-litert")
    return name


@pytest.fixture(scope="module")
def container(start: Callable[..., Any], litert_image: str) -> Iterator[Container]:
    """As nobody in particular, on a system that cannot be written to."""
    flags = ("--read-only", "--tmpfs=/tmp", "--user=12345:54321", "--cap-drop=ALL")
    with start(*flags, image=litert_image) as container:
        yield container.ready()


def test_it_finds_what_is_in_an_image(container: Container) -> None:
    sample = SAMPLE.read_bytes()
    found = container.post(sample, "image/jpeg").json()["predictions"][0]
    assert found["detection_scores"][0] > 0.9
    drawn = container.post(sample, "image/jpeg", Accept="image/jpeg").content
    assert Image.open(io.BytesIO(drawn)).size == Image.open(io.BytesIO(sample)).size


def test_the_log_names_the_engine(container: Container) -> None:
    until(lambda: "is ready on LiteRT " in container.said())


def test_it_has_no_tensorflow(container: Container) -> None:
    code = "import importlib.util as of; print(of.find_spec('tensorflow'), of.find_spec('petbox'))"
    found = container.inside(f'/opt/petbox/python/bin/python3 -Ic "{code}"')
    assert found.startswith("None ModuleSpec(") and "/opt/petbox/python/lib/" in found


def test_another_image_has_nothing_of_it(engine: Engine, image: str) -> None:
    words = ("run", "--rm", "--network=none", "--entrypoint=/bin/ls", image)
    assert engine(*words, "/opt/petbox/python", "/usr/local/bin").stdout.split() == [
        "/opt/petbox/python:",
        "/usr/local/bin:",
    ]


def test_it_serves_the_model_in_opt_ml_model(
    start: Callable[..., Any], litert_image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    shutil.copytree(DEMO, tmp_path / "3")
    with start(f"--volume={tmp_path}:/opt/ml/model:ro", image=litert_image) as container:
        container.ready()
        until(lambda: "version 3 of model is ready on LiteRT " in container.said())


def rejection(engine: Engine, image: str, model: Path) -> str:
    volume = f"--volume={model}:/opt/ml/model:ro"
    done = engine("run", "--rm", "--network=none", volume, image, check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_saved_model_needs_an_image_of_its_own(
    engine: Engine, litert_image: str, model: Path
) -> None:
    wanted = "/opt/ml/model/1/saved_model.pb: this image serves detectors of petbox convert only; "
    assert rejection(engine, litert_image, model).startswith(f"serve: {wanted}")


def test_a_detector_for_openvino_has_an_image_too(
    engine: Engine, openvino_base: str, start: Callable[..., Any], tmp_path: Path
) -> None:
    context = build_context(tmp_path / "checkout")
    openvino_models.constant(context / "model/constant/2")
    given = {"BASE": openvino_base, "MODEL": "model/constant", "ENGINE": "openvino"}
    image = build(engine, context, "openvino", **given)
    flags = ("--read-only", "--tmpfs=/tmp", "--user=12345:54321", "--cap-drop=ALL")
    with start(*flags, image=image) as container:
        answer = container.ready().post(SAMPLE.read_bytes(), "image/jpeg")
        assert answer.json()["predictions"][0]["detection_scores"] == [0.875]
        until(lambda: "version 2 of model is ready on OpenVINO " in container.said())


def test_an_image_without_the_engine_says_so(
    engine: Engine, litert_image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    shutil.copytree(DEMO, tmp_path / "model/1")
    openvino_models.constant(tmp_path / "model/2")
    wanted = "/opt/ml/model/2/model.xml: this image has no openvino; build one of its own, "
    assert rejection(engine, litert_image, tmp_path / "model").startswith(f"serve: {wanted}")


def test_it_runs_the_code_of_its_model(
    engine: Engine, litert_base: str, start: Callable[..., Any], tmp_path: Path
) -> None:
    context = build_context(tmp_path / "checkout")
    shutil.copytree(DEMO, context / "model/demo/1")
    code = context / "model/demo/code"
    (code / "wheels").mkdir(parents=True)
    (code / "inference.py").write_text(CODE)
    for name in ("requests", "urllib3", "idna", "certifi", "charset-normalizer"):
        wheels.repack(name, code / "wheels")
    given = {"BASE": litert_base, "MODEL": "model/demo", "ENGINE": "litert", "HOOKS": "1"}
    image = build(engine, context, "litert-hooks", **given, PIP_NO_INDEX="1")
    with start("--read-only", "--tmpfs=/tmp", image=image) as container:
        answer = container.ready().post(SAMPLE.read_bytes(), "image/jpeg")
    assert (answer.status_code, answer.text) == (200, "1 image")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["MODEL=model/demo"], "MODEL=model/demo ENGINE=litert BASE=debian:12-slim"),
        (["MODEL=", "ENGINE=litert", "BASE=mine"], "ENGINE=litert BASE=mine"),
        (["MODEL=model/openvino"], "MODEL=model/openvino ENGINE=openvino BASE=debian:12-slim"),
        (["MODEL=model/both"], "MODEL=model/both"),
    ],
)
def test_the_model_decides_what_is_built(
    words: list[str], expected: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = build_context(tmp_path_factory.mktemp("lite") / "checkout", "Makefile")
    shutil.copytree(DEMO, checkout / "model/demo")
    shutil.copytree(DEMO, checkout / "model/both/1")
    (checkout / "model/both/1/saved_model.pb").touch()
    (checkout / "model/openvino/1").mkdir(parents=True)
    (checkout / "model/openvino/1/model.xml").touch()
    typed = make_image(checkout, os.environ, "--dry-run", *words).stdout
    found = re.findall(r"--build-arg (\w+=\S+)", typed)
    assert found == expected.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL=", "ENGINE=tflite"], "ENGINE=tflite is neither litert nor openvino"),
        (["MODEL=model/demo", "ENGINE=openvino"], "model/demo is not for ENGINE=openvino; leave"),
        (
            ["MODEL=model/none", "ENGINE=litert"],
            "model/none contains no SavedModel and no detector",
        ),
    ],
)
def test_a_wrong_engine_is_rejected_before_the_build(
    words: list[str], message: str, tmp_path: Path
) -> None:
    checkout = build_context(tmp_path / "checkout", "Makefile")
    shutil.copytree(DEMO, checkout / "model/demo")
    (checkout / "model/demo/code").mkdir()
    (checkout / "model/demo/code/model.xml").touch()
    done = make_image(checkout, {**os.environ, "PATH": "/usr/bin:/bin"}, *words)
    assert done.returncode == 2 and done.stderr.startswith(f"make image: {message}"), done.stderr
