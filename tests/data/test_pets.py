"""Oxford-IIIT Pet's layout: valid data is read, invalid data is an error that names the file.

Errors are those of the real program; each case spoils one thing in a copy of a small valid set.
"""

from __future__ import annotations

import functools
import io
import json
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.records_command import records_error

from petbox.data import image_files, labels
from petbox.data import pets as data_pets
from petbox.data.annotations import Division, Photo
from petbox.data.problems import BadData
from petbox.data.records import read_info
from petbox.errors import DataError
from petbox.tf import tf

PHOTO = "Marmalade_1"  # in trainval.txt of every toy set
BODY = ("--boxes", "body")
ErrorOf = Callable[..., str]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "pets"
    assert run("train/make_toy_pets.py", "--out", folder, "--train", "6", "--test", "5").stdout
    return folder


@pytest.fixture
def pets(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "pets"))


@pytest.fixture
def error_of(pets: Path, tmp_path: Path, run: Any) -> ErrorOf:
    return functools.partial(records_error, run, tmp_path, "--pets", pets)


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
    read = data_pets.read(pets)
    photo = next(p for p in read.photos["train"] if p.name == PHOTO)
    assert (photo.breed, photo.animals[0].name, photo.animals[0].label) == (*2 * ("Marmalade",), 2)
    assert photo.path == image(pets)
    ymin, xmin, ymax, xmax = photo.animals[0].box
    assert (ymin * photo.height, ymax * photo.height) == pytest.approx((20, 60))
    assert (xmin * photo.width, xmax * photo.width) == pytest.approx((10, 30))


def test_numbers_are_unique_over_both_splits(pets: Path) -> None:
    photos = [photo for split in data_pets.read(pets).photos.values() for photo in split]
    assert sorted(photo.number for photo in photos) == list(range(1, 12))


def test_a_box_may_touch_all_edges(pets: Path) -> None:
    with Image.open(image(pets)) as opened:
        with_box(pets, xmin=0, ymin=0, xmax=opened.width, ymax=opened.height)
    photo = next(p for p in data_pets.read(pets).photos["train"] if p.name == PHOTO)
    assert photo.animals[0].box == (0, 0, 1, 1)


def test_photos_without_xml_are_left_out_and_reported(pets: Path) -> None:
    xml(pets).unlink()
    read = data_pets.read(pets)
    assert read.remarks["left out of train, no XML"] == (PHOTO,)
    assert PHOTO not in {photo.name for photo in read.photos["train"]}


def test_a_label_map_may_number_the_breeds(pets: Path) -> None:
    names = {10 + label: name for label, name in data_pets.read(pets).labels.items()}
    read = data_pets.read(pets, labels=names)
    assert read.labels == names
    assert {photo.animals[0].label for photo in read.photos["test"]} == set(names)


def test_classes_may_be_the_two_species(pets: Path) -> None:
    read = data_pets.read(pets, classes="species")
    assert read.labels == {1: "cat", 2: "dog"}
    for photo in (photo for split in read.photos.values() for photo in split):
        species = "cat" if photo.name[0].isupper() else "dog"
        assert {(a.label, a.name) for a in photo.animals} == {
            ({"cat": 1, "dog": 2}[species], species)
        }


# What is wrong with the folder and its lists


def test_a_missing_folder(pets: Path, error_of: ErrorOf) -> None:
    shutil.rmtree(pets)
    pets.mkdir()
    assert error_of().startswith(f"{pets / 'images'}: no such folder; give --pets a folder with")


def test_a_folder_without_images(pets: Path, error_of: ErrorOf) -> None:
    for path in (pets / "images").iterdir():
        path.unlink()
    assert error_of().startswith(f"{pets / 'images'}: has no .jpg in it; give --pets a folder with")


@pytest.mark.parametrize("name", ["list.txt", "trainval.txt", "test.txt"])
def test_a_missing_list(name: str, pets: Path, error_of: ErrorOf) -> None:
    (pets / "annotations" / name).unlink()
    assert error_of().startswith(f"{pets / 'annotations' / name}: no such file; ")


def test_an_empty_list(pets: Path, error_of: ErrorOf) -> None:
    (pets / "annotations" / "test.txt").write_text("# nothing\n\n")
    assert "test.txt: names no photo; " in error_of()


