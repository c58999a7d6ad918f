"""A model in this process: which folder is loaded, and what a SavedModel returns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.peer import GOLDEN
from support.saved_models import adder, corrupt
from support.serving import png, tiny_detector

import petbox
from petbox.errors import InvalidImage, ModelError
from petbox.serving import in_process
from petbox.wire import Engine

ROOT = Path(petbox.__file__).parents[1]
SAVED, LITE = "saved_model.pb", "model.tflite"


def tree(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([SAVED], "."),
        ([LITE], "."),
        (["4/model.xml"], "4"),
        ([f"1/{SAVED}"], "1"),
        ([f"9/{SAVED}", f"10/{SAVED}"], "10"),
        ([f"pets/3/{SAVED}", "pets/3/variables/variables.index"], "pets/3"),
        ([f"export/Servo/1699/{SAVED}"], "export/Servo/1699"),
    ],
)
def test_a_model_is_found_where_archives_have_it(
    tmp_path: Path, files: list[str], found: str
) -> None:
    assert in_process.find_model(tree(tmp_path, *files)) == tmp_path / found


def test_without_tensorflow_the_pip_line_is_given(tmp_path: Path) -> None:
    code = f"import petbox; petbox.open_model({str(tree(tmp_path, SAVED))!r})"
    bare = [sys.executable, "-S", "-c", code]  # without any package
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "petbox.errors.MissingExtra: tensorflow is not installed; in the petbox checkout type: "
        "pip install './[tf]'"
    )


def test_a_folder_called_by_a_number_is_a_bare_model_too(tmp_path: Path) -> None:
    folder = tree(tmp_path / "7", SAVED)
    assert in_process.find_model(folder) == folder


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([], "no model; found: nothing; expected: saved_model.pb or model.tflite"),
        (["1/readme.txt"], "no model; found: 1/, 1/readme.txt"),
        ([f"cats/1/{SAVED}", f"dogs/1/{SAVED}"], "more than one model"),
        ([SAVED, LITE], "more than one model"),
    ],
)
def test_what_is_no_model_is_reported(tmp_path: Path, files: list[str], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        in_process.find_model(tree(tmp_path, *files))


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        in_process.find_model(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("named")
    tiny_detector(folder / "1", named=True)
    return in_process.open_model(folder)


def test_a_saved_model_returns_names(named: Engine) -> None:
    (one,) = named.detect(png(24, 16))
    assert (one.label, one.name) == (3, "Abyssinian")
    assert one.score == pytest.approx(1 / 17)
    assert one.box == pytest.approx((1 / 17, 1 / 25, 16 / 17, 24 / 25))
    assert type(one.score) is float and type(one.label) is int


def test_a_model_of_others_returns_no_names(tmp_path: Path) -> None:
    detector = in_process.open_model(tiny_detector(tmp_path / "classic"))
    (one,) = detector.detect(png(24, 16))
    assert (one.label, one.name) == (3, None)


def test_an_image_that_the_model_rejects_is_reported_in_its_words(named: Engine) -> None:
    with pytest.raises(InvalidImage) as rejected:
        named.detect(b"not an image")
    assert "\n" not in str(rejected.value) and "{{" not in str(rejected.value)
    assert named.detect((GOLDEN / "picture.jpg").read_bytes()), "and goes on"


def guarded(folder: Path) -> Path:
    """Refuses every image as the exporter's models do."""
    from petbox.export.decode.files import checked
    from petbox.tf import tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def detect(inputs):  # type: ignore[no-untyped-def]
        boxes = checked(0, tf.constant("is 9000x9000, more than allowed"), tf.zeros([1, 1, 4]))
        rows = {f"detection_{name}": tf.zeros([1, 1]) for name in ("classes", "scores")}
        return {"detection_boxes": boxes, "num_detections": tf.ones([1]), **rows}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": detect})
    return folder


def test_the_exporters_rejections_are_reported_without_the_graphs_words(tmp_path: Path) -> None:
    detector = in_process.open_model(guarded(tmp_path / "model"))
    with pytest.raises(InvalidImage) as rejected:
        detector.detect(b"any")
    assert str(rejected.value) == "the image is 9000x9000, more than allowed"


def tensors_only(folder: Path) -> Path:
    from petbox.tf import tf

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "inputs")])
    def detect(inputs):  # type: ignore[no-untyped-def]
        return {"detection_boxes": tf.zeros([1, 1, 4])}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": detect})
    return folder


def adding(folder: Path) -> Path:
    return adder(folder, 1.0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (corrupt, "cannot be loaded as a SavedModel"),
        (adding, "does not take image files"),
        (tensors_only, "does not take image files"),
    ],
)
def test_what_is_no_detector_is_reported_when_it_is_loaded(
    tmp_path: Path, make: Callable[[Path], Any], why: str
) -> None:
    make(tmp_path / "model")
    with pytest.raises(ModelError, match=why):
        in_process.open_model(tmp_path / "model")
