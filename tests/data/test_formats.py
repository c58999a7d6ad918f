"""A folder of photos is recognized by what lies in it, whatever tool has written it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from petbox.data import command, formats
from petbox.errors import DataError

XML = (
    "<annotation><size><width>40</width><height>20</height></size><object><name>cat</name><bndbox>"
    "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def voc(root: Path, *places: str) -> None:
    """XMLs, each with the photo after it."""
    for xml, photo in zip(places[::2], places[1::2], strict=True):
        text(root / xml, XML)
        image(root / photo)


def coco(root: Path, *places: str) -> None:
    """Annotation files, each with the folder of its images after it."""
    for file, folder in zip(places[::2], places[1::2], strict=True):
        names = [f"{letter}-{Path(file).parent.name}-{Path(file).stem}.jpg" for letter in "ab"]
        for name in names:
            image(root / folder / name)
        sized = [{"id": i, "file_name": n, "width": 40, "height": 20} for i, n in enumerate(names)]
        boxes = [{"image_id": i, "category_id": 1, "bbox": [1, 1, 8, 8]} for i in range(len(names))]
        classes = [{"id": 1, "name": "cat"}]
        content = {"images": sized, "annotations": boxes, "categories": classes}
        text(root / file, json.dumps(content))


def yolo(root: Path, *places: str) -> None:
    """Label files, each with the photo after it."""
    text(root / "data.yaml", "names: [cat]\n")
    for label, photo in zip(places[::2], places[1::2], strict=True):
        text(root / label, "0 0.5 0.5 0.5 0.5\n")
        image(root / photo)


def pets(root: Path) -> None:
    for name in ("Siam_1", "Siam_2"):
        image(root / f"images/{name}.jpg")
        text(root / f"annotations/xmls/{name}.xml", XML)
    text(root / "annotations/list.txt", "Siam_1 1 1 1\nSiam_2 1 1 1\n")
    text(root / "annotations/trainval.txt", "Siam_1 1 1 1\n")
    text(root / "annotations/test.txt", "Siam_2 1 1 1\n")


COCO_2017 = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
ROBOFLOW = "{0}/_annotations.coco.json {0}".format
VOC_2012 = "VOCdevkit/VOC2012/Annotations/{0}.xml VOCdevkit/VOC2012/JPEGImages/{0}.jpg".format
LAYOUTS = [
    ("Oxford-IIIT Pet", pets, ""),
    ("Pascal VOC", voc, "Annotations/a.xml JPEGImages/a.jpg Annotations/b.xml JPEGImages/b.jpg"),
    ("Pascal VOC", voc, "annotations/a.xml images/a.png annotations/b.xml images/b.png"),
    ("Pascal VOC", voc, "a.xml a.jpg b.xml b.jpg"),
    ("Pascal VOC", voc, f"{VOC_2012('a')} {VOC_2012('b')}"),
    ("Pascal VOC", voc, "train/a.xml train/a.jpg valid/b.xml valid/b.jpg test/c.xml test/c.jpg"),
    ("COCO", coco, "annotations.json images"),
    ("COCO", coco, f"{COCO_2017[0]} train2017 {COCO_2017[1]} val2017"),
    ("COCO", coco, f"{COCO_2017[0]} images/train2017 {COCO_2017[1]} images/val2017"),
    ("COCO", coco, " ".join(map(ROBOFLOW, ("train", "valid", "test")))),
    ("COCO", coco, "annotations/instances_default.json images/default"),
    ("COCO", coco, "result.json images"),
    ("COCO", coco, "train.json train val.json val"),
    ("YOLO", yolo, "labels/train/a.txt images/train/a.jpg labels/val/b.txt images/val/b.jpg"),
    ("YOLO", yolo, "train/labels/a.txt train/images/a.jpg valid/labels/b.txt valid/images/b.jpg"),
    ("YOLO", yolo, "Labels/a.txt Images/a.jpg Labels/b.txt Images/b.jpg"),
    ("YOLO", yolo, "LABELS/Train/a.txt IMAGES/Train/a.jpg LABELS/Val/b.txt IMAGES/Val/b.jpg"),
    ("Pascal VOC", voc, "ANNOTATIONS/a.xml Images/a.jpg ANNOTATIONS/b.xml Images/b.jpg"),
    ("COCO", coco, "ANNOTATIONS/result.json IMAGES"),
    ("YOLO", yolo, "a.txt a.jpg b.txt b.jpg"),
    ("YOLO", yolo, "labels/a.txt images/a.jpg labels/b.txt images/b.jpg"),
]


@pytest.mark.parametrize(("name", "make", "places"), LAYOUTS)
def test_a_layout_is_recognized_and_read(
    name: str, make: Callable[..., None], places: str, tmp_path: Path
) -> None:
    make(tmp_path, *places.split())
    assert formats.recognize(tmp_path).format == name
    by_folders = re.search(r"\b[vV]al", places) or make is pets
    options = command.Options(
        out=tmp_path / "out", photos=tmp_path, test_share=None if by_folders else 0.5
    )
    photos = command.read(command.recognized(options)).photos
    assert photos["train"]
    assert photos["test"]


@pytest.mark.parametrize("place", [1, 5, 9, 14])
def test_three_splits_are_three(place: int, tmp_path: Path) -> None:
    _, make, places = LAYOUTS[place]
    more = {
        voc: "train/a.xml train/a.jpg valid/b.xml valid/b.jpg test/c.xml test/c.jpg",
        coco: " ".join(map(ROBOFLOW, ("train", "valid", "test"))),
        yolo: f"{places} test/labels/c.txt test/images/c.jpg",
    }
    make(tmp_path, *more[make].split())
    options = command.recognized(command.Options(out=tmp_path / "out", photos=tmp_path))
    photos = command.read(options).photos
    assert list(photos) == ["train", "validation", "test"] and all(photos.values())


def test_the_published_pets_are_held_out_at_random(tmp_path: Path) -> None:
    pets(tmp_path)
    (tmp_path / "annotations/xmls/Siam_2.xml").unlink()
    assert formats.recognize(tmp_path).options["test_share"] == 0.2


def test_what_is_already_written_is_recognized(tmp_path: Path) -> None:
    text(tmp_path / "records.json", "{}")
    assert formats.recognize(tmp_path).options == {"records": tmp_path}


def error_of(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        formats.recognize(folder)
    return str(error.value)


def test_photos_without_boxes_are_shown_beside_the_formats(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    text(tmp_path / "notes.md", "")
    (tmp_path / "more").mkdir()
    message = error_of(tmp_path)
    assert message.startswith(
        f"{tmp_path}: no annotated photos recognized; found: more/, notes.md, 2 images; the formats"
    )
    for name in ("Oxford-IIIT Pet", "Pascal VOC", "COCO", "YOLO"):
        assert f"\n  {name}" in message


@pytest.mark.parametrize(("name", "message"), [("no", "no such folder"), ("a.jpg", "is a file")])
def test_what_is_not_a_folder_is_named(tmp_path: Path, name: str, message: str) -> None:
    image(tmp_path / "a.jpg")
    assert error_of(tmp_path / name).startswith(f"{tmp_path / name}: {message}; give the folder")


def test_photos_are_taken_before_the_tfrecords_made_of_them(tmp_path: Path) -> None:
    """As in the workspace of the Object Detection API's tutorials."""
    voc(tmp_path / "images", "train/a.xml", "train/a.jpg", "test/b.xml", "test/b.jpg")
    text(tmp_path / "annotations/train.record", "")
    text(tmp_path / "annotations/label_map.pbtxt", "")
    assert formats.recognize(tmp_path).options == {"voc": tmp_path / "images"}
    shutil.rmtree(tmp_path / "images")
    found = formats.recognize(tmp_path)
    assert str(found) == f"{tmp_path / 'annotations'}: TFRecord files"


def test_two_formats_in_one_folder_are_both_named(tmp_path: Path) -> None:
    voc(tmp_path, "Annotations/a.xml", "JPEGImages/a.jpg")
    coco(tmp_path, "annotations.json", "images")
    message = error_of(tmp_path)
    assert "holds more than one data set" in message
    assert "Pascal VOC" in message
    assert "COCO" in message


def test_annotation_files_of_no_split_are_named(tmp_path: Path) -> None:
    coco(tmp_path, "one.json", "images", "two.json", "images")
    assert "holds several annotation files (one.json, two.json)" in error_of(tmp_path)


def test_other_files_of_coco_are_no_boxes(tmp_path: Path) -> None:
    coco(tmp_path, COCO_2017[0], "train2017", COCO_2017[1], "val2017")
    text(tmp_path / "annotations/captions_train2017.json", '{"images": [], "annotations": []}')
    files = formats.recognize(tmp_path).options["coco"]
    assert [path.name for path in files] == ["instances_train2017.json", "instances_val2017.json"]
