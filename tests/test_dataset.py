"""Photos with boxes, read: what is right comes through, what is wrong is named and stops.

Bad data is put to the real program; each case spoils one thing in a copy of a small good set.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from petbox import dataset, labels
from petbox.errors import DataError

PHOTO = "Marmalade_1"  # in trainval.txt of every toy set
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "pets"
    assert run("train/make_toy_pets.py", "--out", folder, "--train", "6", "--test", "5").stdout
    return folder


@pytest.fixture
def pets(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "pets"))


@pytest.fixture
def refused(pets: Path, tmp_path: Path, run: Any) -> Refused:
    """What the program says when it stops; it must say it in one line and leave nothing."""

    def refused(*options: str | Path) -> str:
        before = sorted(tmp_path.iterdir())
        done = run("train/make_records.py", "--pets", pets, "--out", tmp_path / "out", *options)
        assert (done.returncode, done.stdout) == (1, "")
        *talk, error = done.stderr.splitlines()
        assert talk in ([], ["loading TensorFlow ..."])
        assert error.startswith("error: ")
        assert sorted(tmp_path.iterdir()) == before
        return str(error.removeprefix("error: "))

    return refused


def image(pets: Path, name: str = PHOTO) -> Path:
    return pets / "images" / f"{name}.jpg"


def xml(pets: Path, name: str = PHOTO) -> Path:
    return pets / "annotations" / "xmls" / f"{name}.xml"


def edit(path: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def with_box(pets: Path, **edges: object) -> Path:
    for edge, value in edges.items():
        edit(xml(pets), f"<{edge}>.*?</{edge}>", f"<{edge}>{value}</{edge}>")
    return xml(pets)


# What is right


def test_a_photo_is_read_with_its_boxes_in_fractions(pets: Path) -> None:
    with_box(pets, xmin=10, ymin=20, xmax=30, ymax=60)
    read = dataset.read(pets)
    photo = next(p for p in read.photos["train"] if p.name == PHOTO)
    assert (photo.breed, photo.label, photo.species) == ("Marmalade", 2, "cat")
    assert photo.path == image(pets)
    ymin, xmin, ymax, xmax = photo.animals[0].box
    assert (ymin * photo.height, ymax * photo.height) == pytest.approx((20, 60))
    assert (xmin * photo.width, xmax * photo.width) == pytest.approx((10, 30))


def test_numbers_are_unique_over_both_splits(pets: Path) -> None:
    photos = [photo for split in dataset.read(pets).photos.values() for photo in split]
    assert sorted(photo.number for photo in photos) == list(range(1, 12))


def test_a_box_may_touch_all_edges(pets: Path) -> None:
    with Image.open(image(pets)) as picture:
        with_box(pets, xmin=0, ymin=0, xmax=picture.width, ymax=picture.height)
    photo = next(p for p in dataset.read(pets).photos["train"] if p.name == PHOTO)
    assert photo.animals[0].box == (0, 0, 1, 1)


def test_photos_without_xml_are_listed_apart(pets: Path) -> None:
    xml(pets).unlink()
    read = dataset.read(pets)
    assert read.without_boxes == {"train": (PHOTO,), "test": ()}
    assert PHOTO not in {photo.name for photo in read.photos["train"]}


def test_a_label_map_may_number_the_breeds(pets: Path) -> None:
    names = {10 + label: name for label, name in dataset.read(pets).labels.items()}
    read = dataset.read(pets, labels=names)
    assert read.labels == names
    assert {photo.label for photo in read.photos["test"]} == set(names)


# What is wrong with the folder and its lists


def test_a_missing_folder(pets: Path, refused: Refused) -> None:
    shutil.rmtree(pets)
    pets.mkdir()
    assert refused().startswith(f"{pets / 'images'}: no such folder; give --pets a folder with")


def test_a_folder_without_images(pets: Path, refused: Refused) -> None:
    for path in (pets / "images").iterdir():
        path.unlink()
    assert refused().startswith(f"{pets / 'images'}: has no .jpg in it; give --pets a folder with")


@pytest.mark.parametrize("name", ["list.txt", "trainval.txt", "test.txt"])
def test_a_missing_list(name: str, pets: Path, refused: Refused) -> None:
    (pets / "annotations" / name).unlink()
    assert refused().startswith(f"{pets / 'annotations' / name}: no such file; ")


def test_an_empty_list(pets: Path, refused: Refused) -> None:
    (pets / "annotations" / "test.txt").write_text("# nothing\n\n")
    assert "test.txt: names no photo; " in refused()


def test_a_list_that_is_no_text(pets: Path, refused: Refused) -> None:
    shutil.copy(image(pets), pets / "annotations" / "test.txt")
    assert "test.txt: cannot be read as text" in refused()


@pytest.mark.parametrize("line", ["Marmalade_1", "Marmalade_1 2 1", "Marmalade_1 x 1 1", "a b c d"])
def test_a_list_line_of_another_form(line: str, pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "trainval.txt", f"{PHOTO} 2 1 1", line)
    message = refused()
    assert re.search(r"trainval.txt: line \d: ", message)
    assert f"{line!r} is not NAME CLASS-ID SPECIES BREED-ID" in message


def test_a_photo_named_twice(pets: Path, refused: Refused) -> None:
    with (pets / "annotations" / "trainval.txt").open("a") as rows:
        rows.write(f"{PHOTO} 2 1 1\n")
    assert f"trainval.txt: line 7: {PHOTO} is named in line 1 already" in refused()


def test_a_photo_in_both_splits(pets: Path, refused: Refused) -> None:
    with (pets / "annotations" / "test.txt").open("a") as rows:
        rows.write(f"{PHOTO} 2 1 1\n")
    assert f"test.txt: line 6: {PHOTO} is trained on as well" in refused()


def test_a_photo_that_is_not_in_the_list_of_all(pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "list.txt", f"{PHOTO} 2 1 1\n", "")
    assert f"{PHOTO} is not in {pets / 'annotations' / 'list.txt'}; add it there" in refused()


def test_a_class_id_that_differs_between_lists(pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "trainval.txt", f"{PHOTO} 2 1 1", f"{PHOTO} 3 1 1")
    assert f"{PHOTO} has class id 3, but 2 in " in refused()


def test_two_breeds_with_one_class_id(pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "list.txt", f"{PHOTO} 2 1 1", f"{PHOTO} 3 1 1")
    assert "give each breed one id of its own" in refused()


def test_a_species_that_contradicts_the_name(pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "list.txt", f"{PHOTO} 2 1 1", f"{PHOTO} 2 2 1")
    assert f"species 2 does not go with the name {PHOTO}; cats are 1" in refused()


def test_a_name_without_a_breed(pets: Path, refused: Refused) -> None:
    edit(pets / "annotations" / "list.txt", f"{PHOTO} ", "Marmalade ")
    assert "Marmalade is not of the form BREED_NUMBER" in refused()


def test_a_split_without_any_boxes(pets: Path, refused: Refused) -> None:
    for line in (pets / "annotations" / "test.txt").read_text().splitlines():
        xml(pets, line.split()[0]).unlink()
    message = refused()
    assert "test.txt: not one of its photos has boxes" in message
    assert "--test-list" in message


def test_a_breed_that_is_not_in_the_label_map(pets: Path, tmp_path: Path, refused: Refused) -> None:
    labels.write(tmp_path / "map.pbtxt", {1: "Abyssinian"})
    message = refused("--label-map", tmp_path / "map.pbtxt")
    assert re.search(r"line \d: the breed \w+ is not in the label map; add it there", message)


# What is wrong with an annotation


def test_an_xml_without_a_size(pets: Path, refused: Refused) -> None:
    edit(xml(pets), "<size>.*</size>", "")
    assert refused() == f"{xml(pets)}: no <size><width> in it; fetch it again"


def test_an_xml_without_an_object(pets: Path, refused: Refused) -> None:
    edit(xml(pets), "<object>.*</object>", "")
    assert refused().startswith(f"{xml(pets)}: no <object> in it; ")


def test_an_xml_that_is_none(pets: Path, refused: Refused) -> None:
    xml(pets).write_text("<annotation><size>")
    assert refused().startswith(f"{xml(pets)}: cannot be read as XML (no element found")


def test_a_size_that_is_not_the_pictures(pets: Path, refused: Refused) -> None:
    edit(xml(pets), "<width>.*</width>", "<width>3000</width>")
    message = refused()
    assert f"{xml(pets)}: says 3000x" in message and f"but {image(pets)} is " in message


@pytest.mark.parametrize("width", ["0", "-4", "12.5"])
def test_a_size_that_is_none(width: str, pets: Path, refused: Refused) -> None:
    edit(xml(pets), "<width>.*</width>", f"<width>{width}</width>")
    assert f"<size/width> is {width}; it must be a whole number of pixels" in refused()


@pytest.mark.parametrize("edge", [{"xmin": -1}, {"ymin": -7}, {"xmax": 5000}, {"ymax": 421}])
def test_a_box_outside_its_picture(edge: dict[str, int], pets: Path, refused: Refused) -> None:
    with_box(pets, **edge)
    message = refused()
    assert message.startswith(f"{xml(pets)}: box ")
    assert "reaches out of its" in message and str(*edge.values()) in message


@pytest.mark.parametrize("xmin", [30, 31])
def test_a_box_that_is_empty_or_turned_around(xmin: int, pets: Path, refused: Refused) -> None:
    with_box(pets, xmin=xmin, ymin=20, xmax=30, ymax=60)
    assert f"box {xmin},20 to 30,60 is empty or turned around" in refused()


@pytest.mark.parametrize("value", ["wide", "nan", "inf", ""])
def test_a_box_that_is_no_number(value: str, pets: Path, refused: Refused) -> None:
    with_box(pets, xmax=value)
    assert f"<bndbox/xmax> is {value!r}, not a number" in refused()


def test_an_object_of_the_other_species(pets: Path, refused: Refused) -> None:
    edit(xml(pets), "<name>cat</name>", "<name>dog</name>")
    assert "an object is called 'dog' in a cat's photo" in refused()


# What is wrong with a picture


def test_a_picture_that_is_named_but_absent(pets: Path, refused: Refused) -> None:
    image(pets).unlink()
    message = refused()
    assert message.startswith(f"{image(pets)}: no such file, but ")
    assert re.search(r"trainval.txt: line \d names it", message)


def test_an_empty_picture(pets: Path, refused: Refused) -> None:
    image(pets).write_bytes(b"")
    assert refused() == (
        f"{image(pets)}: cannot be decoded (it is empty); replace it, or take it off the lists"
    )


def test_a_picture_that_is_text(pets: Path, refused: Refused) -> None:
    image(pets).write_text("<html>404</html>")
    assert "cannot be decoded (it is no picture)" in refused()


def test_a_picture_that_breaks_off(pets: Path, refused: Refused) -> None:
    image(pets).write_bytes(image(pets).read_bytes()[:5000])
    assert refused().startswith(f"{image(pets)}: cannot be decoded (image file is truncated")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_another_format_named_jpg(kind: str, pets: Path, refused: Refused) -> None:
    with Image.open(image(pets)) as picture:
        picture.save(image(pets), kind)
    assert f"named .jpg but a {kind}; save it as JPEG" in refused()


# The real data


def test_the_real_photos_are_read(data: Path) -> None:
    pets = data / "pets"
    names = labels.read(data / "reference" / "pet_label_map.pbtxt")
    read = dataset.read(
        pets,
        train_list=pets / "splits" / "train_faces.txt",
        test_list=pets / "splits" / "test_faces.txt",
        labels=names,
    )
    assert {split: len(photos) for split, photos in read.photos.items()} == {
        "train": 447,
        "test": 89,
    }
    assert read.without_boxes == {"train": (), "test": ()}


def test_the_real_lists_number_breeds_as_the_reference_label_map(data: Path) -> None:
    pets = data / "pets"
    test_list = pets / "splits" / "test_faces.txt"
    train_list = pets / "splits" / "train_faces.txt"
    read = dataset.read(pets, train_list=train_list, test_list=test_list)
    assert read.labels == labels.read(data / "reference" / "pet_label_map.pbtxt")


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO file")
def test_odd_pictures_are_refused_by_name_unless_tensorflow_decodes_them(
    data: Path, pets: Path
) -> None:
    """Each file is put in a photo's place; whatever is in it, nothing else is raised."""
    photo = dataset.read(pets).photos["train"][0]
    expected = json.loads((data / "odd_images" / "expected.json").read_text())
    accepted = set()
    for name in expected:
        shutil.copy(data / "odd_images" / name, photo.path)
        try:
            dataset.jpeg(photo)
            accepted.add(name)
        except DataError as error:
            assert str(error).startswith(f"{photo.path}: ") and "\n" not in str(error)
    assert accepted == {n for n, e in expected.items() if e.get("pil_format") in ("JPEG", "MPO")}
    assert not [n for n in accepted if str(expected[n]["tf_decode_image_c3"]).startswith("ERR")]
