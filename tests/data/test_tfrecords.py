"""TFRecord files of other tools become a folder of records."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from petbox.data import command, labels, record_writer, records, tfrecords
from petbox.data.annotations import Animal, Dataset, Photo
from petbox.errors import DataError

NAMES = {1: "cat", 2: "dog"}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Records of three images to train on, one of them without an object, and two held out."""
    photos = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(path)
        animals = (Animal((0.1, 0.1, 0.5, 0.5), NAMES[1 + number % 2], 1 + number % 2),)
        photos.append(Photo(path, number, "", 40, 30, animals if number else (), "made here"))
    splits = {"train": tuple(photos[:3]), "test": tuple(photos[3:])}
    dataset = Dataset(NAMES, splits, {})
    record_writer.write(dataset, tmp_path / "ours", seed=1, source="x", advance=lambda: None)
    return tmp_path / "ours"


@pytest.fixture
def theirs(ours: Path) -> Path:
    """The same files as others name them."""
    folder = ours.with_name("von anderen") / "Größe 1"
    folder.mkdir(parents=True)
    for split, name in {
        "train": "pets_train.record-00000-of-00001",
        "test": "pets_val.tfrecord",
    }.items():
        (shard,) = ours.glob(f"{split}.record-*")
        shard.rename(folder / name)
    labels.write(folder / "pet_label_map.pbtxt", NAMES)
    (folder / "records.txt").write_text("no TFRecord file")
    return folder


def made(*folders: Path, out: Path, **more: object) -> records.RecordsInfo:
    command.main(command.Options(out=out, tfrecords=folders, **more))  # type: ignore[arg-type]
    return records.read_info(out)


def test_they_are_taken_as_they_are_and_counted(
    ours: Path, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ours.with_name("out")
    info = made(theirs, out=out)
    assert info.pictures == {"train": 3, "test": 2}
    assert info.animals == {"train": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 1}}
    assert info.without_objects == {"train": 1, "test": 0}
    assert info.labels == NAMES
    assert sorted(one.name for one in records.examples(out, "test")) == ["3.png", "4.png"]
    assert "train: 3 images (1 without objects), 2 objects\n" in capsys.readouterr().err


def test_folders_may_be_the_splits(theirs: Path) -> None:
    test = theirs.with_name("held out")
    test.mkdir()
    (theirs / "pets_val.tfrecord").rename(test / "a.record")
    assert made(theirs, test, out=test.with_name("out")).pictures == {"train": 3, "test": 2}


def test_a_folder_or_a_file_of_them_is_recognized(theirs: Path) -> None:
    splits = {"train": 3, "test": 2}
    assert tfrecords.counted([theirs]) == splits
    out = theirs.with_name("out")
    command.main(command.Options(out=out, photos=theirs.parent))
    assert records.read_info(out).pictures == splits
    train, test = theirs / "train", theirs / "valid"
    for folder, name in ((train, "pets_train.record-00000-of-00001"), (test, "pets_val.tfrecord")):
        folder.mkdir()
        (theirs / name).rename(folder / name)
    command.main(command.Options(out=out.with_name("second"), photos=theirs))
    assert records.read_info(out.with_name("second")).pictures == splits
    file = train / "pets_train.record-00000-of-00001"
    (theirs / "pet_label_map.pbtxt").rename(train / "names.pbtxt")
    assert made(file, out=out.with_name("third")).pictures == {"train": 3}
    with pytest.raises(DataError, match=f"{file}: no records .*; make them with"):
        records.read_info(file)


def test_what_is_wrong_is_listed_at_once(theirs: Path) -> None:
    out = theirs.with_name("out")
    only_cats = theirs.parent / "cats.pbtxt"
    labels.write(only_cats, {1: "cat"})
    with pytest.raises(DataError, match="2 problems in the data") as error:
        made(theirs, out=out, label_map=only_cats)
    assert str(error.value).count("its class 2 is not in") == 2
    with pytest.raises(DataError, match="--test-share: not valid with --tfrecords; remove it"):
        made(theirs, out=out, test_share=0.5)
    (theirs / "pet_label_map.pbtxt").unlink()
    with pytest.raises(DataError, match=r"needs one label map \(there is no \*\.pbtxt\); name it"):
        made(theirs, out=out)
    with pytest.raises(DataError, match="no TFRecord file"):
        made(out.with_name("nowhere"), out=out)
    assert not out.exists()
