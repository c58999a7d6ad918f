"""The wheel alone, in an environment and a folder of its own: from photos to a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import CHECKOUT
from PIL import Image
from support.serving import empty_model, free_port, post, stand_in_engine, started
from support.soak import count
from support.warm_python import PYTHON
from support.without_tensorflow import python_path

from petbox import wire

Done = subprocess.CompletedProcess[str]
LONG = 600.0
QUICK = ("--steps=2", "--batch-size=4", "--checkpoint-every=1", "--report-every=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody works who has only the wheel."""
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def program(folder: Path) -> list[str]:
    """The petbox of the wheel; all that it needs comes from the tests' own environment."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True, timeout=LONG)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    words = [*install, "--no-index", "--quiet", str(wheel)]
    subprocess.run(words, check=True, capture_output=True, timeout=LONG)
    wheel.unlink()
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return [str(environment / "bin/petbox")]


@pytest.fixture(scope="module")
def petbox(folder: Path, program: list[str]) -> Callable[..., Done]:
    return runs(folder, program)


@pytest.fixture(scope="module")
def then(folder: Path, program: list[str]) -> Callable[..., Done]:
    """What the wheel began is ended by the same files in the checkout, warm; in `make soak` not."""
    return runs(folder, program if count(0, 1) else [str(PYTHON), "-m", "petbox"])


def runs(folder: Path, program: list[str]) -> Callable[..., Done]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def petbox(*words: str) -> Done:
        command = [*program, *words]
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=LONG
        )

    return petbox


@pytest.fixture(scope="module")
def photos(folder: Path, petbox: Callable[..., Done]) -> Path:
    """The toy pets as YOLO's files, which somebody's tool has written."""
    done = petbox("toy", "--out", "toy", "--train", "8", "--test", "4")
    assert (done.returncode, done.stdout) == (0, "toy\n"), done.stderr
    for at, path in enumerate(sorted((folder / "toy/images").glob("*.jpg"))):
        split = "train" if at % 3 else "val"
        for kind in ("images", "labels"):
            (folder / f"photos/{kind}/{split}").mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.save(folder / f"photos/images/{split}/{path.name}")
        label = folder / f"photos/labels/{split}/{path.stem}.txt"
        label.write_text(f"{at % 2} 0.5 0.5 0.5 0.5\n")
    (folder / "photos/data.yaml").write_text("names: [Midnight, Marmalade]\n")
    return folder / "photos"


@pytest.fixture(scope="module")
def interrupted(folder: Path, program: list[str], photos: Path) -> str:
    """What is said by a `petbox train PHOTOS` that is stopped while it trains."""
    command = [*program, "train", "photos", "--name", "pets", *QUICK]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("$ petbox train"):
            process.send_signal(signal.SIGTERM)
    assert process.wait(LONG) == 143, "".join(said)
    return "".join(said)


@pytest.fixture(scope="module")
def trained(then: Callable[..., Done], interrupted: str) -> Done:
    """The same command again."""
    assert "stop" not in interrupted
    return then("train", "photos", "--name", "pets", *QUICK, "--json")


def test_the_wheel_has_every_file_of_the_checkout(folder: Path, program: list[str]) -> None:
    (installed,) = folder.glob("environment/lib/python*/site-packages/petbox")
    there, here = (
        {
            path.relative_to(root).as_posix(): path.read_bytes()
            for top in (root, root / "container")  # a link in the checkout
            for path in top.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        for root in (installed, CHECKOUT / "petbox")
    )
    assert there.keys() == here.keys()
    assert not [name for name in here if here[name] != there[name]]


def test_a_model_is_served(folder: Path, program: list[str]) -> None:
    model = empty_model(folder / "empty" / "1")
    engine = stand_in_engine(folder / "engine")
    command = [*program, "serve", str(model), f"--port={free_port()}"]
    path = f"{engine}:{os.environ['PATH']}"
    with started(command, folder / "run", PATH=path, PYTHONPATH="") as server:
        assert server.line() == f"http://localhost:{command[-1].removeprefix('--port=')}/"


def test_the_demo_needs_no_tensorflow(folder: Path, program: list[str]) -> None:
    port, path = free_port(), python_path(folder / "absent")
    command = [*program, "demo", f"--port={port}", "--no-browser"]
    with started(command, folder / "demo", PYTHONPATH=path) as server:
        assert server.line() == f"http://localhost:{port}/#samples", server.errors.read_text()
        sample = requests.get(
            f"http://localhost:{port}/page/samples/Midnight_121.jpg", timeout=LONG
        )
        (found,) = wire.detections(post(port, sample.content, "image/jpeg").content)
        assert [one.label for one in found if one.score > 0.9] == [3, 3, 3]
        said = server.errors.read_text()
    assert "ready on LiteRT" in said and "Traceback" not in said


def test_what_is_chosen_is_said_aloud(interrupted: str) -> None:
    said = interrupted.splitlines()
    assert said[0] == "photos: YOLO"
    assert said[1].startswith("preset toy: for drawn images; others with --preset: ")
    assert said[2].startswith("weights: random initialization; --init PLACE")
    assert "$ petbox records photos --out data/pets-records" in said


@pytest.mark.soak
def test_the_same_command_continues_and_ends_with_a_model(trained: Done, folder: Path) -> None:
    assert trained.returncode == 0, trained.stderr
    said = trained.stderr.splitlines()
    assert said[0] == "data/pets-records: exists; continuing with what follows"
    assert said[-1] == "serve it:  petbox serve model/pets"
    result = json.loads(trained.stdout)
    assert (result["path"], result["run"]) == ("model/pets/1", "runs/pets")
    assert set(result["evaluation"]["classes"]) == {"Midnight", "Marmalade"}
    assert (folder / "model/pets/1/saved_model.pb").is_file()
    options = json.loads((folder / "runs/pets/options.json").read_text())
    assert (options["steps"], options["batch_size"], options["preset"]) == ("2", "4", "toy")


@pytest.mark.soak
def test_a_finished_chain_is_not_run_again(trained: Done, then: Callable[..., Done]) -> None:
    done = then("train", "photos", "--name", "pets", *QUICK)
    assert (done.returncode, done.stdout) == (0, "model/pets/1\n")
    assert done.stderr.count("exists; continuing") == 4


@pytest.mark.soak
def test_another_option_does_not_continue_it(trained: Done, then: Callable[..., Done]) -> None:
    done = then("train", "photos", "--name", "pets", *QUICK, "--seed", "7")
    assert done.returncode == 1
    assert (
        "pets was started with --seed 1, not with --seed 7; repeat that, choose another "
        in done.stderr
    )


@pytest.mark.soak
def test_the_run_is_converted(trained: Done, then: Callable[..., Done], folder: Path) -> None:
    done = then("convert", "--run", "runs/pets", "-o", "lite", "--form", "float32", "--json")
    assert (done.returncode, done.stdout) == (0, '{"path": "lite"}\n'), done.stderr
    assert (folder / "lite/model.tflite").is_file()


def test_records_are_reported_as_json(petbox: Callable[..., Done], photos: Path) -> None:
    done = petbox("records", "--yolo", "photos", "-o", "again", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["path"] == "again"
    assert result["pictures"] == {"train": 7, "validation": 1, "test": 4}
    assert result["labels"] == {"1": "Midnight", "2": "Marmalade"}