def test_a_list_that_is_no_text(pets: Path, error_of: ErrorOf) -> None:
    shutil.copy(image(pets), pets / "annotations" / "test.txt")
    assert "test.txt: cannot be read as text" in error_of()


@pytest.mark.parametrize("line", ["Marmalade_1", "Marmalade_1 2 1", "Marmalade_1 x 1 1", "a b c d"])
def test_a_list_line_of_another_form(line: str, pets: Path, error_of: ErrorOf) -> None:
    edit(pets / "annotations" / "trainval.txt", f"{PHOTO} 2 1 1", line)
    message = error_of()
    assert re.search(r"trainval.txt: line \d: ", message)
    assert f"{line!r} is not NAME CLASS-ID SPECIES BREED-ID" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trainval.txt", f"trainval.txt: line 7: {PHOTO} is named in line 1 already"),
        ("test.txt", f"test.txt: line 6: {PHOTO} is also in the training split"),
    ],
)
def test_a_photo_named_twice(name: str, message: str, pets: Path, error_of: ErrorOf) -> None:
    with (pets / "annotations" / name).open("a") as rows:
        rows.write(f"{PHOTO} 2 1 1\n")
    assert message in error_of()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("list.txt", "", f"{PHOTO} is not in {{pets}}/annotations/list.txt; add it there"),
        ("trainval.txt", f"{PHOTO} 3 1 1", f"{PHOTO} has class id 3, but 2 in "),
        ("list.txt", f"{PHOTO} 3 1 1", "give each breed one id of its own"),
        ("list.txt", f"{PHOTO} 2 2 1", f"species 2 does not fit the name {PHOTO}; cats are 1"),
        ("list.txt", "Marmalade 2 1 1", "Marmalade is not of the form BREED_NUMBER"),
    ],
    ids=["not in list.txt", "class id differs", "one id, two breeds", "species", "no breed"],
)
def test_a_line_that_contradicts_another(
    name: str, line: str, message: str, pets: Path, error_of: ErrorOf
) -> None:
    edit(pets / "annotations" / name, f"{PHOTO} 2 1 1", line)
    assert message.format(pets=pets) in error_of()


def test_a_split_without_any_boxes(pets: Path, error_of: ErrorOf) -> None:
    for line in (pets / "annotations" / "test.txt").read_text().splitlines():
        xml(pets, line.split()[0]).unlink()
    message = error_of()
    assert f"test.txt: not one of its photos has boxes in {xml(pets).parent}; " in message
    assert "--test-share 0.2" in message and "--test-list" in message


def test_a_breed_that_is_not_in_the_label_map(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData) as error:
        data_pets.read(pets, labels={1: "Abyssinian"})
    missing = [
        re.search(r"line \d+: the class '(\w+)' is not in", one) for one in error.value.problems
    ]
    names = [found[1] for found in missing if found]
    assert len(names) == len(set(names)) == len(missing) > 2, "each breed once"


# What is wrong with an annotation


def test_an_xml_without_a_size(pets: Path, error_of: ErrorOf) -> None:
    edit(xml(pets), "<size>.*</size>", "")
    assert error_of() == f"{xml(pets)}: no <size><width> in it; fetch it again"


def test_an_xml_without_an_object(pets: Path, error_of: ErrorOf) -> None:
    edit(xml(pets), "<object>.*</object>", "")
    assert error_of().startswith(f"{xml(pets)}: no <object> in it; ")


def test_an_xml_that_is_invalid(pets: Path, error_of: ErrorOf) -> None:
    xml(pets).write_text("<annotation><size>")
    assert error_of().startswith(f"{xml(pets)}: cannot be read as XML (no element found")


def test_a_size_that_is_not_the_images(pets: Path, error_of: ErrorOf) -> None:
    edit(xml(pets), "<width>.*</width>", "<width>3000</width>")
    message = error_of()
    assert f"{xml(pets)}: states 3000x" in message and f"but {image(pets)} is " in message


@pytest.mark.parametrize("width", ["0", "-4", "12.5"])
def test_a_size_that_is_invalid(width: str, pets: Path, error_of: ErrorOf) -> None:
    edit(xml(pets), "<width>.*</width>", f"<width>{width}</width>")
    assert f"<size/width> is {width}; it must be a whole number of pixels" in error_of()


