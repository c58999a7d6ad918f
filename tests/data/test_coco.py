"""A COCO file or SageMaker's: valid data is read, invalid data is an error that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.records_command import records_error

from petbox.data import coco, labels
from petbox.data.annotations import Dataset, Division
from petbox.data.records import examples, read_info
from petbox.errors import DataError

SIZE = (60, 40)
ErrorOf = Callable[..., str]
Json = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images in images/; no file beside them yet."""
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    for number in range(10):
        shade = Image.linear_gradient("L").resize(SIZE).convert("RGB")
        shade.save(folder / "images" / f"{number}.jpg")
    return folder


def sagemaker() -> Json:
    """Boxes are corners, and there are no categories."""
    ids = range(10)
    return {
        "images": [
            {"id": 100 + n, "file_name": f"{n}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for n in ids
        ],
        "annotations": [
            {"image_id": 100 + n, "bbox": [20, 10, 50, 30], "category_id": 1 + n % 2} for n in ids
        ],
    }


def of_coco() -> Json:
    stated = sagemaker()
    for number, annotation in enumerate(stated["annotations"]):
        annotation |= {"id": 1000 + number, "bbox": [20, 10, 30, 20], "iscrowd": 0}
        annotation["category_id"] = (17, 90)[number % 2]
    cat, dog = {"id": 17, "name": "cat"}, {"id": 90, "name": "dog"}
    return {**stated, "categories": [dog, cat]}


def put(root: Path, stated: object) -> Path:
    path = root / "annotations.json"
    path.write_text(json.dumps(stated))
    return path


def read(root: Path, stated: object, **options: Any) -> Dataset:
    return coco.read([put(root, stated)], **options)


def animals(dataset: Dataset) -> list[Any]:
    photos = sorted(chain(*dataset.photos.values()), key=lambda photo: photo.number)
    return [animal for photo in photos for animal in photo.animals]


@pytest.fixture
def error_of(root: Path, tmp_path: Path, run: Any) -> ErrorOf:
    def error_of(stated: object, *options: str | Path) -> str:
        path = put(root, stated) if stated is not None else root / "annotations.json"
        return records_error(run, tmp_path, "--coco", path, *options).replace(str(path), "FILE")

    return error_of


# What is right


def test_cocos_boxes_become_records(root: Path, tmp_path: Path, run: Any) -> None:
    stated = of_coco()
    stated["annotations"][0]["iscrowd"] = 1
    del stated["annotations"][1]
    Image.new("RGB", SIZE).save(root / "images" / "unnamed.png")
    out = tmp_path / "out"
    words = ("--coco", put(root, stated), "--test-share=0.3", "--validation-share=0", "--out", out)
    done = run("train/make_records.py", *words)
    assert done.returncode == 0, done.stderr
    info = read_info(out)
    assert info.labels == {17: "cat", 90: "dog"}
    assert info.pictures == {"train": 7, "test": 3}
    assert sum(info.without_objects.values()) == 1
    assert "image that no file names, ignored: 1 (unnamed.png)\n" in done.stderr
    assert "boxes read as x, y, width, height: 1 (annotations.json)\n" in done.stderr
    for example in chain(examples(out, "train"), examples(out, "test")):
        number = int(example.name.removesuffix(".jpg"))
        assert example.source_id == str(100 + number)
        if number == 1:
            assert example.classes == example.boxes == ()
            continue
        assert example.classes == ((17, 90)[number % 2],)
        assert example.boxes == (pytest.approx((10 / 40, 20 / 60, 30 / 40, 50 / 60)),)


def test_sagemakers_boxes_are_corners(root: Path) -> None:
    dataset = read(root, sagemaker())
    assert dataset.labels == {1: "class_1", 2: "class_2"}
    assert {animal.box for animal in animals(dataset)} == {(10 / 40, 20 / 60, 30 / 40, 50 / 60)}
    assert dataset.remarks["boxes read as xmin, ymin, xmax, ymax"] == ("annotations.json",)


def test_the_form_of_boxes_may_be_chosen(root: Path) -> None:
    stated = of_coco()
    for annotation in stated["annotations"]:
        annotation["bbox"] = [20, 10, 50, 30]
    ours, theirs = read(root, stated, bbox="corners"), read(root, of_coco())
    assert [a.box for a in animals(ours)] == [a.box for a in animals(theirs)]


def test_a_crowd_is_kept_as_one(root: Path) -> None:
    stated = of_coco()
    stated["annotations"][3]["iscrowd"] = 1
    assert [animal.crowd for animal in animals(read(root, stated))].index(True) == 3


def test_a_category_0_in_use_numbers_all_anew(root: Path) -> None:
    stated = sagemaker()
    for annotation in stated["annotations"]:
        annotation["category_id"] -= 1
    dataset = read(root, stated)
    assert dataset.labels == {1: "class_0", 2: "class_1"}
    anew = dataset.remarks["category ids renumbered, because 0 is the background's"]
    assert anew == ("class_0: 0 is 1", "class_1: 1 is 2")
    assert [animal.label for animal in animals(dataset)] == [1, 2] * 5


def test_a_category_0_that_names_the_whole_is_left_out_and_reported(root: Path) -> None:
    stated = of_coco()
    stated["categories"].append({"id": 0, "name": "pets"})
    dataset = read(root, stated)
    assert dataset.labels == {17: "cat", 90: "dog"}
    assert dataset.remarks["category 0 left out, it has no box"] == ("pets",)


def test_a_label_map_numbers_cocos_names(root: Path) -> None:
    dataset = read(root, of_coco(), labels={3: "dog", 5: "cat"})
    assert dataset.labels == {3: "dog", 5: "cat"}
    assert [animal.label for animal in animals(dataset)] == [5, 3] * 5


def test_a_label_map_names_sagemakers_numbers(root: Path) -> None:
    dataset = read(root, sagemaker(), labels={1: "cat", 2: "dog"})
    assert [animal.name for animal in animals(dataset)] == ["cat", "dog"] * 5


def test_a_box_less_than_a_pixel_outside_is_trimmed_and_reported(root: Path) -> None:
    stated = of_coco()
    stated["annotations"][0]["bbox"] = [-0.3, 10, 60.7, 30.01]
    dataset = read(root, stated)
    assert animals(dataset)[0].box == (10 / 40, 0, 1, 1)
    assert dataset.remarks["box trimmed to its image, by less than a pixel"] == ("0.jpg",)


def test_two_files_are_two_splits(root: Path) -> None:
    both = of_coco()
    paths = []
    for name, chosen in (("train", slice(0, 7)), ("val", slice(7, 10))):
        paths.append(root / f"{name}.json")
        part = {key: both[key][chosen] for key in ("images", "annotations")}
        paths[-1].write_text(json.dumps({**both, **part}))
    for folders in ([], [root / "images"], 2 * [root / "images"]):
        photos = coco.read(paths, images=folders).photos
        assert [photo.name for photo in photos["test"]] == ["7", "8", "9"]
        assert len(photos["train"]) == 7


def test_lists_of_file_names_divide(root: Path) -> None:
    (root / "a.txt").write_text("1.jpg\n2.jpg\n")
    (root / "b.txt").write_text("5.jpg\n")
    dataset = read(root, of_coco(), division=Division(root / "a.txt", root / "b.txt"))
    names = {split: [p.name for p in photos] for split, photos in dataset.photos.items()}
    assert names == {"train": ["1", "2"], "test": ["5"]}
    assert len(dataset.remarks["on neither list"]) == 7


def test_names_may_be_seen_from_the_file(root: Path) -> None:
    stated = of_coco()
    for image in stated["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    photos = chain(*read(root, stated).photos.values())
    assert {photo.path.parent for photo in photos} == {root / "images"}


def test_ids_may_be_words(root: Path) -> None:
    stated = of_coco()
    for image, annotation in zip(stated["images"], stated["annotations"], strict=True):
        image["id"] = annotation["image_id"] = f"image {image['id']}"
    photos = chain(*read(root, stated).photos.values())
    assert sorted(photo.number for photo in photos) == list(range(1, 11))


# What is wrong with a box


def with_box(*bbox: object) -> Json:
    stated = of_coco()
    stated["annotations"][2]["bbox"] = list(bbox)
    return stated


@pytest.mark.parametrize(
    ("bbox", "why"),
    [
        ((50, 10, 45, 20), "box 50,10 to 95,30 reaches out of its 60x40 image"),
        ((-2, 10, 30, 20), "box -2,10 to 28,30 reaches out of its 60x40 image"),
        ((20, 10, 0, 20), "box 20,10 to 20,30 is empty or inverted"),
        ((20, 10, 30, -5), "box 20,10 to 50,5 is empty or inverted"),
    ],
)
def test_a_box_that_is_invalid(bbox: tuple[float, ...], why: str, error_of: ErrorOf) -> None:
    message = error_of(with_box(*bbox))
    assert message.startswith(f"FILE: annotation 1002 of 2.jpg: {why}; ")
    assert message.endswith("(boxes are read as x, y, width, height)")


@pytest.mark.parametrize("bbox", [(1, 2, 3), ("a", 1, 2, 3), (1, 2, 3, float("nan")), ()])
def test_a_box_that_is_not_four_numbers(bbox: tuple[Any, ...], error_of: ErrorOf) -> None:
    message = error_of(with_box(*bbox))
    assert message.startswith("FILE: annotation 1002: its bbox is [")
    assert message.endswith("; it must be four numbers")


def test_corners_in_a_coco_file_are_rejected(error_of: ErrorOf) -> None:
    stated = of_coco()
    for annotation in stated["annotations"]:
        annotation["bbox"] = [20, 15, 50, 30]
    assert "all fit as xmin, ymin, xmax, ymax: if that is meant, give --bbox corners" in error_of(
        stated
    )


def test_widths_in_sagemakers_form_are_rejected(error_of: ErrorOf) -> None:
    stated = sagemaker()
    for annotation in stated["annotations"]:
        annotation["bbox"] = [20, 15, 10, 20]
    assert "all fit as x, y, width, height: if that is meant, give --bbox xywh" in error_of(stated)


def test_boxes_in_fractions_are_rejected(error_of: ErrorOf) -> None:
    stated = sagemaker()
    for annotation in stated["annotations"]:
        annotation["bbox"] = [0.1, 0.2, 0.5, 1.0]
    assert error_of(stated) == "FILE: all its boxes lie between 0 and 1; they must be in pixels"


# What is wrong with the file


def test_a_missing_file(error_of: ErrorOf) -> None:
    assert error_of(None).startswith("FILE: no such file; give --coco a COCO file, or ")


def test_a_file_that_is_no_json(root: Path, error_of: ErrorOf) -> None:
    shutil.copy(root / "images" / "0.jpg", root / "annotations.json")
    assert error_of(None).startswith("FILE: cannot be read as JSON (")


@pytest.mark.parametrize("stated", [[], {}, {"images": []}, {"images": [1], "annotations": [{}]}])
def test_a_file_of_another_form(stated: object, error_of: ErrorOf) -> None:
    assert error_of(stated).startswith("FILE: has no list of 'images' with anything in it; ")


def test_a_file_without_annotations(error_of: ErrorOf) -> None:
    assert error_of({**of_coco(), "annotations": []}).startswith(
        "FILE: has no list of 'annotations'"
    )


def test_an_image_that_is_missing(root: Path, error_of: ErrorOf) -> None:
    (root / "images" / "4.jpg").unlink()
    message = error_of(of_coco())
    assert message.startswith(f"{root / 'images' / '4.jpg'}: no such file, but FILE names it; ")
    assert "--images" in message


def spoiled(key: str, at: int, **changes: object) -> Json:
    stated = of_coco()
    stated[key][at] |= changes
    return stated


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (spoiled("images", 1, id=100), "FILE: image 100, 1.jpg, is there twice; remove one"),
        (spoiled("images", 1, file_name="0.jpg"), "FILE: image 101, 0.jpg, is there twice; "),
        (spoiled("images", 1, file_name=""), "FILE: image 1 has no id and file_name; "),
        (spoiled("images", 1, width=0), "FILE: 1.jpg has no width in whole pixels (0); state it"),
        (spoiled("images", 1, height=None), "FILE: 1.jpg has no height in whole pixels (None); "),
        (spoiled("annotations", 1, image_id=7), "FILE: annotation 1001: there is no image 7; "),
        (
            spoiled("annotations", 1, category_id="cat"),
            "FILE: annotation 1001: has no category_id ",
        ),
        (spoiled("annotations", 1, category_id=4), "FILE: a box is of category 4, which is not "),
        (spoiled("categories", 1, id=90), "FILE: category 90, 'cat', is there twice; remove one"),
        (spoiled("categories", 1, name="dog"), "FILE: category 17, 'dog', is there twice; "),
        (spoiled("categories", 1, name=""), "FILE: category 1 has no id and name; it needs both"),
        (spoiled("categories", 1, id=-1), "FILE: a box is of category 17, which is not among "),
    ],
)
def test_an_entry_that_is_invalid(stated: Json, message: str, error_of: ErrorOf) -> None:
    assert error_of(stated).startswith(message)


