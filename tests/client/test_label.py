"""`petbox label`: annotations from a model, which training reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import failed, petbox
from support.peer import Request, Response, golden, named_detector, peer

from petbox.data import coco, formats, voc
from petbox.data.annotations import Dataset, Division

NAMES = "Mäuse & Co.jpg", "b.PNG", "c.webp", "sideways.jpg"
SIZE = 200, 100
FOUND = [("Abyssinian", (0.1, 0.2, 0.6, 0.7)), ("yorkshire_terrier", (0.0, 0.0, 1.0, 1.0))]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "Fotos, neu"
    folder.mkdir()
    for name in NAMES[:3]:
        Image.new("RGB", SIZE, "gray").save(folder / name)
    sideways = Image.new("RGB", SIZE[::-1], "gray")
    sideways.getexif()[0x0112] = 6
    sideways.save(folder / "sideways.jpg", exif=sideways.getexif())
    return folder


def boxes(data: Dataset) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {
        photo.path.name: [(one.name, one.box) for one in photo.animals]
        for split in data.photos.values()
        for photo in split
    }


def test_photos_are_labelled_as_training_reads_them(photos: Path) -> None:
    with peer(named_detector) as server:
        done = petbox("label", photos, "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{photos}\n"
    summary = "4 photos: 4 Abyssinian, 4 yorkshire_terrier; 0 without a detection\n"
    assert done.stderr.decode().endswith(summary)
    assert formats.recognize(photos).format == "Pascal VOC"
    data = voc.read(photos, division=Division(test_share=0.25))
    assert boxes(data) == dict.fromkeys(NAMES, FOUND)
    upright = voc.annotation(photos / "sideways.xml")
    assert (upright.filename, upright.width, upright.height) == ("sideways.jpg", *SIZE)


def test_photos_that_exif_turns_unseen_are_read_with_a_flag(photos: Path) -> None:
    image = Image.new("RGB", SIZE, "gray")
    image.getexif()[0x0112] = 3
    image.save(photos / "upside down.jpg", exif=image.getexif())
    with peer(named_detector) as server:
        done = petbox("label", photos, "--url", server.url)
    last = done.stderr.decode().splitlines()[-1]
    assert last.endswith(": 1; give --turned follow to `petbox train` or `petbox records`")
    data = voc.read(photos, division=Division(test_share=0.2), turned="follow")
    assert boxes(data)["upside down.jpg"] == FOUND


def test_a_label_map_names_the_classes(photos: Path, tmp_path: Path) -> None:
    """A flag that `petbox detect` has as well."""
    labels = tmp_path / "mine.pbtxt"
    labels.write_text('item { id: 1 name: "katze" }\n')
    words = ("--labels", labels, "--min-score", "0.6", "--parallel", "1")
    with peer(named_detector) as server:
        done = petbox("label", photos, "--url", server.url, *words)
    assert done.returncode == 0, done.stderr
    assert [one.name for one in voc.annotation(photos / "b.xml").animals] == ["katze"]
    too_large = failed(
        petbox("label", photos / "c.webp", "--limit", "0.001", "--overwrite"), lines=4
    )
    assert "use --fit (in Python fit=True) to send a smaller copy" in too_large


def test_a_corrected_annotation_is_kept(photos: Path) -> None:
    (photos / "b.xml").write_text("corrected")
    with peer(named_detector) as server:
        done = petbox("label", photos, "--url", server.url)
        assert b"1 photos keep the annotation that they have (--overwrite)\n" in done.stderr
        assert (photos / "b.xml").read_text() == "corrected"
        assert len(server.requests) == 3
        again = petbox("label", photos, "--url", server.url)
        assert again.returncode == 0
        assert len(server.requests) == 3
        petbox("label", photos, "--url", server.url, "--overwrite")
    assert voc.annotation(photos / "b.xml").filename == "b.PNG"


def test_a_coco_file_is_written(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "other" / "mine.json"
    with peer(named_detector) as server:
        words = ("label", photos, "--format", "coco", "--url", server.url)
        assert petbox(*words).stdout.decode() == f"{photos}/annotations.json\n"
        assert failed(petbox(*words)).startswith(f"error: {photos}/annotations.json: exists")
        assert petbox(*words, "--overwrite", "--min-score", "0.6").returncode == 0
        assert petbox(*words, "-o", file).returncode == 0
    data = coco.read([photos / "annotations.json"], division=Division(test_share=0.25))
    assert boxes(data) == dict.fromkeys(NAMES, FOUND[:1])
    content = json.loads(file.read_text())
    assert content["images"][0]["file_name"] == "../Fotos, neu/Mäuse & Co.jpg"
    assert content["annotations"][0]["bbox"] == [40, 10, 100, 50]
    assert content["categories"][0] == {"id": 1, "name": "Abyssinian"}


def test_one_bad_photo_fails_alone_and_one_without_objects_is_counted(photos: Path) -> None:
    (photos / "b.PNG").write_bytes(b"not an image")

    def answer(asked: Request) -> Response:
        empty = json.loads(golden("answer_detect.json"))
        for outputs in empty["predictions"]:
            outputs["num_detections"] = 0
        return Response(200, json.dumps(empty).encode())

    with peer(answer) as server:
        done = petbox("label", photos, "--url", server.url, "-o", photos / "xml")
    message = failed(done, lines=4)
    assert f"error: {photos}/b.PNG: cannot be decoded" in message
    assert "3 photos: no objects; 3 without a detection\n" in message
    assert message.endswith("error: 1 of 4 photos failed; see the errors above\n")
    assert sorted(path.name for path in (photos / "xml").iterdir()) == [
        *("Mäuse & Co.xml", "c.xml", "sideways.xml")
    ]


def test_what_cannot_be_labelled_is_rejected(photos: Path) -> None:
    Image.new("RGB", SIZE).save(photos / "c.jpg")
    for words, reason in {
        (photos,): f"{photos}/c.webp: has the name of {photos}/c.jpg, and both would have",
        ("https://host/a.jpg",): "https://host/a.jpg: annotations lie beside files; save",
        (photos, "--format", "coco", "-o", "folder"): "folder: COCO is one file; end its name",
    }.items():
        assert f"error: {reason}" in failed(petbox("label", *words))
    assert petbox("label", photos, "--url", "http://a", "--model", "b").returncode == 2
