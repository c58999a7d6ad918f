"""The image with Python: its packages, and a model with code in it, before the real adder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import wheels
from support.docker_engine import Engine
from support.hooks import HANDLERS
from support.serving_image import Container, build, build_context, until

CODE = """import petbox_test_tiny
from pathlib import Path
from pairs import input_handler, output_handler
assert petbox_test_tiny.number == 7 and Path(__file__).with_name("requirements.txt").exists()
"""


@pytest.fixture(scope="module")
def hooks_image(
    engine: Engine, base: str, image: str, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """As `make image HOOKS=1` builds it; its first steps are those of `image`."""
    context = build_context(tmp_path_factory.mktemp("hooks-context"))
    shutil.copytree(model, context / "model" / "adder")
    code = context / "model" / "adder" / "code"
    (code / "wheels").mkdir(parents=True)
    (code / "inference.py").write_text(CODE)
    shutil.copy(HANDLERS / "json_and_csv.py", code / "pairs.py")
    (code / "requirements.txt").write_text("petbox-test-tiny==1.5\n")
    wheels.make("petbox_test_tiny", "1.5", "number = 7", code / "wheels")
    for name in ("requests", "urllib3", "idna", "certifi", "charset-normalizer"):
        wheels.repack(name, code / "wheels")
    given = {"BASE": base, "MODEL": "model/adder", "HOOKS": "1", "PIP_NO_INDEX": "1"}
    return build(engine, context, "hooks", **given)


@pytest.fixture(scope="module")
def container(start: Callable[..., Any], hooks_image: str) -> Iterator[Container]:
    """As nobody in particular, on a system that cannot be written to."""
    flags = ("--read-only", "--tmpfs=/tmp", "--user=12345:54321", "--cap-drop=ALL")
    with start(*flags, image=hooks_image) as container:
        yield container.ready()


def test_the_code_is_run_before_and_after_the_model(container: Container) -> None:
    answer = container.post(b'{"instances": [1]}')
    assert (answer.status_code, answer.json()) == (200, {"predictions": [3.5]})


def test_errors_name_the_line_and_the_traceback_is_in_the_log(container: Container) -> None:
    answer = container.post(b"one", "text/csv")
    wanted = "ValueError: could not convert string to float: 'one' (pairs.py, line 11)"
    assert (answer.status_code, answer.json()) == (500, {"error": wanted})
    until(lambda: "in input_handler\n" in container.said())


def test_the_images_own_python_runs_it(container: Container) -> None:
    assert len(container.pids("/opt/petbox/python/bin/python3 -uB")) >= 1


def test_wheels_and_pips_cache_are_not_in_it(engine: Engine, hooks_image: str) -> None:
    found = "find / -xdev -name '*.whl' -not -path '/models/*'"
    script = f"{found}; ls /requirements /root/.cache || true"
    words = ("run", "--rm", "--network=none", "--entrypoint=/bin/sh", hooks_image, "-c", script)
    assert engine(*words).stdout == ""
    assert "PIP_" not in engine("history", "--no-trunc", hooks_image).stdout


def refused(engine: Engine, image: str, folder: Path, requirements: str) -> str:
    """The last line of its log with code that cannot run."""
    folder.chmod(0o755)
    (folder / "1").mkdir()
    (folder / "1" / "saved_model.pb").touch()
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").touch()
    (folder / "code" / "requirements.txt").write_text(requirements)
    volume = f"--volume={folder}:/opt/ml/model:ro"
    done = engine("run", "--rm", "--network=none", volume, image, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_packages_that_are_not_in_it_are_named(
    engine: Engine, hooks_image: str, tmp_path: Path
) -> None:
    last = refused(engine, hooks_image, tmp_path, "scipy\npetbox-test-tiny==2.0\n")
    wanted = "scipy is not installed; petbox-test-tiny is 1.5, not ==2.0; install what is missing "
    assert last.startswith(f"serve: /opt/ml/model/code: {wanted}")


def test_an_image_without_python_says_how_to_get_it(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    last = refused(engine, image, tmp_path, "")
    assert last.startswith("serve: /opt/ml/model/code/inference.py cannot run, because this image")
    assert "--build-arg HOOKS=1" in last