def test_a_category_that_is_not_in_the_label_map(tmp_path: Path, error_of: ErrorOf) -> None:
    labels.write(tmp_path / "map.pbtxt", {1: "cat"})
    message = "the class {!r} is not in the label map; add it there, or leave out"
    option = ("--label-map", tmp_path / "map.pbtxt")
    assert error_of(of_coco(), *option).startswith(f"FILE: {message.format('dog')}")
    assert error_of(sagemaker(), *option).startswith(f"FILE: {message.format('class_2')}")


def test_a_size_that_is_not_the_images(root: Path, tmp_path: Path, run: Any) -> None:
    path = put(root, spoiled("images", 3, width=80))
    done = run("train/make_records.py", "--coco", path, "--out", tmp_path / "out")
    assert done.returncode == 1
    opened = root / "images" / "3.jpg"
    assert f"error: {path}: states 80x40, but {opened} is 60x40; " in done.stderr
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


# What is wrong with the options


def test_a_folder_of_images_that_is_missing(tmp_path: Path, error_of: ErrorOf) -> None:
    message = error_of(of_coco(), "--images", tmp_path / "nowhere")
    assert message.startswith(f"{tmp_path / 'nowhere'}: no such folder; give --images")


def test_more_folders_than_files(root: Path, error_of: ErrorOf) -> None:
    message = error_of(of_coco(), "--images", root, "--images", root)
    assert message.startswith("--coco takes one file, two (train, test) or three (train, valid")


def test_an_image_in_both_files(root: Path) -> None:
    path = put(root, of_coco())
    with pytest.raises(DataError, match=r"0\.jpg is also in the training split"):
        coco.read([path, path])


def test_two_files_and_a_share(root: Path) -> None:
    path = put(root, of_coco())
    with pytest.raises(
        DataError, match="the files of --coco already define what is held out; leave out"
    ):
        coco.read([path, path], division=Division(test_share=0.5))


def test_two_files_that_name_a_category_differently(root: Path) -> None:
    path = put(root, of_coco())
    other = root / "other.json"
    other.write_text(json.dumps(spoiled("categories", 1, name="lynx")))
    with pytest.raises(DataError, match=r"other\.json: category 17 is 'lynx', not as in"):
        coco.read([path, other])


def test_one_file_with_categories_and_one_without(root: Path) -> None:
    path = put(root, of_coco())
    other = root / "other.json"
    other.write_text(json.dumps(sagemaker()))
    with pytest.raises(DataError, match=r"other\.json: has no categories, but the other file has"):
        coco.read([path, other])
