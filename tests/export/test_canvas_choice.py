"""The mAP of a model's canvases beside that of the whole one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.serving import CHECKOUT

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.data import record_writer
from petbox.data.annotations import Animal, Dataset, Photo
from petbox.export import canvas_choice, verify
from petbox.export.canvases import Canvas, whole
from petbox.training import config as training_config
from petbox.training.tfvision import tf

sys.path.insert(0, str(CHECKOUT / "bench"))
import traces

SIZE = (128, 64)  # as on the canvas
LOW, WHOLE = Canvas(96, 128, (80, 128)), whole(128, 128)


def only_on_low_canvases(images: Any, shape: Any) -> Any:
    """Detects the lower half of an image of 128 x 64 on a low canvas, and the upper on another."""
    assert shape.numpy().tolist() == [[128, 128]]
    top = 32.0 if images.shape[1] == LOW.height else 0.0
    return {
        "detection_boxes": tf.constant([[[top, 0.0, top + 32.0, 128.0]]]),
        "detection_classes": tf.constant([[1]]),
        "detection_scores": tf.constant([[0.9]]),
        "num_detections": tf.constant([1]),
    }


def records(folder: Path, animals: tuple[Animal, ...]) -> Path:
    photos = []
    for number in range(3):
        path = folder / f"{number}.png"
        Image.effect_noise(SIZE, 90).convert("RGB").save(path)
        photos.append(Photo(path, number, "", *SIZE, animals, "made here"))
    dataset = Dataset({1: "cat"}, {"validation": tuple(photos)}, {})
    record_writer.write(dataset, folder / "records", seed=1, source="", advance=lambda: None)
    return folder / "records"


def test_both_are_measured_on_some_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = training_config.task(training_config.experiment("toy"))
    lower_half = Animal((0.5, 0.0, 1.0, 1.0), "cat", 1)
    files = verify.validation_files(records(tmp_path, (lower_half,)), [])
    both = [LOW, WHOLE]
    with traces.counted() as graphs:
        measured = canvas_choice.measured(task, only_on_low_canvases, files, both)
    assert [*graphs.values()] == [1], "the preparation of images, for both"
    assert measured == {
        "images": 3,
        "mAP": pytest.approx(1.0),
        "mAP on the whole canvas": 0.0,
        "difference": pytest.approx(1.0),
    }
    monkeypatch.setattr(canvas_choice, "MOST", 2)
    few = canvas_choice.measured(task, only_on_low_canvases, files, both)
    assert few and few["images"] == 2
    assert capsys.readouterr().out == "", "stdout is for the result"
    assert canvas_choice.measured(task, only_on_low_canvases, files, [WHOLE]) is None
    assert canvas_choice.measured(task, only_on_low_canvases, [], both) is None


def test_without_an_object_there_is_no_map(tmp_path: Path) -> None:
    task = training_config.task(training_config.experiment("toy"))
    files = verify.validation_files(records(tmp_path, ()), [])
    assert canvas_choice.measured(task, only_on_low_canvases, files, [LOW, WHOLE]) is None