@pytest.mark.parametrize("edge", [{"xmin": -1}, {"ymin": -7}, {"xmax": 5000}, {"ymax": 421}])
def test_a_box_outside_its_image(edge: dict[str, int], pets: Path, error_of: ErrorOf) -> None:
    with_box(pets, **edge)
    message = error_of()
    assert message.startswith(f"{xml(pets)}: box ")
    assert "reaches out of its" in message and str(*edge.values()) in message


@pytest.mark.parametrize("xmin", [30, 31])
def test_a_box_that_is_empty_or_turned_around(xmin: int, pets: Path, error_of: ErrorOf) -> None:
    with_box(pets, xmin=xmin, ymin=20, xmax=30, ymax=60)
    assert f"box {xmin},20 to 30,60 is empty or inverted" in error_of()


@pytest.mark.parametrize("value", ["wide", "nan", "inf", ""])
def test_a_box_that_is_no_number(value: str, pets: Path, error_of: ErrorOf) -> None:
    with_box(pets, xmax=value)
    assert f"<bndbox/xmax> is {value!r}, not a number" in error_of()


def test_an_object_of_the_other_species(pets: Path, error_of: ErrorOf) -> None:
    edit(xml(pets), "<name>cat</name>", "<name>dog</name>")
    assert "an object is called 'dog' in a cat's photo" in error_of()


# What is wrong with an image


def test_an_image_that_is_named_but_absent(pets: Path, error_of: ErrorOf) -> None:
    image(pets).unlink()
    message = error_of()
    assert message.startswith(f"{image(pets)}: no such file, but ")
    assert re.search(r"trainval.txt: line \d names it", message)


def test_an_empty_image(pets: Path, error_of: ErrorOf) -> None:
    image(pets).write_bytes(b"")
    assert error_of() == (
        f"{image(pets)}: cannot be decoded (it is empty); replace it, take it off the lists, or "
        "pass --leave-out-broken"
    )


def test_an_image_that_is_text(pets: Path, error_of: ErrorOf) -> None:
    image(pets).write_text("<html>404</html>")
    assert "cannot be decoded (it is not an image)" in error_of()


def test_an_image_that_breaks_off(pets: Path, error_of: ErrorOf) -> None:
    image(pets).write_bytes(image(pets).read_bytes()[:5000])
    assert error_of().startswith(f"{image(pets)}: cannot be decoded (image file is truncated")


def test_an_image_of_too_many_pixels(pets: Path, error_of: ErrorOf) -> None:
    Image.new("L", (8000, 6000)).save(image(pets))
    message = "8000x6000, more than the 40 million pixels records take; scale it down"
    assert error_of() == f"{image(pets)}: {message}"


def test_a_bomb_of_an_image(pets: Path, data: Path, error_of: ErrorOf) -> None:
    shutil.copy(data / "odd_images" / "decompression_bomb.gif", image(pets))
    assert re.search(r"(pixels records take; scale it down|cannot be decoded)", error_of())


# What is wrong with the options


def test_a_share_and_a_list_that_both_say_what_is_held_out(pets: Path, error_of: ErrorOf) -> None:
    message = error_of("--test-share", "0.2", "--test-list", pets / "annotations" / "test.txt")
    assert message == "--test-list and --test-share both choose what is held out; give one"


@pytest.mark.parametrize("share", ["0", "1", "-0.2", "20", "nan"])
def test_a_share_that_is_invalid(share: str, error_of: ErrorOf) -> None:
    assert error_of("--test-share", share) == f"--test-share {share}: must be between 0 and 1"


def test_a_share_too_small_to_hold_out_a_photo(error_of: ErrorOf) -> None:
    message = error_of("--test-share", "0.001")
    assert message.startswith("--test-share 0.001 of 11 photos leaves none in test; ")


def test_two_sources(pets: Path, error_of: ErrorOf) -> None:
    message = "--pets and --voc given; give PHOTOS or one of --pets, --voc, --coco and --yolo"
    assert error_of("--voc", pets) == message


def test_no_source(tmp_path: Path, run: Any) -> None:
    done = run("train/make_records.py", "--out", tmp_path / "out")
    message = "error: no photos given; give PHOTOS or one of --pets, --voc, --coco and --yolo\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize("option", [("--bbox", "xywh"), ("--images", "."), ("--turned", "follow")])
