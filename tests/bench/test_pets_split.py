"""The photos of bench/pets.py, divided anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.serving import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "bench"))
import pets


def test_a_seed_divides_the_photos_of_both_lists_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = tmp_path / "pets" / "splits"
    splits.mkdir(parents=True)
    names = [f"Bengal_{number} 6 1 1\n" for number in range(120)]
    (splits / "train_faces.txt").write_text("".join(names[:100]))
    (splits / "test_faces.txt").write_text("".join(names[100:]))
    monkeypatch.setattr(pets, "DATA", tmp_path)

    def divided(seed: int) -> list[list[str]]:
        found = pets.lists(tmp_path / f"work {seed}", seed)
        return [path.read_text().splitlines(keepends=True) for path in found]

    train, test = divided(1)
    assert (len(train), sorted(train + test)) == (31, sorted(names))
    assert divided(2)[1] != test
