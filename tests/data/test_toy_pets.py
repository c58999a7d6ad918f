"""The drawn data set: in the layout of the real one, true to its boxes, the same every time."""

from __future__ import annotations

import filecmp
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image

from petbox.data import pets as data_pets
from petbox.data.toy import command
from petbox.data.toy.breeds import BREEDS, animal
from petbox.data.toy.scenes import scene

SCRIPT = "train/make_toy_pets.py"


def draw(run: Any, folder: Path, *options: str) -> Path:
    done = run(SCRIPT, "--out", folder, "--train", "10", "--test", "5", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}\n"
    return folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    return draw(run, tmp_path_factory.mktemp("toy") / "pets")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_layout_is_oxford_iiit_pets(pets: Path) -> None:
    lists = {f"annotations/{name}.txt" for name in ("list", "trainval", "test")}
    names = {path.stem for path in (pets / "images").glob("*.jpg")}
    assert len(names) == 15
    assert set(files(pets)) == lists | {f"images/{n}.jpg" for n in names} | {
        f"annotations/xmls/{n}.xml" for n in names
    }
    header, *rest = (pets / "annotations" / "list.txt").read_text().splitlines()
    assert header == "#Image CLASS-ID SPECIES BREED ID"
    assert "Marmalade_1 2 1 1" in rest


def test_both_splits_have_every_breed(pets: Path) -> None:
    for photos in data_pets.read(pets).photos.values():
        assert {photo.breed for photo in photos} == {breed.name for breed in BREEDS}


def test_the_same_seed_gives_the_same_bytes(pets: Path, tmp_path: Path, run: Any) -> None:
    again = draw(run, tmp_path / "again")
    same, different, missing = filecmp.cmpfiles(pets, again, files(pets), shallow=False)
    assert (different, missing) == ([], [])
    assert len(same) == 33


def test_another_seed_draws_other_images(pets: Path, tmp_path: Path, run: Any) -> None:
    other = draw(run, tmp_path / "other", "--seed", "2")
    for path in (pets / "images").glob("*.jpg"):
        assert path.read_bytes() != (other / "images" / path.name).read_bytes()


def test_an_image_is_the_same_in_a_larger_set(pets: Path, tmp_path: Path, run: Any) -> None:
    larger = tmp_path / "larger"
    assert run(SCRIPT, "--out", larger, "--train", "17", "--test", "5").returncode == 0
    for path in (pets / "images").glob("*.jpg"):
        assert path.read_bytes() == (larger / "images" / path.name).read_bytes()


@pytest.mark.parametrize("breed", BREEDS, ids=lambda breed: breed.name)
def test_an_animal_touches_all_four_sides_of_its_box(breed: Any) -> None:
    for seed in range(5):
        pet = animal(breed, 120, np.random.default_rng(seed))
        seen = np.asarray(pet.getchannel("A")) > 127
        assert all(side.any() for side in (seen[0], seen[-1], seen[:, 0], seen[:, -1]))


@pytest.mark.parametrize("breed", BREEDS, ids=lambda breed: breed.name)
def test_animals_lie_within_the_image_and_hide_nothing_of_each_other(breed: Any) -> None:
    for seed in range(20):
        image, boxes = scene(breed, np.random.default_rng(seed))
        assert all(180 <= side <= 420 for side in image.size)
        assert 1 <= len(boxes) <= 3
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
            assert 0.2 <= max(right - left, bottom - top) / min(image.size) <= 0.8
        pixels = np.zeros(image.size)
        for left, top, right, bottom in boxes:
            pixels[left:right, top:bottom] += 1
        assert pixels.max() == 1


def test_images_are_whole_jpegs(pets: Path) -> None:
    for path in (pets / "images").glob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            image.load()


def test_a_folder_that_exists_is_not_changed(pets: Path, run: Any) -> None:
    before = files(pets)
    done = run(SCRIPT, "--out", pets, "--train", "1", "--test", "1")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {pets}: exists already and is not overwritten; remove it or name another\n"
    )
    assert files(pets) == before


@pytest.mark.parametrize("options", [("--train", "0"), ("--test", "-1"), ("--seed", "-1")])
def test_a_number_too_small_is_rejected(options: Any, tmp_path: Path, run: Any) -> None:
    done = run(SCRIPT, "--out", tmp_path / "pets", *options)
    assert done.returncode == 1
    assert done.stderr == "error: --train and --test must be 1 or more, --seed 0 or more\n"
    assert list(tmp_path.iterdir()) == []


def test_signals_wait_until_a_worker_handles_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = command._ignore_ctrl_c

    def stops_held() -> set[signal.Signals]:
        return command.STOPS & signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def begin() -> None:
        at_first = stops_held()
        handled()
        (tmp_path / str(os.getpid())).write_text(f"{len(at_first)}, then {len(stops_held())}")

    monkeypatch.setattr(command, "_ignore_ctrl_c", begin)
    with command._workers() as pool:
        assert pool.map(abs, [-1]) == [1]
        assert stops_held() == set()
    assert {file.read_text() for file in tmp_path.iterdir()} == {"2, then 0"}


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--out", str(tmp_path / "pets"), "--train", "5000"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stderr=subprocess.PIPE, start_new_session=True, text=True
    ) as process:
        while not list(tmp_path.rglob("*.jpg")):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == "interrupted; the same command continues where it can\n"
    assert list(tmp_path.iterdir()) == []