def test_an_option_of_another_source(option: tuple[str, str], error_of: ErrorOf) -> None:
    assert re.match(rf"{option[0]} is only valid with .*; remove it", error_of(*option))


def test_fewer_workers_than_one(error_of: ErrorOf) -> None:
    assert error_of("--workers", "0") == "--workers 0: must be 1 or more"


# What is divided at random


def test_a_share_is_held_out_at_random_and_is_the_same_for_the_same_seed(pets: Path) -> None:
    def split(seed: int) -> dict[str, set[str]]:
        read = data_pets.read(pets, division=Division(test_share=0.3, seed=seed))
        return {split: {photo.name for photo in photos} for split, photos in read.photos.items()}

    first = split(1)
    assert first == split(1) != split(2)
    assert (len(first["train"]), len(first["test"])) == (8, 3)
    assert not first["train"] & first["test"]


def test_each_breed_has_its_share_held_out(data: Path) -> None:
    read = data_pets.read(data / "pets", division=Division(test_share=0.25))
    held = [photo.breed for photo in read.photos["test"]]
    everything = held + [photo.breed for photo in read.photos["train"]]
    assert len(everything) == 536
    for breed in set(everything):
        assert abs(held.count(breed) - 0.25 * everything.count(breed)) <= 1


def test_a_share_of_a_list_may_be_held_out(pets: Path) -> None:
    train_list = pets / "annotations" / "trainval.txt"
    read = data_pets.read(pets, division=Division(train_list=train_list, test_share=0.5))
    assert {split: len(photos) for split, photos in read.photos.items()} == {"train": 3, "test": 3}
    assert len(read.remarks["on list.txt but in neither split"]) == 5


# The traps of the real set, handled on purpose, counted and expected of


def test_all_of_them_are_reported_and_listed(pets: Path, tmp_path: Path, run: Any) -> None:
    paths = sorted((pets / "images").glob("*.jpg"))
    chosen = [path for path in paths if f"{path.stem} " in trainval(pets)]
    with Image.open(chosen[0]) as opened:
        opened.convert("RGBA").save(chosen[0], "PNG")
    with Image.open(chosen[1]) as opened:
        opened.save(chosen[1], "GIF")
    chosen[2].write_bytes(chosen[2].read_bytes()[:5000])
    xml(pets, chosen[3].stem).unlink()
    shutil.copy(xml(pets, chosen[4].stem), xml(pets, "Bombay_11"))
    shutil.copy(chosen[4], image(pets, "Bombay_12"))
    (pets / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB")
    done = run(
        *("train/make_records.py", "--pets", pets, "--out", tmp_path / "out"),
        *("--leave-out-broken", "--validation-share=0"),
    )
    assert done.returncode == 0, done.stderr
    info = read_info(tmp_path / "out")
    expected = {
        "made JPEG, was PNG": chosen[0].name,
        "made JPEG, was GIF": chosen[1].name,
        "left out, cannot be decoded": chosen[2].name,
        "left out of train, no XML": chosen[3].stem,
        "xmls of a photo on no list": "Bombay_11.xml",
        "image on no list": "Bombay_12",
        "file that is not a .jpg, ignored": "Abyssinian_100.mat",
    }
    for what, name in expected.items():
        assert info.remarks[what] == (name,)
        assert f"{what}: 1 ({name})\n" in done.stderr
    assert info.remarks.keys() - expected.keys() == {"more than one animal"}  # toy images have them
    assert info.pictures == {"train": 4, "test": 5}


def trainval(pets: Path) -> str:
    return (pets / "annotations" / "trainval.txt").read_text()


def first_photo(pets: Path) -> Photo:
    return next(p for p in data_pets.read(pets).photos["train"] if p.name == PHOTO)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGBA", "P", "RGB", "LA", "1", "I;16")),
        *(("GIF", "P"), ("WEBP", "RGB"), ("BMP", "RGB"), ("TIFF", "RGB"), ("JPEG", "CMYK")),
    ],
)
def test_another_format_named_jpg_is_made_jpeg(kind: str, mode: str, pets: Path) -> None:
    photo = first_photo(pets)
    with Image.open(photo.path) as opened:
        small = opened.convert("L" if mode == "I;16" else "RGB")
        small.convert(mode).save(photo.path, kind)
    stored = image_files.stored(photo, "ignore")
    assert stored.change == f"made JPEG, was {kind}" + (" in CMYK" if mode == "CMYK" else "")
    assert stored.format == "jpeg"
    with Image.open(io.BytesIO(stored.encoded)) as opened:
        assert (opened.format, opened.mode) == ("JPEG", "RGB")
        assert opened.size == (photo.width, photo.height)


