"""The Object Detection API's own records and pipeline.config, from training to a response."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import petbox
from petbox.data import records
from petbox.tf import tf

CONFIG = "faster_rcnn_resnet101_pets.config"
# As the file's network, but small enough for a test.
SMALL = {
    "task.model.backbone.resnet.model_id": "10",
    "task.model.backbone.resnet.depth_multiplier": "0.25",
    "task.model.min_level": "5",
    "task.model.decoder.fpn.num_filters": "16",
    "task.model.rpn_head.num_filters": "16",
    "task.model.detection_head.fc_dims": "32",
    "task.model.detection_head.num_convs": "0",
    "task.model.input_size": "[64, 64, 3]",
    "task.model.roi_generator.num_proposals": "16",
    "task.model.roi_generator.test_num_proposals": "16",
    "task.model.roi_sampler.num_sampled_rois": "8",
}


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's files, with records to evaluate on that other tools could have written."""
    folder = tmp_path_factory.mktemp("tutorial") / "Größe 1"
    folder.mkdir()
    reference = data / "reference"
    shutil.copy(
        reference / "pets_examples.record", folder / "pet_faces_train.record-00000-of-00010"
    )
    shutil.copy(reference / "pet_label_map.pbtxt", folder)
    text = (reference / CONFIG).read_text()
    text = text.replace("fine_tune_checkpoint:", "# fine_tune_checkpoint:")
    (folder / CONFIG).write_text(text.replace("PATH_TO_BE_CONFIGURED", str(folder)))
    write(folder / "pet_faces_val.record-00000-of-00010", odd(examples(folder)))
    return folder


def examples(folder: Path) -> list[Any]:
    path = folder / "pet_faces_train.record-00000-of-00010"
    read = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [tf.train.Example.FromString(one) for one in read]


def odd(read: list[Any]) -> Iterable[Any]:
    """One without an id, two with the same, no size, a box just beyond the edge, no objects."""
    without_id, first, second, without_size, beyond, background = read[:6]
    del without_id.features.feature["image/source_id"]
    second.features.feature["image/source_id"].CopyFrom(first.features.feature["image/source_id"])
    for side in ("height", "width"):
        del without_size.features.feature[f"image/{side}"]
    beyond.features.feature["image/object/bbox/xmax"].float_list.value[0] = 1.0002
    for key in [key for key in background.features.feature if key.startswith("image/object")]:
        del background.features.feature[key]
    return (without_id, first, second, without_size, beyond, background)


def write(path: Path, found: Iterable[Any]) -> None:
    with tf.io.TFRecordWriter(str(path)) as file:
        for one in found:
            file.write(one.SerializeToString())


@pytest.fixture(scope="module")
def train(folder: Path, run: Any) -> Callable[..., Any]:
    def train(config: Path, out: str, *more: str) -> Any:
        sets = [f"--set={name}={value}" for name, value in SMALL.items()]
        words = ("--pipeline-config", config, "--out", folder / out, "--steps=2", *sets)
        return run("train/train.py", *words, "--batch-size=2", *more)

    return train


@pytest.fixture(scope="module")
def trained(folder: Path, train: Any) -> tuple[Path, str]:
    done = train(folder / CONFIG, "run", "--evaluate-every=1", "--report-every=1")
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stderr


def test_its_records_are_trained_on_and_evaluated_meanwhile(trained: tuple[Path, str]) -> None:
    _, shown = trained
    assert "10 images to train on, 0 of them without objects\n" in shown
    assert "6 images to evaluate on, 1 of them without objects\n" in shown
    assert "evaluated at step 1: mAP " in shown and "evaluated at step 2: mAP " in shown


def test_its_records_are_evaluated_by_a_pattern(
    trained: tuple[Path, str], folder: Path, run: Any
) -> None:
    pattern = folder / "pet_faces_val.record-?????-of-00010"
    done = run("train/evaluate.py", "--run", trained[0], "--records", pattern)
    assert done.returncode == 0, done.stderr
    found = json.loads((trained[0] / "evaluation.json").read_text())
    assert sum(one["animals"] for one in found["classes"].values()) == 5
    done = run("train/evaluate.py", "--run", trained[0], "--records", pattern, "--split", "train")
    assert f"--split train: {pattern} has no splits; remove it\n" in done.stderr
    none = folder / "none*"
    done = run("train/evaluate.py", "--run", trained[0], "--records", none)
    assert done.stderr == (
        f"error: {none}: no such records; name a folder made by `petbox records`, or a pattern of "
        "TFRecord files\n"
    )


def test_it_is_exported_and_answers_a_request(
    trained: tuple[Path, str], folder: Path, run: Any
) -> None:
    out = folder / "model" / "1"
    done = run("export/exporter_savedmodel.py", "--run", trained[0], "--out", out, "--min-score=0")
    assert done.returncode == 0, done.stderr
    assert "6 of the run's validation records: " in done.stderr
    photo = next(iter(records.read(folder / "pet_faces_val.record-00000-of-00010")))
    assert (photo.name, photo.source_id) == ("chihuahua_153.jpg", "")
    assert petbox.Detector(model=out).detect(photo.encoded, min_score=0)
    done = run("train/evaluate.py", "--model", out, "--records", folder / "pet_faces_val.record*")
    assert done.returncode == 0, done.stderr
    with Image.open(folder / "model" / "1-evaluation" / "sample.png") as sample:
        assert sample.height > 400, "two rows of images"


def test_all_bad_records_are_listed_before_the_training(folder: Path, train: Any) -> None:
    first, second, third, *_ = examples(folder)
    first.features.feature["image/object/class/label"].int64_list.value[0] = 99
    second.features.feature["image/object/bbox/xmax"].float_list.value[0] = 320.0
    third.features.feature["image/object/bbox/xmax"].float_list.value[:] = []
    bad = folder / "bad.record"
    write(bad, (first, second, third))
    config = folder / "bad.config"
    text = (folder / CONFIG).read_text()
    config.write_text(text.replace("pet_faces_train.record-?????-of-00010", bad.name))
    done = train(config, "none")
    assert done.returncode == 1
    _, *lines = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert lines == [
        f"  {bad}: a record in it has not the Object Detection API's keys; write it with "
        "`petbox records`",
        f"  {bad}: record 1 (chihuahua_153.jpg): its class 99 is not in "
        f"{folder / 'pet_label_map.pbtxt'}; add it there, or write it again",
        f"  {bad}: record 2 (Siamese_112.jpg): box 0.238,0.0613333 to 320,0.733333 is not in "
        "fractions of the image; divide it by the image's size",
    ]
