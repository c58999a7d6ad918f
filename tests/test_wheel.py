"""The wheel alone, in an environment and a folder of its own: from photos to a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import CHECKOUT
from support.photos_chain import LONG, TRAIN, Done, Stopped
from support.ports import free_port
from support.serving import empty_model, post, stand_in_engine, started
from support.without_tensorflow import python_path

from petbox import wire


def test_the_wheel_has_every_file_of_the_checkout(
    wheel_folder: Path, wheel_program: list[str]
) -> None:
    (installed,) = wheel_folder.glob("environment/lib/python*/site-packages/petbox")
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


def test_a_model_is_served(wheel_folder: Path, wheel_program: list[str]) -> None:
    model = empty_model(wheel_folder / "empty" / "1")
    engine = stand_in_engine(wheel_folder / "engine")
    command = [*wheel_program, "serve", str(model), f"--port={free_port()}"]
    path = f"{engine}:{os.environ['PATH']}"
    with started(command, wheel_folder / "run", PATH=path, PYTHONPATH="") as server:
        assert server.line() == f"http://localhost:{command[-1].removeprefix('--port=')}/"


def test_the_demo_needs_no_tensorflow(wheel_folder: Path, wheel_program: list[str]) -> None:
    port, path = free_port(), python_path(wheel_folder / "absent")
    command = [*wheel_program, "demo", f"--port={port}", "--no-browser"]
    with started(command, wheel_folder / "demo", PYTHONPATH=path) as server:
        assert server.line() == f"http://localhost:{port}/#samples", server.errors.read_text()
        sample = requests.get(
            f"http://localhost:{port}/page/samples/Midnight_121.jpg", timeout=LONG
        )
        (found,) = wire.detections(post(port, sample.content, "image/jpeg").content)
        assert [one.label for one in found if one.score > 0.9] == [3, 3, 3]
        said = server.errors.read_text()
    assert "ready on LiteRT" in said and "Traceback" not in said


def test_what_is_chosen_is_said_aloud(stopped: Stopped) -> None:
    said = stopped.said.splitlines()
    assert said[0] == "photos: YOLO"
    assert said[1].startswith("preset toy: for drawn images; others with --preset: ")
    assert said[2].startswith("weights: random initialization; --init PLACE")
    assert "$ petbox records photos --out data/pets-records" in said


def test_a_stopped_run_is_not_taken_for_a_finished_one(stopped: Stopped) -> None:
    assert (stopped.code, stopped.runs) == (143, []), stopped.said


@pytest.mark.soak
def test_the_same_command_continues_and_ends_with_a_model(continued: Done, chain: Path) -> None:
    said = continued.stderr.splitlines()
    assert said[0] == "data/pets-records: exists; continuing with what follows"
    assert said[-1] == "serve it:  petbox serve model/pets"
    assert any(line.startswith("continuing ") for line in said)
    result = json.loads(continued.stdout)
    assert (result["path"], result["run"]) == ("model/pets/1", "runs/pets")
    assert set(result["evaluation"]["classes"]) == {"Midnight", "Marmalade"}
    assert (chain / "model/pets/1/saved_model.pb").is_file()
    options = json.loads((chain / "runs/pets/options.json").read_text())
    assert (options["steps"], options["batch_size"], options["preset"]) == ("2", "4", "toy")


@pytest.mark.soak
def test_a_finished_chain_is_not_run_again(chain: Path, then: Callable[..., Done]) -> None:
    done = then(*TRAIN)
    assert (done.returncode, done.stdout) == (0, "model/pets/1\n")
    assert done.stderr.count("exists; continuing") == 4


@pytest.mark.soak
def test_another_option_does_not_continue_it(chain: Path, then: Callable[..., Done]) -> None:
    done = then(*TRAIN, "--seed", "7")
    assert done.returncode == 1
    assert (
        "pets was started with --seed 1, not with --seed 7; repeat that, choose another "
        in done.stderr
    )


@pytest.mark.soak
def test_the_run_is_converted(chain: Path, then: Callable[..., Done]) -> None:
    done = then("convert", "--run", "runs/pets", "-o", "lite", "--form", "float32", "--json")
    assert (done.returncode, done.stdout) == (0, '{"path": "lite"}\n'), done.stderr
    assert (chain / "lite/model.tflite").is_file()


def test_records_are_reported_as_json(petbox: Callable[..., Done], photos: Path) -> None:
    done = petbox("records", "--yolo", "photos", "-o", "again", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["path"] == "again"
    assert result["pictures"] == {"train": 7, "validation": 1, "test": 4}
    assert result["labels"] == {"1": "Midnight", "2": "Marmalade"}
