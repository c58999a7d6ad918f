"""Records: what is in them is what the photos and XMLs say, in the Object Detection API's keys."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petbox.data import labels
from petbox.data import pets as data_pets
from petbox.data.annotations import Animal, Dataset, Division
from petbox.data.record_writer import write
from petbox.data.records import examples, read, read_info
from petbox.errors import DataError
from petbox.tf import tf

SCRIPT = "train/make_records.py"
UNSCALED = ("chihuahua_153", "miniature_pinscher_165", "pomeranian_130", "yorkshire_terrier_140")


def make(run: Any, pets: Path, out: Path, *options: str | Path) -> Any:
    done = run(SCRIPT, "--pets", pets, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    return done


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    folder = tmp_path_factory.mktemp("records") / "pets"
    done = run("train/make_toy_pets.py", "--out", folder, "--train", "7", "--test", "5")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def records(pets: Path, run: Any) -> Path:
    out = pets.with_name("records")
    make(run, pets, out, "--validation-share", "0")
    return out


@pytest.fixture
def spoiled(records: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(records, tmp_path / "records"))


def protos(*shards: Path) -> list[Any]:
    raw = tf.data.TFRecordDataset([str(shard) for shard in shards]).as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in raw]


def kinds(example: Any) -> dict[str, str]:
    return {key: value.WhichOneof("kind") for key, value in example.features.feature.items()}


def test_the_folder_holds_shards_label_map_and_counts(records: Path) -> None:
    assert sorted(path.name for path in records.iterdir()) == [
        "label_map.pbtxt",
        "records.json",
        "test.record-00000-of-00001",
        "train.record-00000-of-00001",
    ]
    info = read_info(records)
    assert info.pictures == {"train": 7, "test": 5}
    assert info.shards == {"train": 1, "test": 1}
    assert info.labels == labels.read(records / "label_map.pbtxt")
    assert set(info.animals["test"]) == set(info.labels.values())


def test_each_image_says_what_its_file_and_xml_say(records: Path, pets: Path) -> None:
    for split, photos in data_pets.read(pets).photos.items():
        found = {int(example.source_id): example for example in examples(records, split)}
        assert sorted(found) == sorted(photo.number for photo in photos)
        for photo in photos:
            example = found[photo.number]
            assert example.name == photo.path.name
            assert example.encoded == photo.path.read_bytes()
            assert (example.width, example.height) == (photo.width, photo.height)
            assert example.classes == tuple(animal.label for animal in photo.animals)
            for box, animal in zip(example.boxes, photo.animals, strict=True):
                assert box == pytest.approx(animal.box)


def test_counts_are_those_of_the_records(records: Path) -> None:
    info = read_info(records)
    for split, counts in info.animals.items():
        classes = [label for example in examples(records, split) for label in example.classes]
        assert counts == {name: classes.count(label) for label, name in info.labels.items()}


def test_keys_and_types_are_the_object_detection_apis(records: Path, data: Path) -> None:
    reference = protos(data / "reference" / "pets_examples.record")[0]
    for example in protos(*records.glob("*.record-*")):
        assert kinds(example) == kinds(reference)


def test_the_checksum_is_the_images(records: Path) -> None:
    for example in protos(*records.glob("*.record-*")):
        feature = example.features.feature
        (encoded,) = feature["image/encoded"].bytes_list.value
        (checksum,) = feature["image/key/sha256"].bytes_list.value
        assert checksum.decode() == hashlib.sha256(encoded).hexdigest()


def test_tf_vision_reads_the_same(records: Path) -> None:
    decoder = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    decode = decoder.TfExampleDecoder().decode
    shard = records / "test.record-00000-of-00001"
    raw = tf.data.TFRecordDataset(str(shard))
    for record, example in zip(raw, examples(records, "test"), strict=True):
        decoded = decode(record)
        assert decoded["source_id"].numpy().decode() == example.source_id
        assert tuple(decoded["image"].shape) == (example.height, example.width, 3)
        assert decoded["groundtruth_boxes"].numpy().tolist() == [list(b) for b in example.boxes]
        assert decoded["groundtruth_classes"].numpy().tolist() == list(example.classes)


@pytest.mark.parametrize("workers", [1, 5])
def test_the_same_photos_give_the_same_bytes_whatever_the_workers(
    workers: int, records: Path, pets: Path, tmp_path: Path
) -> None:
    write(
        data_pets.read(pets),
        tmp_path / "again",
        seed=1,
        source=str(pets),
        advance=lambda: None,
        workers=workers,
    )
    names = [path.name for path in records.iterdir()]
    same, *_ = filecmp.cmpfiles(records, tmp_path / "again", names, shallow=False)
    assert sorted(same) == sorted(names)


def test_another_seed_gives_another_order(records: Path, pets: Path, tmp_path: Path) -> None:
    write(data_pets.read(pets), tmp_path / "out", seed=2, source="", advance=lambda: None)
    ours, theirs = (
        [example.name for example in examples(folder, "train")]
        for folder in (tmp_path / "out", records)
    )
    assert ours != theirs and sorted(ours) == sorted(theirs)


def test_many_images_are_spread_over_shards(pets: Path, tmp_path: Path) -> None:
    few = data_pets.read(pets)
    many = Dataset(few.labels, {"train": 80 * few.photos["train"], "test": few.photos["test"]}, {})
    write(many, tmp_path / "out", seed=1, source="", advance=lambda: None)
    assert read_info(tmp_path / "out").shards == {"train": 3, "test": 1}
    shards = sorted((tmp_path / "out").glob("train.record-*"))
    assert [path.name for path in shards] == [f"train.record-0000{n}-of-00003" for n in range(3)]
    assert [len(protos(shard)) for shard in shards] == [187, 187, 186]
    assert sum(1 for _ in examples(tmp_path / "out", "train")) == 560


def test_a_label_map_numbers_the_breeds_and_photos_without_xml_are_reported(
    pets: Path, tmp_path: Path, run: Any
) -> None:
    without = Path(shutil.copytree(pets, tmp_path / "pets"))
    (without / "annotations" / "xmls" / "Midnight_1.xml").unlink()
    names = {30 - label: name for label, name in data_pets.read(pets).labels.items()}
    labels.write(tmp_path / "map.pbtxt", names)
    done = make(
        run,
        without,
        tmp_path / "out",
        "--label-map",
        tmp_path / "map.pbtxt",
        "--validation-share=0",
    )
    assert "left out of train, no XML: 1 (Midnight_1)\n" in done.stderr
    info = read_info(tmp_path / "out")
    assert info.remarks["left out of train, no XML"] == ("Midnight_1",)
    assert info.pictures == {"train": 6, "test": 5}
    assert info.labels == names
    for example in examples(tmp_path / "out", "test"):
        assert {names[label] for label in example.classes} == {example.name.rpartition("_")[0]}


def test_records_that_exist_are_not_changed(records: Path, pets: Path, run: Any) -> None:
    before = {path.name: path.read_bytes() for path in records.iterdir()}
    done = run(SCRIPT, "--pets", pets, "--out", records)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {records}: exists already and is not overwritten")
    assert {path.name: path.read_bytes() for path in records.iterdir()} == before


def test_counts_are_read_without_tensorflow(records: Path, run: Any) -> None:
    program = (
        "import sys, pathlib; from petbox.data.records import read_info; "
        f"read_info(pathlib.Path({str(records)!r})); "
        "print([m for m in ('tensorflow', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert run("-c", program).stdout == "[]\n"


def test_a_folder_without_records_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no records .* make them with `petbox records`"):
        read_info(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"pictures": {}}', "{"])
def test_counts_of_another_form_are_rejected(text: str, spoiled: Path) -> None:
    (spoiled / "records.json").write_text(text)
    with pytest.raises(DataError, match=r"records\.json: not as `petbox records` writes it"):
        read_info(spoiled)


def test_a_missing_label_map_is_rejected(spoiled: Path) -> None:
    (spoiled / "label_map.pbtxt").unlink()
    with pytest.raises(DataError, match=r"label_map\.pbtxt: no label map can be read here"):
        read_info(spoiled)


def test_a_missing_shard_is_rejected(spoiled: Path) -> None:
    (spoiled / "test.record-00000-of-00001").unlink()
    with pytest.raises(DataError, match=r"test\.record-00000-of-00001: no such file"):
        read_info(spoiled)


def test_a_damaged_shard_is_rejected(spoiled: Path) -> None:
    shard = spoiled / "test.record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.record-00000-of-00001: the file is damaged"):
        list(examples(spoiled, "test"))


# The Object Detection API reads ours, and we read its records

# What its own reader of records asks for: the key's shape and type, its default where it has one.
OBJECT_DETECTION_API = {
    **{
        f"image/{key}": tf.io.FixedLenFeature((), tf.string, default_value="")
        for key in ("encoded", "filename", "key/sha256", "source_id")
    },
    "image/format": tf.io.FixedLenFeature((), tf.string, default_value="jpeg"),
    "image/height": tf.io.FixedLenFeature((), tf.int64, default_value=1),
    "image/width": tf.io.FixedLenFeature((), tf.int64, default_value=1),
    **{
        f"image/object/bbox/{edge}": tf.io.VarLenFeature(tf.float32)
        for edge in ("xmin", "xmax", "ymin", "ymax")
    },
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    "image/object/class/text": tf.io.VarLenFeature(tf.string),
    "image/object/area": tf.io.VarLenFeature(tf.float32),
    "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
    "image/object/difficult": tf.io.VarLenFeature(tf.int64),
    "image/object/group_of": tf.io.VarLenFeature(tf.int64),
    "image/object/weight": tf.io.VarLenFeature(tf.float32),
}


def test_the_object_detection_api_reads_the_same(records: Path) -> None:
    names = labels.read(records / "label_map.pbtxt")
    raw = tf.data.TFRecordDataset(str(records / "test.record-00000-of-00001"))
    for record, example in zip(raw, examples(records, "test"), strict=True):
        found = tf.io.parse_single_example(record, OBJECT_DETECTION_API)
        assert found["image/encoded"].numpy() == example.encoded
        assert found["image/filename"].numpy().decode() == example.name
        assert int(found["image/height"]) == example.height
        pixels = tf.io.decode_jpeg(found["image/encoded"])
        assert pixels.shape == (example.height, example.width, 3)
        assert list(found["image/object/class/label"].values) == list(example.classes)
        texts = [text.decode() for text in found["image/object/class/text"].values.numpy()]
        assert texts == [names[label] for label in example.classes]  # it looks names up by text
        edges = (found[f"image/object/bbox/{e}"].values for e in ("ymin", "xmin", "ymax", "xmax"))
        assert tf.stack(list(edges), axis=-1).numpy().tolist() == [list(b) for b in example.boxes]


def test_its_records_are_read(data: Path) -> None:
    reference = data / "reference"
    names = labels.read(reference / "pet_label_map.pbtxt")
    found = list(read(reference / "pets_examples.record"))
    assert len(found) == 10
    for example in found:
        assert example.name.endswith(".jpg") and example.source_id == example.name
        assert {names[label] for label in example.classes} == {example.name.rpartition("_")[0]}
        assert tf.io.decode_jpeg(example.encoded).shape == (example.height, example.width, 3)
        for ymin, xmin, ymax, xmax in example.boxes:
            assert 0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1


def test_tf_vision_reads_its_records_as_we_do(data: Path) -> None:
    decoder = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    path = data / "reference" / "pets_examples.record"
    raw = tf.data.TFRecordDataset(str(path))
    for record, example in zip(raw, read(path), strict=True):
        decoded = decoder.TfExampleDecoder().decode(record)
        assert tuple(decoded["image"].shape) == (example.height, example.width, 3)
        assert decoded["groundtruth_boxes"].numpy().tolist() == [list(b) for b in example.boxes]
        assert decoded["groundtruth_classes"].numpy().tolist() == list(example.classes)


def test_a_crowd_is_one_in_tf_vision(pets: Path, tmp_path: Path) -> None:
    decoder = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    (photo, *_), (other, *_) = data_pets.read(pets).photos.values()
    one, many = Animal((0, 0, 1, 1), "cat", 1), Animal((0, 0, 0.5, 1), "cat", 1, crowd=True)
    photos = {"train": (replace(photo, animals=(one, many)),), "test": (other,)}
    write(Dataset({1: "cat"}, photos, {}), tmp_path / "o", seed=1, source="", advance=lambda: None)
    (raw,) = tf.data.TFRecordDataset(str(tmp_path / "o" / "train.record-00000-of-00001"))
    decoded = decoder.TfExampleDecoder().decode(raw)
    assert decoded["groundtruth_is_crowd"].numpy().tolist() == [False, True]
    assert [one.crowds for one in examples(tmp_path / "o", "train")] == [(False, True)]


def test_a_record_of_something_else_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "words.record"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(tf.train.Example().SerializeToString())
    with pytest.raises(DataError, match=r"words\.record: a record in it has not the Object Det"):
        list(read(path))


def test_real_photos_become_the_object_detection_apis_records(data: Path, tmp_path: Path) -> None:
    """Four of the reference record's photos are in the test data in their own size.

    Their bytes differ, for the reference's were compressed once more, and their poses are lost.
    """
    rows = (data / "pets" / "annotations" / "list.txt").read_text().splitlines()
    (tmp_path / "train.txt").write_text("\n".join(r for r in rows if r.split()[0] in UNSCALED))
    (tmp_path / "test.txt").write_text("Abyssinian_100 1 1 1\n")
    division = Division(tmp_path / "train.txt", tmp_path / "test.txt")
    photos = data_pets.read(data / "pets", division=division)
    write(photos, tmp_path / "out", seed=1, source="pets", advance=lambda: None)
    ours = by_name(*(tmp_path / "out").glob("train.record-*"))
    reference = by_name(data / "reference" / "pets_examples.record")
    assert set(ours) == {f"{name}.jpg" for name in UNSCALED}
    for name, features in ours.items():
        for key in ("height", "width", "filename", "format"):
            assert features[f"image/{key}"] == reference[name][f"image/{key}"]
        for key in (key for key in reference[name] if key.startswith("image/object/")):
            assert features[key] == reference[name][key] or key == "image/object/view"


def by_name(*shards: Path) -> dict[str, Any]:
    features = [example.features.feature for example in protos(*shards)]
    return {f["image/filename"].bytes_list.value[0].decode(): f for f in features}
