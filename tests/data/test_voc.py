"""Your own photos in PASCAL VOC's folders: what is right comes through, what is wrong is named."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.records_command import records_error

from petbox.data import image_files, labels
from petbox.data import voc as data_voc
from petbox.data.annotations import Dataset, Division
from petbox.data.records import examples, read_info
from petbox.errors import DataError

NAMES = [f"photo{number}" for number in range(10)]
ErrorOf = Callable[..., str]
CLOCKWISE, UPSIDE_DOWN, ORIENTATION = 6, 3, 0x0112


def draw(path: Path, size: tuple[int, int] = (60, 40), orientation: int | None = None) -> None:
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).convert("RGB").save(path, exif=exif)


def thing(name: str = "cat", box: tuple[float, ...] = (6, 10, 30, 20), more: str = "") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    edges = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(tags, box, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{edges}</bndbox></object>"


def annotate(
    path: Path, *things: str, filename: str = "", size: tuple[int, int] = (60, 40)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    head = f"<filename>{filename}</filename>" if filename else ""
    path.write_text(f"<annotation>{head}{said}{''.join(things)}</annotation>")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    for number, name in enumerate(NAMES):
        draw(root / "JPEGImages" / f"{name}.jpg")
        annotate(xml(root, name), thing("dog" if number % 2 else "cat"), filename=f"{name}.jpg")
    return root


def xml(root: Path, name: str = NAMES[0]) -> Path:
    return root / "Annotations" / f"{name}.xml"


def image_of(root: Path, name: str = NAMES[0]) -> Path:
    return root / "JPEGImages" / f"{name}.jpg"


def with_lists(root: Path, **names: list[str]) -> Path:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, lines in names.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def split_names(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [p.name for p in photos] for split, photos in dataset.photos.items()}


@pytest.fixture
def error_of(voc: Path, tmp_path: Path, run: Any) -> ErrorOf:
    return functools.partial(records_error, run, tmp_path, "--voc", voc)


# What is right


def test_photos_become_records(voc: Path, tmp_path: Path, run: Any) -> None:
    annotate(
        xml(voc),
        thing("cat", (6, 10, 30, 20), "<pose>Left</pose><truncated>1</truncated>"),
        thing("dog", (0, 0, 60, 40), "<difficult>1</difficult>"),
    )
    annotate(xml(voc, NAMES[1]))
    xml(voc, NAMES[2]).unlink()
    with_lists(voc, train=NAMES[:6], val=NAMES[6:])
    words = ("--voc", voc, "--out", tmp_path / "out", "--validation-share=0")
    done = run("train/make_records.py", *words)
    assert done.returncode == 0, done.stderr
    info = read_info(tmp_path / "out")
    assert info.labels == {1: "cat", 2: "dog"}
    assert info.pictures == {"train": 5, "test": 4}
    assert info.without_objects == {"train": 1, "test": 0}
    assert "train: 5 images (1 without objects), 5 objects\n" in done.stderr
    background = next(e for e in examples(tmp_path / "out", "train") if not e.classes)
    assert (background.name, background.boxes) == (f"{NAMES[1]}.jpg", ())
    assert f"left out, no XML: 1 ({NAMES[2]}.jpg)\n" in done.stderr
    example = next(e for e in examples(tmp_path / "out", "train") if e.name == f"{NAMES[0]}.jpg")
    assert example.classes == (1, 2)
    assert example.boxes == (pytest.approx((10 / 40, 6 / 60, 20 / 40, 30 / 60)), (0, 0, 1, 1))
    assert example.encoded == image_of(voc).read_bytes()


@pytest.mark.parametrize(
    "folder", ["JPEGImages", "images", "Image", "img", "photos", ".", "Annotations"]
)
def test_images_may_lie_in_several_places(folder: str, voc: Path) -> None:
    (voc / folder).mkdir(exist_ok=True)
    for name in NAMES:
        image_of(voc, name).rename(voc / folder / f"{name}.jpg")
    assert {photo.path.parent for photo in data_voc.read(voc).photos["test"]} == {voc / folder}


def test_xmls_and_images_may_lie_in_one_folder(voc: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in voc.rglob("*.*"):
        shutil.copy(path, flat)
    read = data_voc.read(flat)
    assert sorted(chain(*split_names(read).values())) == NAMES


def test_an_image_may_be_found_by_the_filename_in_its_xml(voc: Path) -> None:
    image_of(voc).rename(voc / "JPEGImages" / "IMG 1.JPG")
    annotate(xml(voc), thing(), filename="IMG 1.JPG")
    paths = {photo.path.name for photos in data_voc.read(voc).photos.values() for photo in photos}
    assert "IMG 1.JPG" in paths


def test_a_filename_that_was_not_kept_up_to_date_does_not_matter(voc: Path) -> None:
    annotate(xml(voc), thing(), filename="before_it_was_renamed.jpg")
    assert len([*chain(*split_names(data_voc.read(voc)).values())]) == len(NAMES)


def test_vocs_own_lists_divide(voc: Path) -> None:
    with_lists(voc, train=NAMES[:2], val=NAMES[2:4], trainval=NAMES[:4], test=NAMES[4:7])
    read = data_voc.read(voc)
    three = {"train": NAMES[:2], "validation": NAMES[2:4], "test": NAMES[4:7]}
    assert split_names(read) == three
    assert read.remarks == {"on neither list": tuple(NAMES[7:])}
    (voc / "ImageSets/Main/val.txt").unlink()
    assert split_names(data_voc.read(voc)) == {"train": NAMES[:4], "test": NAMES[4:7]}


def test_lists_that_are_given_divide(voc: Path, tmp_path: Path) -> None:
    with_lists(voc, train=NAMES[:2], val=NAMES[2:4])
    (tmp_path / "a.txt").write_text("\n".join(NAMES[5:8]))
    (tmp_path / "b.txt").write_text("\n".join(NAMES[8:]))
    read = data_voc.read(voc, division=Division(tmp_path / "a.txt", tmp_path / "b.txt"))
    assert split_names(read) == {"train": NAMES[5:8], "test": NAMES[8:]}


def test_without_lists_a_fifth_is_held_out_and_reported(voc: Path) -> None:
    read = data_voc.read(voc)
    splits = split_names(read)
    assert (len(splits["train"]), len(splits["test"])) == (8, 2)
    held = tuple(f"{name}.jpg" for name in sorted(splits["test"]))
    assert read.remarks == {"held out at random, because no list says what is": held}
    assert splits == split_names(data_voc.read(voc))


def test_a_share_may_be_held_out_of_a_list(voc: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(NAMES[:4]))
    read = data_voc.read(voc, division=Division(tmp_path / "a.txt", test_share=0.5))
    assert sorted(chain(*split_names(read).values())) == NAMES[:4]
    assert len(read.photos["test"]) == 2


def test_a_label_map_numbers_the_names(voc: Path) -> None:
    read = data_voc.read(voc, labels={7: "dog", 9: "cat", 11: "horse"})
    assert read.labels == {7: "dog", 9: "cat", 11: "horse"}
    assert {a.label for photos in read.photos.values() for p in photos for a in p.animals} == {7, 9}


def test_parts_of_a_thing_are_not_things(voc: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    path = xml(voc)
    path.write_text(path.read_text().replace("</bndbox></object>", f"</bndbox>{part}</object>"))
    assert data_voc.read(voc).labels == {1: "cat", 2: "dog"}


def test_a_png_is_kept_as_it_is(voc: Path, tmp_path: Path) -> None:
    image_of(voc).unlink()
    draw(voc / "JPEGImages" / f"{NAMES[0]}.png")
    annotate(xml(voc), thing())
    photo = photo_of(data_voc.read(voc))
    stored = image_files.stored(photo, "by-size")
    assert stored == image_files.Stored(photo.path.read_bytes(), "png")


def photo_of(dataset: Dataset, name: str = NAMES[0]) -> Any:
    return next(p for photos in dataset.photos.values() for p in photos if p.name == name)


# Photos that their camera says to turn


def test_a_photo_annotated_as_people_see_it_is_turned(voc: Path) -> None:
    draw(image_of(voc), (60, 40), CLOCKWISE)
    annotate(xml(voc), thing(), size=(40, 60))
    stored = image_files.stored(photo_of(data_voc.read(voc)), "by-size")
    assert stored.change == "turned upright as its EXIF says"
    with Image.open(image_of(voc)) as before:
        dark = before.getpixel((30, 0))
    image_of(voc).write_bytes(stored.encoded)
    with Image.open(image_of(voc)) as after:
        assert after.size == (40, 60)
        assert after.getexif().get(ORIENTATION) is None
        assert after.getpixel((39, 30)) == pytest.approx(dark, abs=9)  # its top went to the right


def test_a_photo_annotated_as_it_is_stored_is_kept(voc: Path) -> None:
    draw(image_of(voc), (60, 40), CLOCKWISE)
    stored = image_files.stored(photo_of(data_voc.read(voc)), "by-size")
    assert stored == image_files.Stored(image_of(voc).read_bytes(), "jpeg")


def test_a_turn_that_the_size_cannot_tell_is_rejected(voc: Path, error_of: ErrorOf) -> None:
    draw(image_of(voc), (60, 40), UPSIDE_DOWN)
    message = error_of()
    assert message.startswith(f"{image_of(voc)}: its EXIF turns it, and its size cannot tell")
    assert "--turned follow or --turned ignore" in message


@pytest.mark.parametrize(
    ("turned", "change"), [("follow", "turned upright as its EXIF says"), ("ignore", None)]
)
def test_turned_is_followed(turned: str, change: str | None, voc: Path) -> None:
    draw(image_of(voc), (60, 40), UPSIDE_DOWN)
    photo = photo_of(data_voc.read(voc, turned=turned))
    assert image_files.stored(photo, turned).change == change


@pytest.mark.parametrize("turned", ["by-size", "follow", "ignore"])
def test_a_size_that_is_neither_way_the_images_is_rejected(turned: str, voc: Path) -> None:
    draw(image_of(voc), (61, 40), CLOCKWISE)
    with pytest.raises(DataError, match=r"photo0\.xml: states 60x40, but .*photo0\.jpg is "):
        image_files.stored(photo_of(data_voc.read(voc)), turned)


# What is wrong


def test_a_missing_folder(voc: Path, error_of: ErrorOf) -> None:
    shutil.rmtree(voc)
    assert error_of().startswith(f"{voc}: no such folder; give --voc a folder with Annotations/")


def test_a_folder_without_xmls(voc: Path, error_of: ErrorOf) -> None:
    shutil.rmtree(voc / "Annotations")
    assert error_of().startswith(f"{voc}: has no .xml in it; give --voc a folder with Annotations/")


def test_xmls_without_a_single_object(voc: Path, error_of: ErrorOf) -> None:
    for name in NAMES:
        annotate(xml(voc, name))
    assert error_of().startswith(f"{voc}: not one XML has an object in it; ")


def test_an_xml_whose_image_is_missing(voc: Path, error_of: ErrorOf) -> None:
    image_of(voc).unlink()
    message = error_of()
    assert message.startswith(f"{xml(voc)}: its image is missing, there is no {NAMES[0]}.jpg")


def test_an_xml_with_two_images(voc: Path, error_of: ErrorOf) -> None:
    draw(voc / "JPEGImages" / f"{NAMES[0]}.png")
    annotate(xml(voc), thing())
    message = error_of()
    assert message.startswith(f"{xml(voc)}: its image may be ")
    assert f"{NAMES[0]}.jpg" in message and f"{NAMES[0]}.png" in message


def test_two_xmls_of_one_image(voc: Path, error_of: ErrorOf) -> None:
    image_of(voc).unlink()
    annotate(xml(voc), thing(), filename=f"{NAMES[1]}.jpg")
    message = error_of()
    assert f"{image_of(voc, NAMES[1])} is " in message and "image already" in message


def test_an_xml_that_is_invalid(voc: Path, error_of: ErrorOf) -> None:
    xml(voc).write_bytes(image_of(voc).read_bytes())
    assert error_of().startswith(f"{xml(voc)}: cannot be read as XML (")


def test_an_object_without_a_name(voc: Path, error_of: ErrorOf) -> None:
    annotate(xml(voc), thing("  "))
    assert error_of() == f"{xml(voc)}: an <object> has no <name>; write its class there"


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((6, 10, 61, 20), "box 6,10 to 61,20 reaches out of its 60x40 image"),
        ((6, -1, 30, 20), "box 6,-1 to 30,20 reaches out of its 60x40 image"),
        ((30, 10, 6, 20), "box 30,10 to 6,20 is empty or inverted"),
        ((6, 10, 6, 20), "box 6,10 to 6,20 is empty or inverted"),
    ],
)
def test_a_box_that_is_invalid(
    box: tuple[int, ...], why: str, voc: Path, error_of: ErrorOf
) -> None:
    annotate(xml(voc), thing("cat", box))
    assert error_of().startswith(f"{xml(voc)}: {why}; ")


def test_an_xml_without_a_box(voc: Path, error_of: ErrorOf) -> None:
    annotate(xml(voc), "<object><name>cat</name></object>")
    assert error_of() == f"{xml(voc)}: no <bndbox><xmin> in it; fetch it again"


def test_a_name_that_is_not_in_the_label_map(voc: Path, tmp_path: Path, error_of: ErrorOf) -> None:
    labels.write(tmp_path / "map.pbtxt", {1: "cat"})
    message = error_of("--label-map", tmp_path / "map.pbtxt")
    assert message.startswith(
        f"{xml(voc, NAMES[1])}: the class 'dog' is not in the label map; add it"
    )


def test_a_list_that_names_nothing_there(voc: Path, error_of: ErrorOf) -> None:
    folder = with_lists(voc, train=[*NAMES[:5], "nobody"], test=NAMES[5:])
    message = f"{folder / 'train.txt'}: line 6: there is no nobody; take it off the list"
    assert error_of() == message


def test_a_photo_on_both_lists(voc: Path, error_of: ErrorOf) -> None:
    folder = with_lists(voc, train=NAMES[:5], test=NAMES[4:])
    taken = f"{folder / 'train.txt'}: line 5"
    assert error_of().startswith(
        f"{folder / 'test.txt'}: line 1: {NAMES[4]} is in {taken} already; take it off one"
    )


def test_a_photo_twice_on_a_list(voc: Path, error_of: ErrorOf) -> None:
    with_lists(voc, train=[*NAMES[:5], NAMES[0]], test=NAMES[5:])
    assert f"{NAMES[0]} is in " in error_of()


def test_a_list_of_photos_without_boxes(voc: Path, error_of: ErrorOf) -> None:
    annotate(xml(voc))
    folder = with_lists(voc, train=NAMES[1:], test=[NAMES[0]])
    message = "not one of its photos has boxes; name another list"
    assert error_of() == f"{folder / 'test.txt'}: {message}"


def test_a_list_that_is_missing(voc: Path, tmp_path: Path, error_of: ErrorOf) -> None:
    lists = ("--train-list", tmp_path / "a.txt", "--test-list", tmp_path / "b.txt")
    assert error_of(*lists) == f"{tmp_path / 'a.txt'}: no such file; a list has one name per line"


def test_one_list_without_the_other(voc: Path, tmp_path: Path, error_of: ErrorOf) -> None:
    (tmp_path / "a.txt").write_text("\n".join(NAMES))
    path = tmp_path / "a.txt"
    assert error_of("--train-list", path) == f"{path}: give --test-list or --test-share as well"
    assert error_of("--test-list", path).startswith(
        f"{path}: names only the test split; give --train"
    )


@pytest.mark.parametrize("option", [("--boxes", "body"), ("--classes", "species")])
def test_an_option_for_pets(option: tuple[str, str], error_of: ErrorOf) -> None:
    assert error_of(*option) == f"{option[0]} is only valid with --pets; remove it"