def test_what_is_clear_in_a_png_becomes_white(pets: Path) -> None:
    photo = first_photo(pets)
    Image.new("RGBA", (photo.width, photo.height), (0, 0, 0, 0)).save(photo.path, "PNG")
    with Image.open(io.BytesIO(image_files.stored(photo, "ignore").encoded)) as opened:
        assert opened.getextrema() == 3 * ((255, 255),)


def test_hidden_files_of_a_mac_are_nothing(pets: Path) -> None:
    before = data_pets.read(pets)
    (pets / "images" / f"._{PHOTO}.jpg").write_bytes(b"\0\5\x16\7")
    (pets / "annotations" / "xmls" / f"._{PHOTO}.xml").write_bytes(b"\0\5\x16\7")
    assert data_pets.read(pets) == before


def test_two_animals_in_a_photo_are_both_kept_and_reported(pets: Path) -> None:
    one_animal_each(pets)
    edit(xml(pets), "(<object>.*?</object>)", r"\1\1")
    read = data_pets.read(pets)
    assert read.remarks == {"more than one animal": (PHOTO,)}
    assert sum(len(photo.animals) for photo in read.photos["train"]) == 7


def one_animal_each(pets: Path) -> None:
    for path in xml(pets).parent.iterdir():  # toy images have up to three
        edit(path, "(<object>.*?</object>).*(?=</annotation>)", r"\1")


def test_a_split_without_an_image_that_can_be_decoded(pets: Path, error_of: ErrorOf) -> None:
    for line in (pets / "annotations" / "test.txt").read_text().splitlines():
        image(pets, line.split()[0]).write_bytes(b"gone")
    message = error_of("--leave-out-broken")
    assert message == "test: none of its images can be decoded; fetch them again"


def test_a_damaged_jpeg_that_only_tensorflow_refuses_is_rejected(pets: Path) -> None:
    photo = first_photo(pets)
    encoded = photo.path.read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(encoded)
        for _ in range(20):
            damaged[chance.randrange(2, len(damaged))] = chance.randrange(256)
        photo.path.write_bytes(damaged)
        try:
            image_files.stored(photo, "ignore")
        except DataError as error:
            refused += "its data are damaged" in str(error)
        else:
            tf.io.decode_image(bytes(damaged))  # raises nothing
    assert refused


def test_a_jpeg_that_was_damaged_but_decodes_is_kept_as_it_is(pets: Path) -> None:
    """Such as beagle_116 in the real set: stray bytes before the mark of the end."""
    photo = first_photo(pets)
    encoded = photo.path.read_bytes()
    assert encoded.endswith(b"\xff\xd9")
    damaged = encoded[:-2] + 240 * b"\0" + encoded[-2:]
    photo.path.write_bytes(damaged)
    assert image_files.stored(photo, "ignore") == image_files.Stored(damaged, "jpeg")


# Boxes around the body


def draw_trimaps(pets: Path) -> Path:
    """A trimap a photo: one pet in the middle, its border, and background around."""
    folder = pets / "annotations" / "trimaps"
    folder.mkdir()
    for path in (pets / "images").glob("*.jpg"):
        with Image.open(path) as opened:
            trimap = Image.new("L", opened.size, 2)
        trimap.paste(3, (10, 20, 31, 61))
        trimap.paste(1, (12, 22, 29, 59))
        trimap.save(folder / f"{path.stem}.png")
    one_animal_each(pets)
    return folder


def test_a_box_around_the_body_holds_the_border_and_no_background(pets: Path) -> None:
    draw_trimaps(pets)
    for photo in data_pets.read(pets, boxes="body").photos["train"]:
        ymin, xmin, ymax, xmax = photo.animals[0].box
        assert (xmin * photo.width, xmax * photo.width) == pytest.approx((10, 31))
        assert (ymin * photo.height, ymax * photo.height) == pytest.approx((20, 61))


