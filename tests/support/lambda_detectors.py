"""What runs a detector in Lambda, for tests: the image's packages, LiteRT's zip, tiny models.

The packages are those that serverless/detector.Dockerfile installs, and no others, so that a
missing one is noticed. The stand-in for Lambda's base image is a bare Debian with the runtime of
`lambda_runtime` in it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.docker_engine import MINE, Engine
from support.installed import HERE, PACKAGES, PYTHON, copied, linked, require_python
from support.lambda_runtime import CHECKOUT, RUNTIME, Function, started
from support.locks import packages
from support.serving import tiny_detector

# Of these the base has the files, of the others only that they are there: they are large.
COPIED = ("aws-lambda-powertools", "boto3", "botocore", "jmespath", "pillow", "pip", "pybase64")
COPIED += (
    "python-dateutil",
    "python-multipart",
    "s3transfer",
    "six",
    "typing-extensions",
    "urllib3",
)
ENTRYPOINT = """#!/bin/sh
export _HANDLER="$1"
exec python3 /var/runtime/runtime.py
"""
LABELS = "item {\n  id: 3\n  name: 'Abyssinian'\n}\n"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the image's packages in it, as links."""
    return linked(tmp_path_factory.mktemp("installed"), packages("detector_image"))


@contextmanager
def tensorflow_running(installed: Path, folder: Path, env: Mapping[str, str]) -> Iterator[Function]:
    """The handler as in the image, without a container around it."""
    task = folder / "task"
    task.mkdir(parents=True)
    (task / "petbox").symlink_to(CHECKOUT / "petbox")
    shutil.copy(CHECKOUT / "serverless/detector.py", task)
    code = f"import sys; sys.path[:0] = {[str(task), str(installed)]!r}\n{RUNTIME}"
    env = {"AWS_REGION": "us-east-1", "_HANDLER": "detector.handler", **env}
    with started([sys.executable, "-I", "-S", "-c", code], folder, env) as function:
        yield function


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    folder.chmod(0o755)
    tiny_detector(folder / "1", named=True)
    return folder


@pytest.fixture(scope="session")
def lite_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that finds one Abyssinian in every image."""
    from petbox.litert.bundle import ABOUT, BOXES, CLASSES, CORNERS, COUNT, IMAGE, NETWORK, SCORES
    from petbox.tf import tf

    edges = [32, 32]
    specs = {
        IMAGE: tf.TensorSpec([1, *edges, 3], tf.float32, IMAGE),
        CORNERS: tf.TensorSpec([1, 4], tf.float32, CORNERS),
    }

    @tf.function
    def detect(image, corners):  # type: ignore[no-untyped-def]
        nothing = 0.0 * tf.reduce_sum(image)
        return {
            BOXES: tf.reshape(0.0 * corners + [0.1, 0.2, 0.6, 0.7], [1, 1, 4]),
            CLASSES: tf.fill([1, 1], 3.0 + nothing),
            SCORES: tf.fill([1, 1], 0.875 + nothing),
            COUNT: tf.fill([1], 1.0 + nothing),
        }

    folder = tmp_path_factory.mktemp("lite")
    signature = detect.get_concrete_function(**specs)
    tf.saved_model.save(tf.Module(), str(folder / "saved"), signatures={"detect": signature})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "saved"), signature_keys=["detect"]
    )
    made = folder / "made"
    made.mkdir()
    (made / NETWORK).write_bytes(converter.convert())
    about = {
        "form": "float32",
        "canvas": edges,
        "padded": edges,
        "mean": [0.5, 0.5, 0.5],
        "deviation": [0.5, 0.5, 0.5],
        "min_score": 0.05,
        "most_pixels": 40_000_000,
    }
    (made / ABOUT).write_text(json.dumps(about))
    (made / "label_map.pbtxt").write_text(LABELS)
    return made


# The image


@pytest.fixture(scope="session")
def lambda_base(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in for public.ecr.aws/lambda/python."""
    require_python(engine, debian)
    folder = tmp_path_factory.mktemp("lambda-base")
    target = copied(folder / "packages", COPIED, packages("detector_image"))
    (target / "tensorflow").mkdir()
    (target / "tensorflow/__init__.py").touch()
    (folder / "runtime.py").write_text(RUNTIME)
    (folder / "lambda-entrypoint.sh").write_text(ENTRYPOINT)
    (folder / "lambda-entrypoint.sh").chmod(0o755)
    (folder / "Dockerfile").write_text(
        f"FROM {debian}\n"
        f"RUN rm -f /usr/lib/{PYTHON}/EXTERNALLY-MANAGED\n"
        f"COPY packages {PACKAGES}\n"
        "COPY runtime.py /var/runtime/\n"
        "COPY lambda-entrypoint.sh /\n"
        "ENV LAMBDA_TASK_ROOT=/var/task PYTHONPATH=/var/task\n"
        "WORKDIR /var/task\n"
        'ENTRYPOINT ["/lambda-entrypoint.sh"]\n'
    )
    engine("build", "--network=none", "--tag", f"{MINE}-lambda-base", folder)
    return f"{MINE}-lambda-base"


@pytest.fixture(scope="session")
def images(
    engine: Engine, lambda_base: str, saved_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the Dockerfile builds: with a model in it, and `bare`."""
    context = tmp_path_factory.mktemp("context")
    for name in ("petbox", "serverless"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, context / name, symlinks=True, ignore=ignored)
    shutil.copy(CHECKOUT / ".dockerignore", context)
    shutil.copytree(CHECKOUT / "locks", context / "locks")
    shutil.copytree(saved_model, context / "model/tiny")
    words = ["--network=none", f"--build-arg=BASE={lambda_base}", "--file"]
    words += [str(context / "serverless/detector.Dockerfile")]
    made = {}
    for name, more in {
        "bare": ["--target=bare"],
        "whole": ["--build-arg=MODEL=model/tiny"],
    }.items():
        made[name] = f"{MINE}-detector-{name}"
        engine("build", *words, *more, "--tag", made[name], context)
    return made


@contextmanager
def image_running(
    engine: Engine, image: str, folder: Path, env: Mapping[str, str]
) -> Iterator[Function]:
    """A container of it as Lambda runs one: as an unprivileged user that can write to /tmp only."""
    name = f"{MINE}-{folder.name}"
    variables = ["AWS_LAMBDA_RUNTIME_API", "AWS_REGION", *env]
    command = ["docker", "run", "--rm", f"--name={name}", "--network=host", "--read-only"]
    command += ["--tmpfs=/tmp", "--cap-drop=ALL", *(f"--env={one}" for one in variables)]
    command += [f"--volume={HERE}:{PACKAGES}:ro", image]
    try:
        with started(command, folder, {**engine.env, "AWS_REGION": "us-east-1", **env}) as function:
            yield function
    finally:
        engine("rm", "--force", name, check=False)
