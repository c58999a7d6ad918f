"""YOLO's text files: read from the layouts that tools write, bad lines named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from petbox.data import yolo
from petbox.data.annotations import Dataset, Division
from petbox.errors import DataError

LINE = "0 0.5 0.5 0.5 0.25\n"
NAMES = "names:\n  0: cat\n  1: dog\n"


def put(root: Path, name: str, text: str | None, size: tuple[int, int] = (40, 20)) -> Path:
    """An image at `name`, and its label file where the layout has it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    if text is not None:
        label = Path(str(path.with_suffix(".txt")).replace("/images/", "/labels/"))
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    return path


def read(root: Path, **options: Any) -> Dataset:
    return yolo.read(root, **options)


def error_of(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        read(root, **options)
    return str(error.value).replace(f"{root}/", "")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Two photos beside their label files, as LabelImg writes them."""
    put(tmp_path, "one.jpg", LINE + "1 0.25 0.5 0.5 1\n")
    put(tmp_path, "two.jpg", LINE)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


def test_boxes_are_of_the_center_and_the_size(flat: Path) -> None:
    dataset = read(flat, division=Division(test_share=0.5))
    assert dataset.labels == {1: "cat", 2: "dog"}
    photos = {p.name: p for split in dataset.photos.values() for p in split}
    cat, dog = photos["one"].animals
    assert (cat.name, cat.label, dog.name, dog.label) == ("cat", 1, "dog", 2)
    assert cat.box == pytest.approx((0.375, 0.25, 0.625, 0.75))
    assert dog.box == pytest.approx((0, 0, 1, 0.5))
    assert (photos["one"].width, photos["one"].height) == (40, 20)


@pytest.mark.parametrize(
    ("train", "test", "config"),
    [
        ("images/train", "images/val", "path: .\ntrain: images/train\nval: images/val\n" + NAMES),
        (
            "images/train",
            "images/val",
            "path: ../datasets/x\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
        ),
        (
            "train/images",
            "valid/images",
            "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
        ),
        (
            "train/images",
            "test/images",
            "train: [train/images]\nval: []\ntest: test/images\n" + NAMES,
        ),
        ("images/train", "images/val", "train: train.txt\nval: val.txt\n" + NAMES),
        ("images/train", "images/test", NAMES),
        ("train/images", "valid/images", NAMES),
    ],
)
def test_splits_are_found(tmp_path: Path, train: str, test: str, config: str) -> None:
    put(tmp_path, f"{train}/one.jpg", LINE)
    put(tmp_path, f"{test}/two.jpg", LINE)
    (tmp_path / "data.yaml").write_text(config)
    for split, folder, name in (("train", train, "one"), ("val", test, "two")):
        (tmp_path / f"{split}.txt").write_text(f"./{folder}/{name}.jpg\n")
    photos = read(tmp_path).photos
    assert {split: [p.name for p in found] for split, found in photos.items()} == {
        "train": ["one"],
        "test": ["two"],
    }


def test_undivided_photos_are_held_out_at_random(tmp_path: Path) -> None:
    for number in range(10):
        put(tmp_path, f"images/{number}.jpg", LINE)
    (tmp_path / "classes.txt").write_text("cat")
    photos = read(tmp_path).photos
    assert {split: len(found) for split, found in photos.items()} == {"train": 8, "test": 2}


def test_a_polygon_becomes_the_box_around_it(flat: Path) -> None:
    (flat / "one.txt").write_text("1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n")
    photos = read(flat, division=Division(test_share=0.5)).photos
    (dog,) = (a for split in photos.values() for p in split for a in p.animals if a.label == 2)
    assert dog.box == pytest.approx((0.25, 0.25, 0.75, 0.75))


def test_photos_without_a_box_are_backgrounds(flat: Path) -> None:
    put(flat, "empty.jpg", "\n")
    put(flat, "none.jpg", None)
    dataset = read(flat, division=Division(test_share=0.5))
    photos = [photo for split in dataset.photos.values() for photo in split]
    assert {p.path.name for p in photos if not p.animals} == {"empty.jpg", "none.jpg"}
    assert dataset.remarks["no label file, so taken to have no object"] == ("none.jpg",)


def test_rounding_out_of_the_image_is_trimmed_and_named(flat: Path) -> None:
    (flat / "one.txt").write_text("0 0.25 0.5 0.51 1\n")
    dataset = read(flat, division=Division(test_share=0.5))
    assert dataset.remarks["box trimmed to its image, by less than a pixel"] == ("one.jpg",)


def test_a_label_map_is_matched_by_name(flat: Path) -> None:
    dataset = read(flat, labels={7: "dog", 9: "cat"}, division=Division(test_share=0.5))
    photos = [p for split in dataset.photos.values() for p in split]
    assert {a.label for p in photos for a in p.animals} == {7, 9}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.5 0.5 0.2 0.2", "one.txt: line 2: 'cat 0.5 0.5 0.2 0.2' is not CLASS X Y WIDTH"),
        ("0 0.5 0.5 0.2", "one.txt: line 2: '0 0.5 0.5 0.2' is not CLASS X Y WIDTH HEIGHT"),
        ("0 0.5 0.5 0.2 0.2 0.9", "one.txt: line 2: '0 0.5 0.5 0.2 0.2 0.9' is not CLASS"),
        ("0 20 10 8 8", "one.txt: line 2: '0 20 10 8 8' is not in fractions"),
        ("0 nan 0.5 0.1 0.1", "one.txt: line 2: '0 nan 0.5 0.1 0.1' is not in fractions"),
        ("5 0.5 0.5 0.2 0.2", "one.txt: line 2: class 5 has no name; there are 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "one.txt: line 2: '-1 0.5 0.5 0.2 0.2' is not CLASS"),
        ("0 0.5 0.5 0 0.2", "one.txt: line 2: box 20,8 to 20,12 is empty or inverted"),
        ("0 0.9 0.5 0.9 0.2", "one.txt: line 2: box 18,8 to 54,12 reaches out of its 40x20"),
    ],
)
def test_a_bad_line_is_named(flat: Path, line: str, message: str) -> None:
    (flat / "one.txt").write_text(f"{LINE}{line}\n")
    assert error_of(flat).startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [cat\n", "data.yaml: cannot be read as YAML (while parsing"),
        ("names: 3\n", "data.yaml: names: must be a list of class names"),
        ("names: {a: cat}\n", "data.yaml: names: must be a list of class names"),
        ("names: [cat, cat]\n", "data.yaml: 'cat' is there twice"),
        ("names: []\n", "data.yaml: names no class"),
        ("train: nowhere\nval: .\n" + NAMES, "data.yaml: train: there is no nowhere"),
    ],
)
def test_a_bad_data_yaml_is_named(flat: Path, config: str, message: str) -> None:
    (flat / "data.yaml").write_text(config)
    assert error_of(flat).startswith(message)


def test_missing_names_are_rejected(flat: Path) -> None:
    (flat / "classes.txt").unlink()
    assert "no data.yaml and no classes.txt; give --yolo a folder" in error_of(flat)


def test_a_photo_in_both_splits_is_rejected(tmp_path: Path) -> None:
    put(tmp_path, "images/train/one.jpg", LINE)
    (tmp_path / "data.yaml").write_text(f"train: images/train\nval: images/train\n{NAMES}")
    assert "is also in the training split" in error_of(tmp_path)


@pytest.mark.parametrize(("turned", "size"), [("follow", (20, 40)), ("ignore", (40, 20))])
def test_a_photo_that_exif_turns_is_rejected(
    flat: Path, turned: str, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(flat / "one.jpg", exif=exif)
    assert "choose --turned follow or --turned ignore" in error_of(flat)
    photos = read(flat, turned=turned, division=Division(test_share=0.5)).photos
    assert size in {
        (p.width, p.height) for p in (*photos["train"], *photos["test"]) if p.name == "one"
    }