def test_bodies_need_no_xml(pets: Path, tmp_path: Path, run: Any) -> None:
    draw_trimaps(pets)
    shutil.rmtree(xml(pets).parent)
    words = ("--pets", pets, "--out", tmp_path / "out", *BODY, "--classes", "species")
    done = run("train/make_records.py", *words, "--validation-share=0")
    assert done.returncode == 0, done.stderr
    info = read_info(tmp_path / "out")
    assert (info.pictures, info.remarks) == ({"train": 6, "test": 5}, {})
    assert set(info.animals["test"]) == {"cat", "dog"}


def test_a_trimap_that_is_all_background_leaves_its_photo_out(pets: Path) -> None:
    path = draw_trimaps(pets) / f"{PHOTO}.png"
    with Image.open(path) as trimap:
        Image.new("L", trimap.size, 2).save(path)
    read = data_pets.read(pets, boxes="body")
    assert read.remarks == {"left out of train, its trimap is all background": (PHOTO,)}
    assert PHOTO not in {photo.name for photo in read.photos["train"]}


def test_two_animals_in_one_trimap_leave_their_photo_out(pets: Path) -> None:
    draw_trimaps(pets)
    edit(xml(pets), "(<object>.*?</object>)", r"\1\1")
    read = data_pets.read(pets, boxes="body")
    assert read.remarks == {"left out of train, two animals in one trimap": (PHOTO,)}


def test_a_photo_without_trimap_is_left_out_and_reported(pets: Path) -> None:
    (draw_trimaps(pets) / f"{PHOTO}.png").unlink()
    assert data_pets.read(pets, boxes="body").remarks == {"left out of train, no trimap": (PHOTO,)}


def test_a_trimap_with_other_numbers(pets: Path, error_of: ErrorOf) -> None:
    path = draw_trimaps(pets) / f"{PHOTO}.png"
    with Image.open(path) as trimap:
        trimap.point(lambda value: 100 * value).save(path)
    assert re.match(rf"{path}: has pixels of \d+; a trimap's are 1 \(pet\)", error_of(*BODY))


def test_a_trimap_in_colors(pets: Path, error_of: ErrorOf) -> None:
    path = draw_trimaps(pets) / f"{PHOTO}.png"
    with Image.open(path) as trimap:
        trimap.convert("RGB").save(path)
    assert error_of(*BODY).startswith(f"{path}: of mode RGB; a trimap has one number a pixel")


def test_a_trimap_that_is_invalid(pets: Path, error_of: ErrorOf) -> None:
    path = draw_trimaps(pets) / f"{PHOTO}.png"
    path.write_bytes(b"404")
    assert error_of(*BODY) == f"{path}: cannot be decoded as a trimap; fetch it again"


def test_a_trimap_of_another_size(pets: Path, error_of: ErrorOf) -> None:
    path = draw_trimaps(pets) / f"{PHOTO}.png"
    Image.new("L", (40, 30), 1).save(path)
    assert f"{path}: states 40x30, but {image(pets)} is " in error_of(*BODY)


# The real data


def test_the_real_photos_are_read(data: Path) -> None:
    pets = data / "pets"
    read = data_pets.read(
        pets,
        division=Division(pets / "splits" / "train_faces.txt", pets / "splits" / "test_faces.txt"),
        labels=labels.read(data / "reference" / "pet_label_map.pbtxt"),
    )
    assert {split: len(photos) for split, photos in read.photos.items()} == {
        "train": 447,
        "test": 89,
    }
    assert {what: len(names) for what, names in read.remarks.items()} == {
        "on list.txt but in neither split": 303
    }


def test_the_real_lists_number_breeds_as_the_reference_label_map(data: Path) -> None:
    read = data_pets.read(data / "pets", division=Division(test_share=0.2))
    assert read.labels == labels.read(data / "reference" / "pet_label_map.pbtxt")


def test_the_real_official_test_split_has_no_faces(data: Path) -> None:
    with pytest.raises(DataError, match=r"test\.txt: not one of its photos has boxes"):
        data_pets.read(data / "pets")


