"""`--backgrounds`: folders of images without objects get into the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.records_command import records_error

from petbox.data import backgrounds, command, records

SCRIPT = "train/make_records.py"
ON_ITS_SIDE = 6


def save(path: Path, size: tuple[int, int], orientation: int = 1) -> None:
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "green").save(path, exif=exif)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos with a box each, in YOLO's form."""
    folder = tmp_path / "cats"
    for number in range(10):
        save(folder / f"{number}.jpg", (64, 48))
        (folder / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "classes.txt").write_text("cat")
    return folder


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Eleven images as people have them, two of them turned by EXIF, one of those square."""
    folder = tmp_path / "leere Räume"
    for number in range(8):
        save(folder / f"{number}.jpg", (50, 40))
    save(folder / "sideways.jpg", (80, 40), ON_ITS_SIDE)
    save(folder / "square.jpg", (40, 40), ON_ITS_SIDE)
    save(folder / "drawn.PNG", (30, 40))
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_they_are_trained_on_and_counted(photos: Path, rooms: Path, run: Any) -> None:
    more, out = rooms.with_name("more"), photos.with_name("records")
    save(more / "0.jpg", (70, 70))
    words = (photos, "--backgrounds", rooms, "--backgrounds", more, "--validation-share", "0.25")
    done = run(SCRIPT, *words, "--turned", "ignore", "--out", out)
    assert done.returncode == 0, done.stderr
    info = records.read_info(out)
    assert info.pictures == {"train": 15, "validation": 5, "test": 2}
    assert info.without_objects == {"train": 9, "validation": 3, "test": 0}, "a share of each kind"
    names = sorted(path.name for path in rooms.iterdir() if path.suffix != ".txt")
    assert info.remarks[backgrounds.ADDED.format(rooms)] == tuple(names)
    assert info.remarks[backgrounds.ADDED.format(more)] == ("0.jpg",)
    assert f"trained on without objects, from {rooms}: 11 (0.jpg, 1.jpg, " in done.stderr
    assert str(rooms) in info.source
    found = [one for split in ("train", "validation") for one in records.examples(out, split)]
    empty = {one.name: one for one in found if not one.classes}
    assert (empty["sideways.jpg"].width, empty["sideways.jpg"].height) == (40, 80)
    assert "turned upright as its EXIF says: 2 (sideways.jpg, square.jpg)" in done.stderr
    everything = [*found, *records.examples(out, "test")]
    assert len({one.source_id for one in everything}) == 22


def test_one_that_was_cut_from_a_photo_stays_in_its_split(photos: Path, rooms: Path) -> None:
    for number in range(10):
        save(rooms / f"{number}_16_0.jpg", (20, 20))
    options = command.Options(out=photos.with_name("out"), photos=photos, backgrounds=(rooms,))
    dataset = command.read(command.recognized(options))
    names = {split: [photo.name for photo in of] for split, of in dataset.photos.items()}
    assert names["validation"] and names["test"]
    for number in range(10):
        (split,) = (split for split in names if f"{number}_16_0" in names[split])
        assert photos / f"{number}.jpg" in {photo.path for photo in dataset.photos[split]}
    kept = [f"{name}.jpg" for name in names["test"] if "_" in name]
    assert len(kept) == 2 and {*kept} <= {*dataset.remarks[backgrounds.BESIDE]}
    assert {"0", "sideways"} <= {*names["train"], *names["validation"]}


def test_an_invalid_one_is_listed_with_the_others_or_left_out(
    photos: Path, rooms: Path, run: Any
) -> None:
    (rooms / "broken.jpg").write_bytes(b"no image")
    (photos / "3.jpg").write_bytes(b"")
    out = photos.with_name("out")
    words = (SCRIPT, photos, "--backgrounds", rooms, "--out", out)
    done = run(*words)
    assert done.returncode == 1
    assert "error: 2 problems in the data:\n" in done.stderr
    assert "broken.jpg: cannot be decoded (it is not an image); replace it" in done.stderr
    assert run(*words, "--leave-out-broken").returncode == 0
    left_out = records.read_info(out).remarks["left out, cannot be decoded"]
    assert left_out == ("3.jpg", "broken.jpg")


def test_folders_that_cannot_be_meant_are_rejected(photos: Path, run: Any) -> None:
    folder = photos.parent
    (folder / "empty").mkdir()
    for place, message in {
        photos: f"0.jpg: --backgrounds names it, but {photos / '0.txt'} does as well; take it out",
        folder / "empty": "empty: no image in this folder; for images in its subfolders quote a",
        folder / "nowhere": "nowhere: no such file or folder; check the path",
    }.items():
        assert message in records_error(run, folder, "--yolo", photos, "--backgrounds", place)
