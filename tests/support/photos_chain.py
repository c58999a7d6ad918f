"""The chain from photos to a model by `petbox train PHOTOS`, once for all tests of a worker.

The wheel begins it, in an environment and a folder of its own, and is stopped while it trains.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from support.soak import count
from support.training_runs import SMALL
from support.warm_python import PYTHON

CHECKOUT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]
LONG = 600.0
QUICK = (SMALL, "--steps=2", "--batch-size=4", "--checkpoint-every=1", "--report-every=1")
TRAIN = ("train", "photos", "--name", "pets", *QUICK)


class Stopped(NamedTuple):
    code: int
    said: str
    runs: list[str]  # that count as finished


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody works who has only the wheel."""
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="session")
def wheel_program(wheel_folder: Path) -> list[str]:
    """The petbox of the wheel; all that it needs comes from the tests' own environment."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel_folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True, timeout=LONG)
    (wheel,) = wheel_folder.glob("*.whl")
    environment = wheel_folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    words = [*install, "--no-index", "--quiet", str(wheel)]
    subprocess.run(words, check=True, capture_output=True, timeout=LONG)
    wheel.unlink()
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return [str(environment / "bin/petbox")]


@pytest.fixture(scope="session")
def petbox(wheel_folder: Path, wheel_program: list[str]) -> Callable[..., Done]:
    return runs(wheel_folder, wheel_program)


@pytest.fixture(scope="session")
def then(wheel_folder: Path, wheel_program: list[str]) -> Callable[..., Done]:
    """What the wheel began is ended by the same files in the checkout, warm; in `make soak` not."""
    warm = [str(PYTHON), "-m", "petbox"]
    return runs(wheel_folder, wheel_program if count(0, 1) else warm)


def runs(folder: Path, program: list[str]) -> Callable[..., Done]:
    env = without_checkout()

    def petbox(*words: str) -> Done:
        command = [*program, *words]
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=LONG
        )

    return petbox


def without_checkout() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="session")
def photos(wheel_folder: Path, petbox: Callable[..., Done]) -> Path:
    """The toy pets as YOLO's files, which somebody's tool has written."""
    done = petbox("toy", "--out", "toy", "--train", "8", "--test", "4")
    assert (done.returncode, done.stdout) == (0, "toy\n"), done.stderr
    folder = wheel_folder / "photos"
    for at, path in enumerate(sorted((wheel_folder / "toy/images").glob("*.jpg"))):
        split = "train" if at % 3 else "val"
        for kind in ("images", "labels"):
            (folder / f"{kind}/{split}").mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.save(folder / f"images/{split}/{path.name}")
        (folder / f"labels/{split}/{path.stem}.txt").write_text(f"{at % 2} 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [Midnight, Marmalade]\n")
    return folder


@pytest.fixture(scope="session")
def stopped(wheel_folder: Path, wheel_program: list[str], photos: Path) -> Stopped:
    """A `petbox train PHOTOS` that is stopped as soon as it has begun to train."""
    command = [*wheel_program, *TRAIN]
    env, said = without_checkout(), []
    with subprocess.Popen(
        command, cwd=wheel_folder, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if "tracing" in line:
                process.send_signal(signal.SIGTERM)
        code = process.wait(LONG)
    finished = [path.name for path in (wheel_folder / "runs").iterdir() if path.suffix == ""]
    return Stopped(code, "".join(said), finished)


@pytest.fixture(scope="session")
def continued(then: Callable[..., Done], stopped: Stopped) -> Done:
    """The same command again."""
    return then(*TRAIN, "--json")


@pytest.fixture(scope="session")
def chain(wheel_folder: Path, continued: Done) -> Path:
    """The folder with all that the chain has made."""
    assert continued.returncode == 0, continued.stderr
    return wheel_folder
