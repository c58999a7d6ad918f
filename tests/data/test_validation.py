"""The validation split: cut from the training images, by share or by list, never from the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from petbox.data import validation
from petbox.data.annotations import Animal, Dataset, Division, Photo
from petbox.errors import DataError


def photo(number: int, breed: str = "cat") -> Photo:
    animals = (Animal((0, 0, 1, 1), breed, 1),) if breed else ()
    return Photo(Path(f"Größe {number}.jpg"), number, breed, 40, 30, animals, "made here")


def dataset(train: int, breeds: tuple[str, ...] = ("cat",)) -> Dataset:
    photos = tuple(photo(number, breeds[number % len(breeds)]) for number in range(train))
    return Dataset({1: "cat"}, {"train": photos, "test": (photo(1000),)}, {})


def names(found: Dataset, split: str) -> list[str]:
    return [one.name for one in found.photos[split]]


def test_a_tenth_of_the_training_images_of_each_breed_is_cut() -> None:
    given = dataset(100, ("cat", "dog", "", "cow", "owl"))
    found = validation.cut(given, Division())
    assert list(found.photos) == ["train", "validation", "test"]
    assert Counter(one.breed for one in found.photos["validation"]) == Counter(
        {"cat": 2, "dog": 2, "": 2, "cow": 2, "owl": 2}
    )
    assert found.photos["test"] == given.photos["test"]
    assert {*names(found, "train"), *names(found, "validation")} == {*names(given, "train")}
    assert len(found.photos["train"]) == 90
    (named,) = found.remarks.values()
    assert sorted(named) == sorted(one.path.name for one in found.photos["validation"])
    assert validation.cut(given, Division()) == found
    assert validation.cut(given, Division(seed=2)) != found


@pytest.mark.parametrize(
    ("train", "share", "cut"),
    [(1, None, None), (2, None, 1), (9, None, 1), (40, 0.25, 10), (40, 0.0, None)],
)
def test_a_share_is_an_image_at_least_and_zero_is_none(
    train: int, share: float | None, cut: int | None
) -> None:
    found = validation.cut(dataset(train), Division(validation_share=share))
    assert (len(found.photos["validation"]) if cut else found.photos.get("validation")) == cut


def test_a_list_names_them(tmp_path: Path) -> None:
    path = tmp_path / "a list.txt"
    path.write_text("Größe 3\nGröße 1.jpg\n", encoding="utf-8")
    found = validation.cut(dataset(5), Division(validation_list=path))
    assert names(found, "validation") == ["Größe 3", "Größe 1"]
    assert names(found, "train") == ["Größe 0", "Größe 2", "Größe 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Größe 1000", "line 1: Größe 1000 is in the test split; take it off the list"),
        ("Größe 7", "line 1: Größe 7 is not among the training photos; correct the list"),
        ("", "names no photo; leave out --validation-list"),
        ("Größe 0\nGröße 1", "no image with an object is left to train on; give fewer for"),
    ],
)
def test_a_bad_list_is_rejected(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        validation.cut(dataset(2), Division(validation_list=path))
    assert message in str(error.value)


def test_the_datas_own_is_kept() -> None:
    given = dataset(20)
    own = replace(given, photos={**given.photos, "validation": (photo(77),)})
    assert validation.cut(own, Division()) is own
    with pytest.raises(DataError, match="the data defines its validation split; leave out"):
        validation.cut(own, Division(validation_share=0.2))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_invalid_is_rejected(share: float) -> None:
    with pytest.raises(DataError, match="must be 0 or more, and below 1"):
        Division(validation_share=share).check()
    with pytest.raises(DataError, match="both choose the validation images; give one"):
        Division(validation_share=0.5, validation_list=Path("a")).check()
