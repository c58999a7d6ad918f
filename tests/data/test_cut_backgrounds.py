"""Backgrounds cut from Oxford-IIIT Pet: none has a pixel of a pet."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from petbox.data import cut_backgrounds, records
from petbox.data.cut_backgrounds import MARGIN, largest

SCRIPT = "train/cut_backgrounds.py"


def test_the_largest_square_keeps_away_from_the_pet() -> None:
    taken = np.zeros((200, 300), bool)
    taken[40:200, 150:190] = True
    for seed in range(20):
        found = largest(taken, 96, random.Random(seed))
        assert found is not None
        rows = slice(max(0, found.top - MARGIN), found.top + found.side + MARGIN)
        columns = slice(max(0, found.left - MARGIN), found.left + found.side + MARGIN)
        assert not taken[rows, columns].any()
        assert 0 <= found.left <= 300 - found.side and 0 <= found.top <= 200 - found.side
        assert 136 <= found.side <= 145  # 150 pixels are free, without the margin 145
    assert largest(~np.zeros((200, 300), bool), 96, random.Random(1)) is None
    assert largest(taken, 160, random.Random(1)) is None


def test_real_backgrounds_are_records_without_objects(data: Path, tmp_path: Path, run: Any) -> None:
    pets, out = data / "pets", tmp_path / "Größe 1"
    words = ("--pets", pets, "--classes", "species", "--count", "7", "--out", out)
    done = run(SCRIPT, *words)
    assert done.returncode == 0, done.stderr
    assert "7 images (all without objects)\n" in done.stderr
    info = records.read_info(out)
    assert info.pictures == info.without_objects == {"test": 7}
    assert info.labels == {1: "cat", 2: "dog"}
    for example in records.examples(out, "test"):
        name, left, top = example.name.removesuffix(".jpg").rsplit("_", 2)
        assert example.classes == () and example.width == example.height >= 96
        box = (int(left), int(top), int(left) + example.width, int(top) + example.height)
        with Image.open(pets / f"annotations/trimaps/{name}.png") as trimap:
            assert set(np.unique(np.array(trimap.crop(box)))) == {2}, "background alone"
        with Image.open(pets / f"images/{name}.jpg") as photo:
            there = np.asarray(photo.convert("RGB").crop(box), float)
        with Image.open(io.BytesIO(example.encoded)) as cut:
            assert np.abs(np.asarray(cut, float) - there).mean() < 4
    cut_backgrounds.main(
        cut_backgrounds.Options(pets=pets, images=True, count=7, out=tmp_path / "images")
    )
    files = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert files == {one.name: one.encoded for one in records.examples(out, "test")}
    assert (tmp_path / "images").stat().st_mode & 0o055, "others may read them"


def test_a_trimap_without_a_pet_is_not_used(data: Path) -> None:
    trimaps = data / "pets/annotations/trimaps"
    wrong = cut_backgrounds._taken(trimaps / "Abyssinian_34.png", Path("none"))
    assert wrong.all(), "its photo shows a pet"


def test_too_few_photos_are_an_error(data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "one.txt"
    listed.write_text("Abyssinian_34 1 1 1\n")
    options = cut_backgrounds.Options(pets=data / "pets", photos=listed, out=tmp_path / "out")
    with pytest.raises(
        cut_backgrounds.DataError, match="only 0 of its photos have 96 pixels without"
    ):
        cut_backgrounds.main(options)
    assert not (tmp_path / "out").exists()
