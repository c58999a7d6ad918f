"""The image of a LiteRT detector: petbox's own model server in TensorFlow Serving's place."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import CHECKOUT
from PIL import Image
from support import locks
from support.docker_engine import MINE, Engine
from support.installed import PACKAGES, copied, require_python
from support.serving_image import Container, build_context, make_image, until

DEMO = CHECKOUT / "petbox/serving/demo/model"
SAMPLE = CHECKOUT / "container/page/samples/Midnight_121.jpg"


@pytest.fixture(scope="module")
def litert_image(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """As `make image` builds it, on a Debian in which pip finds the lock fulfilled."""
    require_python(engine, debian)
    names = locks.packages("litert_image")
    folder = copied(tmp_path_factory.mktemp("base"), names)
    (folder / "Dockerfile").write_text(f"FROM {debian}\nCOPY . {PACKAGES}\n")
    base = f"{MINE}-litert-base"
    engine("build", "--network=none", "--tag", base, folder)
    checkout = build_context(tmp_path_factory.mktemp("litert") / "checkout", "Makefile")
    shutil.copytree(DEMO, checkout / "model/demo")
    given = ("LITERT=1", f"BASE={base}", "MODEL=model/demo")
    words = [f"--build-arg={one}" for one in given]
    file = checkout / "container/Dockerfile"
    engine("build", *words, "--network=host", "--file", file, checkout)  # the cache of the next
    done = make_image(checkout, engine.env, *given[1:])
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["MODEL=model/demo"], "MODEL=model/demo --build-arg LITERT=1 BASE=debian:12-slim"),
        (["MODEL=", "LITERT=1", "BASE=mine"], "LITERT=1 BASE=mine"),
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
    typed = make_image(checkout, os.environ, "--dry-run", *words).stdout
    found = re.findall(r"--build-arg (\w+=\S+)", typed)
    assert found == [one for one in expected.split() if "=" in one]
