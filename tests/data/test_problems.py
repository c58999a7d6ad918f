"""Bad boxes and files are listed all at once, or bad boxes are dropped, by the real command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from petbox.data.records import examples, read_info

SIZE = (60, 40)
GOOD = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of which five have something wrong, each something else."""
    folder = tmp_path_factory.mktemp("bad") / "Größe 1"
    folder.mkdir()
    (folder / "classes.txt").write_text("cat")
    lines = {
        2: f"{GOOD}0 0.9 0.5 0.4 0.2\n",  # reaches out
        10: "0 0.5 0.5 0 0.2\n",  # empty, and the only one
        11: f"0 0.5\n{GOOD}",
    }
    for number in range(14):
        Image.new("RGB", SIZE, (9 * number, 0, 0)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(lines.get(number, GOOD))
    (folder / "7.jpg").write_bytes(b"no image")
    whole = (folder / "8.jpg").read_bytes()
    (folder / "8.jpg").write_bytes(whole[:300])
    return folder


def make(run: Any, photos: Path, out: Path, *more: str) -> Any:
    return run("train/make_records.py", photos, "--out", out, *more)


def test_all_are_listed_in_order_and_nothing_is_written(
    yolo: Path, tmp_path: Path, run: Any
) -> None:
    done = make(run, yolo, tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    first, *listed = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert first == "error: 5 problems in the data:"
    begins = (
        "2.txt: line 2: box 42,16 to 66,24 reaches out of its 60x40 image",
        "7.jpg: ",
        "8.jpg: cannot be decoded",
        "10.txt: line 1: box 30,16 to 30,24 is empty or inverted",
        "11.txt: line 1: '0 0.5' is not CLASS X Y WIDTH HEIGHT",
    )
    for line, begin in zip(listed, begins, strict=True):
        assert line.startswith(f"  {yolo}/{begin}")
    assert list(tmp_path.iterdir()) == []


def test_each_class_that_the_label_map_lacks_is_listed_once(
    yolo: Path, tmp_path: Path, run: Any
) -> None:
    photos = Path(shutil.copytree(yolo, tmp_path / "photos"))
    (photos / "classes.txt").write_text("cat\ndog\nowl\nbird")
    (photos / "3.txt").write_text(f"{GOOD}1{GOOD[1:]}2{GOOD[1:]}")
    (photos / "10.txt").write_text(f"2{GOOD[1:]}3{GOOD[1:]}")
    (photos / "classes.pbtxt").write_text("item { id: 7 name: 'cat' } item { id: 8 name: 'bird' }")
    done = make(run, photos, tmp_path / "out", f"--label-map={photos / 'classes.pbtxt'}")
    assert done.returncode == 1
    first, *listed = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in listed] == [
        "2.txt", "3.txt", "3.txt", "7.jpg", "8.jpg", "11.txt"
    ]  # fmt: skip
    assert "3.txt: line 2: the class 'dog' is not in the label map; add it there" in listed[1]
    assert "3.txt: line 3: the class 'owl' is not in the label map; add it there" in listed[2]
    assert first == "error: 6 problems in the data:"


def test_bad_boxes_are_dropped_if_that_is_wanted(yolo: Path, tmp_path: Path, run: Any) -> None:
    photos = Path(shutil.copytree(yolo, tmp_path / "photos"))
    (photos / "11.txt").write_text(f"0 1.2 0.5 0.2 0.2\n{GOOD}")
    out = tmp_path / "out"
    options = ("--drop-bad-boxes", "--leave-out-broken", "--validation-share=0")
    done = make(run, photos, out, *options)
    assert done.returncode == 0, done.stderr
    info = read_info(out)
    assert info.remarks["bad box dropped"] == ("11.jpg", "2.jpg")
    assert info.remarks["left out, all its boxes are bad"] == ("10.jpg",)
    assert info.remarks["left out, cannot be decoded"] == ("7.jpg", "8.jpg")
    assert "bad box dropped: 2 (11.jpg, 2.jpg)\n" in done.stderr
    assert sum(info.pictures.values()) == 11
    assert sum(info.without_objects.values()) == 0, "no image has become a background"
    found = {one.name: one for split in info.pictures for one in examples(out, split)}
    assert len(found["2.jpg"].boxes) == 1


@pytest.mark.parametrize("verbose", [False, True])
def test_many_are_counted_and_the_rest_is_in_a_file(
    verbose: bool, tmp_path: Path, run: Any
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "classes.txt").write_text("cat")
    for number in range(1, 31):
        (photos / f"{number}.jpg").write_bytes(b"no image")
        (photos / f"{number}.txt").write_text(GOOD)
    done = make(run, photos, tmp_path / "out", *["-v"] * verbose)
    *_, last = done.stderr.splitlines()
    listing = tmp_path / "out-problems.txt"
    assert "error: 30 problems in the data:\n" in done.stderr
    if verbose:
        assert last.strip().startswith(f"{photos}/30.jpg: ")
        assert not listing.exists()
        return
    assert last == f"  ... and 10 more; all are in {listing}"
    lines = listing.read_text(encoding="utf-8").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"{photos}/{number}.jpg" for number in range(1, 31)
    ]
