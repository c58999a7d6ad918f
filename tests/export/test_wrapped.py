"""A third-party detection SavedModel, wrapped: the same results behind our signatures.

The wrapped one detects colored rectangles, in plain TensorFlow. It has the form of the Object
Detection API's zoo: names, shapes and types of inputs and outputs, and a vocabulary among its
assets.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.exporting import Exported, file

from petbox.data import labels
from petbox.errors import PetboxError
from petbox.images.draw import color

NAMES = {1: "red", 3: "green", 7: "blue"}
COLORS = {1: (230, 20, 20), 3: (20, 230, 20), 7: (20, 20, 230)}
MOST = 10
GRAY = (128, 128, 128)


def zoo_model(folder: Path, **changes: Any) -> Path:
    """Saves the detector of rectangles; `changes` give it another form than the zoo's."""
    from petbox.tf import tf

    vocabulary = folder.with_name(f"{folder.name}.classes.txt")
    vocabulary.write_text("\n".join(map(str, COLORS)) + "\n")
    classes = changes.get("classes", 1)

    class Detector(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.colors = tf.Variable(list(COLORS.values()), dtype=tf.float32)
            ids = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.int64,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            )
            self.ids = tf.lookup.StaticHashTable(ids, -1)

        def __call__(self, input_tensor: Any) -> dict[str, Any]:
            pixels = tf.cast(input_tensor[0], tf.float32)
            size = tf.cast(tf.shape(pixels)[:2], tf.float32)
            boxes, scores = tf.map_fn(
                lambda one: self.rectangle(pixels, one, size),
                self.colors,
                fn_output_signature=(tf.TensorSpec([4]), tf.TensorSpec([])),
            )
            order = tf.argsort(scores, direction="DESCENDING", stable=True)
            count = tf.reduce_sum(tf.cast(scores > 0, tf.float32))
            labels = tf.cast(self.ids.lookup(tf.range(3, dtype=tf.int64)), tf.float32)

            def filled(values: Any) -> Any:
                values = tf.gather(values, order)
                return tf.concat([values, tf.zeros([MOST - 3, *values.shape[1:]])], 0)[None]

            found = {
                "detection_anchor_indices": tf.zeros([1, MOST]),
                "detection_boxes": filled(boxes),
                "detection_classes": filled(labels) * classes,
                "detection_multiclass_scores": tf.zeros([1, MOST, 8]),
                "detection_scores": filled(scores),
                "num_detections": count[None],
                "raw_detection_boxes": tf.zeros([1, 300, 4]),
                "raw_detection_scores": tf.zeros([1, 300, 8]),
            }
            reach = tf.cast(found["detection_scores"] > 0, tf.float32) * changes.get("reach", 0.0)
            found["detection_boxes"] += reach[..., None] * [0.0, 0.0, 1.0, 1.0]
            if "scale" in changes:  # the Model Garden's form: pixels of a canvas, whole numbers
                found["detection_boxes"] *= tf.tile(size * changes["scale"], [2])
                found["detection_classes"] = tf.cast(found["detection_classes"], tf.int32)
                found["num_detections"] = tf.cast(found["num_detections"], tf.int32)
            if changes.get("info"):
                scale = [changes["scale"]] * 2
                found["image_info"] = tf.stack([size, [640.0, 640.0], scale, [0.0, 0.0]])[None]
            if changes.get("open_ended"):  # as many rows as there are findings, the best one last
                rows = tf.cast(count, tf.int32)
                for name in ("boxes", "classes", "scores"):
                    values = found[f"detection_{name}"][:, :rows]
                    found[f"detection_{name}"] = tf.reverse(values, [1])
            for name in changes.get("without", ()):
                del found[name]
            return found

        def rectangle(self, pixels: Any, expected: Any, size: Any) -> tuple[Any, Any]:
            near = tf.reduce_all(tf.abs(pixels - expected) < 60, axis=-1)
            places = tf.where(near)
            area = tf.cast(tf.shape(places)[0], tf.float32)

            def box() -> Any:
                ends = tf.reduce_min(places, 0), tf.reduce_max(places, 0) + 1
                return tf.cast(tf.concat(ends, 0), tf.float32) / tf.tile(size, [2])

            found = area > 3
            score = tf.where(found, 0.5 + 0.5 * area / tf.reduce_prod(size), 0.0)
            return tf.cond(found, box, lambda: tf.zeros([4])), score

    detector = Detector()
    taken = changes.get("taken", tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor"))
    call = changes.get("call", detector.__call__)
    named = changes.get("signature", "serving_default")
    signatures = {named: tf.function(call, [taken])}
    tf.saved_model.save(detector, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As unpacked: the model in saved_model, its label map elsewhere."""
    folder = tmp_path_factory.mktemp("zoo") / "rectangles_v2"
    folder.mkdir()
    zoo_model(folder / "saved_model")
    labels.write(folder / "labels.pbtxt", NAMES)
    return folder


@pytest.fixture(scope="module")
def wrapped(zoo: Path, run: Any) -> Exported:
    out = zoo.with_name("wrapped") / "1"
    label_map = zoo / "labels.pbtxt"
    words = ("--from-saved-model", zoo, "--label-map", label_map, "--out", out)
    done = run("export/exporter_savedmodel.py", *words, "--max-megapixels", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    zoo.rename(zoo.with_name("gone"))  # nothing of it is needed any more
    return Exported(out)


def wrap(model: Path, out: Path, names: dict[int, str] = NAMES) -> Exported:
    from petbox.export import exporter, model_folder
    from petbox.export.signatures import Settings

    label_map = model.with_name(f"{model.name}.pbtxt")
    labels.write(label_map, names)
    return Exported(exporter.export(model_folder.read(model, label_map), out, Settings()))


def scene(width: int, height: int, *rectangles: tuple[int, tuple[int, int, int, int]]) -> bytes:
    """A PNG with (class, its left, top, right, bottom) on gray."""
    image = Image.new("RGB", (width, height), GRAY)
    for label, (left, top, right, bottom) in rectangles:
        corners = (left, top, right - 1, bottom - 1)
        ImageDraw.Draw(image).rectangle(corners, COLORS[label])
    return file(image, "PNG")


ONE = scene(200, 100, (3, (20, 10, 60, 90)))
THREE = scene(90, 300, (7, (0, 0, 90, 150)), (1, (10, 200, 20, 210)), (3, (40, 200, 80, 290)))
NONE = scene(50, 50)
SECOND = [[0.0, 0.0, 0.5, 1.0], [2 / 3, 4 / 9, 29 / 30, 8 / 9], [2 / 3, 1 / 9, 0.7, 2 / 9]]


def test_images_are_given_in_their_own_size_and_answered_one_by_one(wrapped: Exported) -> None:
    found = wrapped(ONE, NONE, THREE)
    assert found["num_detections"].tolist() == [1, 0, 3]
    assert found["detection_boxes"].shape == (3, MOST, 4)
    assert found["detection_classes"][2, :3].tolist() == [7, 3, 1], "by their scores"
    np.testing.assert_allclose(found["detection_boxes"][0, 0], [0.1, 0.1, 0.9, 0.3], atol=1e-6)
    np.testing.assert_allclose(found["detection_boxes"][2, :3], SECOND, atol=1e-6)
    assert found["detection_scores"][0, 0] == pytest.approx(0.5 + 0.5 * 0.16)


def test_its_signatures_are_ours(wrapped: Exported) -> None:
    assert set(wrapped.signatures) >= {"serving_default", "detect", "draw"}
    short = wrapped(ONE, THREE, signature="detect")
    assert short["detection_names"].tolist() == [[b"green", b"", b""], [b"blue", b"green", b"red"]]
    (drawn,) = wrapped(ONE, signature="draw")["image_bytes"]
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.size == (200, 100)
        edge = np.asarray(image).astype(int)[50, 20]
    assert np.abs(edge - color(3)).max() < 60


def test_what_hurts_it_is_kept_from_it(wrapped: Exported) -> None:
    assert "image 1 of the request is corrupt or truncated" in wrapped.rejection(ONE, ONE[:-300])
    large = file(Image.new("L", (2001, 1000)), "PNG")
    assert "image 0 of the request is 2001x1000, more than the 2000000" in wrapped.rejection(large)


def test_nothing_of_the_original_is_needed_and_its_assets_are_kept(wrapped: Exported) -> None:
    assets = wrapped.folder / "assets"
    assert labels.read(assets / labels.FILE_NAME) == NAMES
    kept = [path.read_text().split() for path in assets.iterdir() if path.suffix == ".txt"]
    assert kept == [["1", "3", "7"]]
    report = json.loads((wrapped.folder / "assets.extra" / "export.json").read_text())
    assert report["wrapped"] == "rectangles_v2/saved_model"
    assert report["self_check"]["pictures"] == 8
    assert report["self_check"]["box_difference"] == 0


def test_it_is_warmed_up_by_the_model_server(wrapped: Exported) -> None:
    from petbox.serving.model_server import model, tensorflow_engine, warmup

    loaded = model.load("rectangles", 1, wrapped.folder, tensorflow_engine.TensorFlow())
    assert warmup.warm_up(loaded, wrapped.folder) == 3


def test_a_wrapped_model_can_be_wrapped_with_the_label_map_inside(tmp_path: Path) -> None:
    from petbox.export import exporter, model_folder
    from petbox.export.signatures import Settings

    labels.write(tmp_path / "names.pbtxt", NAMES)
    first = model_folder.read(zoo_model(tmp_path / "zoo"), tmp_path / "names.pbtxt")
    pixels = exporter.export(first, tmp_path / "1", Settings(input_type="image_tensor"))
    again = Exported(exporter.export(model_folder.read(pixels), tmp_path / "2", Settings()))
    assert again(ONE)["detection_classes"][0, 0] == 3
    assert again(ONE, signature="detect")["detection_names"].tolist() == [[b"green"]]
    inside = sorted(path.name for path in (again.folder / "assets").iterdir())
    assert inside == [labels.FILE_NAME, "zoo.classes.txt"]


def test_the_model_gardens_form_and_lists_of_any_length_are_taken_too(tmp_path: Path) -> None:
    """Boxes that reach beyond the image are clipped."""
    zoo = zoo_model(tmp_path / "garden", scale=0.7, info=True, open_ended=True, reach=0.9)
    found = wrap(zoo, tmp_path / "1")(NONE, THREE, ONE)
    assert found["num_detections"].tolist() == [0, 3, 1]
    assert found["detection_classes"][1, :3].tolist() == [7, 3, 1], "by their scores"
    expected = [[top, left, 1, 1] for top, left, _, _ in SECOND]
    np.testing.assert_allclose(found["detection_boxes"][1, :3], expected, atol=1e-6)
    assert found["detection_boxes"].dtype == found["num_detections"].dtype == np.float32


def test_classes_that_turn_up_later_go_by_their_ids(tmp_path: Path) -> None:
    """The drawn scenes show nothing blue, so it could not be rejected."""
    names = {2: "red", 6: "green"}
    model = wrap(zoo_model(tmp_path / "more", classes=2), tmp_path / "1", names)
    short = model(THREE, signature="detect")
    assert short["detection_names"].tolist() == [[b"14", b"green", b"red"]]
    assert len(model(THREE, signature="draw")["image_bytes"]) == 1


# What is rejected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signature": "predict"}, "has no signature serving_default, but predict"),
        ({"without": ["detection_scores", "num_detections"]}, r"scores, num_detections\)"),
        ({"taken": (None, "float32")}, r"takes input_tensor float32 \[1,\?,\?,3\], not pixels"),
        ({"taken": ([1, 64, 64, 3], "uint8")}, r"takes input_tensor uint8 \[1,64,64,3\], not"),
        ({"scale": 0.7}, "its detection_boxes are not fractions of the image"),
        ({"always": [1, 1, 5]}, r"detects class 5, which .*\.pbtxt does not name; pass the"),
        ({"flat": True}, r"its detection_boxes is float32 \[1,4\], not numbers \[1,K,4\]"),
        ({"failing": True}, "fails on an image .*"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_model_of_another_form_is_rejected_by_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = zoo_model(tmp_path / "zoo", **_made(changes))
    with pytest.raises(PetboxError, match=message):
        wrap(model, tmp_path / "1")
    assert not (tmp_path / "1").exists()
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def _made(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that need TensorFlow."""
    from petbox.tf import tf

    if "taken" in changes:
        shape, dtype = changes["taken"]
        spec = tf.TensorSpec(shape or [1, None, None, 3], tf.as_dtype(dtype), name="input_tensor")
        return {"taken": spec}
    rows = len(changes.get("always", (1,)))
    classes = tf.constant([changes.get("always", [1])], tf.float32)

    def always(input_tensor: Any) -> dict[str, Any]:
        size = tf.cast(tf.shape(input_tensor)[1:3], tf.float32)
        box = tf.tile(size, [2]) * 0 + [0.1, 0.2, 0.3, 0.4]
        boxes = box[None] if changes.get("flat") else tf.tile(box[None, None], [1, rows, 1])
        if changes.get("failing"):
            tf.debugging.assert_greater(size[0], 1e6)
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": tf.fill([1, rows], 0.9),
            "num_detections": tf.constant([float(rows)]),
        }

    if {"always", "flat", "failing"} & changes.keys():
        return {"call": always}
    return changes


def test_a_model_that_is_broken_is_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "saved_model.pb").write_bytes(b"not one")
    with pytest.raises(PetboxError, match=r"zoo: cannot be loaded .*; name an intact SavedModel"):
        wrap(tmp_path / "zoo", tmp_path / "1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--out", "{tmp}/1"), "{tmp}: no model; found: nothing; expected"),
        (("--out", "{tmp}/1", "--pipeline-config-path", "x"), "--pipeline-config-path: goes with"),
        (("--out", "{tmp}/1", "--run", "{tmp}"), "--from-saved-model: give one of them, not 2"),
    ],
)
def test_what_cannot_be_wrapped_is_said_before_tensorflow_is_loaded(
    flags: tuple[str, ...], message: str, tmp_path: Path, run: Any
) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in ("--from-saved-model={tmp}", *flags)]
    done = run("export/exporter_savedmodel.py", *words)
    assert done.returncode == 1
    assert message.replace("{tmp}", str(tmp_path)) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_without_names_is_rejected(tmp_path: Path) -> None:
    from petbox.export import model_folder

    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").touch()
    with pytest.raises(PetboxError, match=r"has no assets/label_map\.pbtxt; pass --label-map"):
        model_folder.read(tmp_path)


def test_a_wrapped_model_is_not_batched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from petbox.cli.main import main
    from petbox.export import exporter, model_folder
    from petbox.export.batching import Batches
    from petbox.export.signatures import Settings

    source = model_folder.ModelFolder(tmp_path / "zoo", (), tmp_path / "names", b"", NAMES, {})
    with pytest.raises(PetboxError, match="zoo: takes one image at a time, so there is nothing"):
        exporter.export(source, tmp_path / "1", Settings(batches=Batches(4, 2000)))
    words = [f"--from-saved-model={tmp_path / 'zoo'}", f"--out={tmp_path / '1'}", "--batch=8"]
    assert main(["export", *words]) == 1
    assert "zoo: takes one image at a time, so there is nothing" in capsys.readouterr().err