def test_the_real_bodies_are_those_drawn_from_the_trimaps_before(data: Path) -> None:
    """Those of `xmls_body` count pixels from 1, both ends included."""
    pets = data / "pets"
    division = Division(pets / "splits" / "train_body.txt", pets / "splits" / "test_body.txt")
    read = data_pets.read(pets, boxes="body", division=division)
    assert {split: len(photos) for split, photos in read.photos.items()} == {
        "train": 443,
        "test": 147,
    }
    for photo in (photo for split in read.photos.values() for photo in split):
        text = (pets / "annotations" / "xmls_body" / f"{photo.name}.xml").read_text()
        edges = ("ymin", "xmin", "ymax", "xmax")
        theirs = [int(re.search(rf"<{e}>(\d+)</{e}>", text)[1]) for e in edges]  # type: ignore[index]
        sizes = 2 * (photo.height, photo.width)
        ours = [edge * size for edge, size in zip(photo.animals[0].box, sizes, strict=True)]
        assert [theirs[0] - 1, theirs[1] - 1, *theirs[2:]] == pytest.approx(ours)


def test_the_real_trimap_that_is_all_background_is_reported(data: Path) -> None:
    division = Division(test_share=0.2)
    read = data_pets.read(data / "pets", boxes="body", classes="species", division=division)
    assert read.remarks["left out, its trimap is all background"] == ("Abyssinian_34",)


@pytest.fixture(scope="module")
def whole_set(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real set's lists and XMLs, all of them, with empty files for images."""
    theirs = data / "pets_full_annotations"
    root = tmp_path_factory.mktemp("whole")
    with tarfile.open(theirs / "xmls.tar.gz") as archive:
        archive.extractall(root)
    (root / "images").mkdir()
    for name in ("list.txt", "trainval.txt", "test.txt"):
        shutil.copy(theirs / name, root / "annotations" / name)
    for line in (theirs / "list.txt").read_text().splitlines():
        if not line.startswith("#"):
            (root / "images" / f"{line.split()[0]}.jpg").touch()
    return root


def test_the_whole_real_set_is_counted_as_it_is(whole_set: Path) -> None:
    read = data_pets.read(whole_set, division=Division(test_share=0.2))
    assert {split: len(photos) for split, photos in read.photos.items()} == {
        "train": 2937,
        "test": 734,
    }
    assert {what: len(names) for what, names in read.remarks.items()} == {
        "left out, no XML": 7349 - 3671,
        "more than one animal": 1,
        "xmls of a photo on no list": 15,
    }
    assert read.remarks["more than one animal"] == ("Bengal_105",)
    assert "Bombay_11.xml" in read.remarks["xmls of a photo on no list"]


def test_nine_real_photos_of_trainval_have_no_xml(whole_set: Path) -> None:
    division = Division(whole_set / "annotations" / "trainval.txt", test_share=0.2)
    remarks = data_pets.read(whole_set, division=division).remarks
    assert len(remarks["left out, no XML"]) == 9
    assert len(remarks["on list.txt but in neither split"]) == 3669


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO file")
def test_odd_images_are_rejected_by_name_or_become_what_tensorflow_decodes(
    data: Path, pets: Path
) -> None:
    """Each file is put in a photo's place; whatever is in it, nothing else is raised."""
    photo = data_pets.read(pets).photos["train"][0]
    expected = json.loads((data / "odd_images" / "expected.json").read_text())
    as_they_are = set()
    for name in expected:
        shutil.copy(data / "odd_images" / name, photo.path)
        try:
            with Image.open(photo.path) as opened:
                photo = replace(photo, width=opened.width, height=opened.height)
        except Exception:  # expected below
            pass
        try:
            stored = image_files.stored(photo, "ignore")
        except DataError as error:
            assert str(error).startswith(f"{photo.path}: ") and "\n" not in str(error)
            continue
        with Image.open(io.BytesIO(stored.encoded)) as opened:
            assert (opened.width, opened.height) == (photo.width, photo.height)
        if stored.change is None:
            as_they_are.add(name)
        else:
            assert stored.encoded.startswith(b"\xff\xd8\xff")
    assert as_they_are == {n for n, e in expected.items() if e.get("pil_format") in ("JPEG", "MPO")}
    assert not [n for n in as_they_are if str(expected[n]["tf_decode_image_c3"]).startswith("ERR")]
