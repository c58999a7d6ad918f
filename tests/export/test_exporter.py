"""The exported model as its clients see it, and the exporter as its user does.

The weights are random (tests/support/exporting.py): detections are meaningless, but must be the
same by every path. Models are loaded as by a model server.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops
from support.exporting import NAMES, Exported, counted_opens, file, noise, random_run
from support.serving import CHECKOUT

from petbox.data import labels
from petbox.errors import PetboxError
from petbox.images import exif
from petbox.training import runs

sys.path.insert(0, str(CHECKOUT / "bench"))
import traces

Counted = tuple[Exported, dict[str, int], list[int]]

IMAGES = [file(noise(300, 200)), file(noise(64, 501, 1), "PNG"), file(noise(128, 128, 2), "GIF")]
BROKEN = file(noise(300, 200))[:2000]
THRESHOLDS = {"beagle": 0.99, "pug": 0.1}
STRINGS = "encoded_image_string_tensor"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def plain(trained: Path) -> Exported:
    """It computes each request alone."""
    return exported(trained, trained.with_name("plain"), batches=None)


@pytest.fixture(scope="module")
def not_rewritten(trained: Path, run: Any) -> Exported:
    out = trained.with_name("not rewritten") / "1"
    words = [f"--run={trained}", f"--out={out}", "--plain", "--batch-timeout-micros=7"]
    done = run("export/exporter_savedmodel.py", *words)
    assert done.returncode == 0, done.stderr
    assert [line[:8] for line in done.stderr.splitlines()] == ["loading ", "written ", "8 of dra"]
    return Exported(out)


@pytest.fixture(scope="module")
def batching_with_counts(trained: Path) -> Counted:
    """A model that batches tf.Examples, the opened files of its run, which has a config, and how
    often graphs were traced."""
    from petbox.export.batching import Batches

    run = shutil.copytree(trained, trained.with_name("configured"))
    (run / "pipeline.config").write_text("model { faster_rcnn { num_classes: 3 } }")
    thresholds = runs.thresholds(run / "ckpt-1", "validation", THRESHOLDS)
    (run / "thresholds.json").write_text(thresholds)
    batches = Batches(4, 20_000)
    with counted_opens() as opens, traces.counted() as graphs:
        model = exported(
            run,
            trained.with_name("batching"),
            batches=batches,
            input_type="tf_example",
            exif="ignore",
        )
    names = {Path(name).name: n for name, n in opens.items() if name.startswith(f"{run}/")}
    return model, names, [*graphs.values()]


@pytest.fixture(scope="module")
def batching(batching_with_counts: Counted) -> Exported:
    return batching_with_counts[0]


@pytest.fixture(scope="module")
def of_pixels(trained: Path, run: Any) -> Exported:
    """By the Object Detection API's command."""
    out = trained.with_name("classic")
    done = run(
        "export/exporter_savedmodel.py",
        *("--input_type", "image_tensor", "--exif=ignore"),
        *("--min_score=0.9", "--min_score_drawn=1", "--batch=1"),
        f"--trained_checkpoint_prefix={trained / 'ckpt-1'}",
        *("--output_directory", out),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'saved_model'}\n"
    return Exported(out / "saved_model")


def exported(trained: Path, folder: Path, **settings: Any) -> Exported:
    from petbox.export import exporter
    from petbox.export.signatures import Settings

    return Exported(exporter.export(runs.read(trained), folder, Settings(**settings)))


# The interface


@pytest.mark.parametrize(
    ("model", "dtype", "shape"),
    [
        ("plain", "string", [-1]),
        ("batching", "string", [-1]),
        ("of_pixels", "uint8", [-1, -1, -1, 3]),
    ],
)
def test_signatures_are_those_of_the_object_detection_api(
    model: str, dtype: str, shape: list[int], request: pytest.FixtureRequest
) -> None:
    from petbox.tf import tf

    signatures = request.getfixturevalue(model).signatures
    for name in ("serving_default", "detect", "draw"):
        (key,) = signatures[name].inputs
        taken = signatures[name].inputs[key]
        assert key == "inputs"
        assert tf.as_dtype(taken.dtype).name == dtype
        assert [one.size for one in taken.tensor_shape.dim] == shape
    outputs = signatures["serving_default"].outputs
    assert {k: len(v.tensor_shape.dim) for k, v in outputs.items()} == {
        "detection_boxes": 3,
        "detection_classes": 2,
        "detection_scores": 2,
        "num_detections": 1,
    }
    assert {tf.as_dtype(v.dtype).name for v in outputs.values()} == {"float32"}


def test_images_of_different_sizes_in_one_request_match_single_ones(
    plain: Exported,
) -> None:
    together = plain(*IMAGES)
    assert together["detection_boxes"].shape == (3, 100, 4)
    for at, image in enumerate(IMAGES):
        _same(_of(together, at), _of(plain(image), 0))


def test_the_three_input_types_say_the_same(
    plain: Exported, batching: Exported, of_pixels: Exported
) -> None:
    from petbox.tf import tf

    for image in IMAGES:
        expected = _of(plain(image), 0)
        _same(_of(batching(_example(image)), 0), expected)
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False).numpy()
        _same(_of(of_pixels(pixels), 0), expected)


def test_a_plain_export_is_as_tensorflow_saves_it_and_says_the_same(
    plain: Exported, not_rewritten: Exported
) -> None:
    large = file(noise(128, 128))  # as large as the canvas: it has no smaller one
    for image in (large, IMAGES[2]):
        _same(_of(not_rewritten(image), 0), _of(plain(image), 0))
    sizes = [(one.folder / "saved_model.pb").stat().st_size for one in (plain, not_rewritten)]
    assert sizes[1] > 2 * sizes[0]
    assert not (not_rewritten.folder / "assets.extra" / "node_names.txt").exists()
    report = json.loads((not_rewritten.folder / "assets.extra" / "export.json").read_text())
    assert report["settings"]["plain"] is True


def test_a_model_that_differs_in_a_server_and_in_python_is_rejected(
    plain: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox.export import verify
    from petbox.tf import tf

    images = verify.images(None, 1)
    answer = _of(plain(verify.file(images.examples[0])), 0)
    names = ("detection_boxes", "detection_classes", "detection_scores")
    expected = [verify.Found(*(answer[name] for name in names))]
    in_python = tf.saved_model.load(str(plain.folder)).signatures["serving_default"]

    def check() -> None:
        verify.check(plain.folder, STRINGS, images, expected, "its checkpoint")

    def other(inputs: Any) -> dict[str, Any]:
        found = in_python(inputs)
        return {**found, "detection_scores": 0.9 * found["detection_scores"]}

    check()
    loaded = SimpleNamespace(signatures={"serving_default": other})
    monkeypatch.setattr(tf.saved_model, "load", lambda _folder: loaded)
    with pytest.raises(PetboxError, match="differs in Python and in a model server"):
        check()


def test_a_sideways_photo_has_the_boxes_of_the_upright_one(
    plain: Exported, batching: Exported, of_pixels: Exported
) -> None:
    """Pixels turned without loss; a model exported with --exif ignore takes them as stored."""
    upright = np.asarray(noise(300, 200))
    expected = _of(plain(file(noise(300, 200), "PNG")), 0)
    assert len(expected["detection_scores"]) > 5
    stored = np.ascontiguousarray(exif.turned(upright, exif.COUNTERCLOCKWISE))
    sideways = exif.sideways(file(Image.fromarray(stored), "PNG"))
    _same(_of(plain(sideways), 0), expected)
    (drawn,) = plain(sideways, signature="draw")["image_bytes"]
    assert drawn == plain(file(noise(300, 200), "PNG"), signature="draw")["image_bytes"][0]
    as_stored = _of(of_pixels(stored), 0)
    _same(_of(batching(_example(sideways)), 0), as_stored)
    report = json.loads(
        (of_pixels.folder.parent / "saved_model/assets.extra/export.json").read_text()
    )
    assert report["settings"]["exif"] == "ignore"


def test_detect_says_the_same_in_fewer_words(plain: Exported) -> None:
    whole, short = plain(*IMAGES), plain(*IMAGES, signature="detect")
    confident = (whole["detection_scores"] >= 0.05).sum(axis=1)
    assert short["num_detections"].tolist() == confident.tolist()
    assert short["detection_boxes"].shape == (3, confident.max(), 4)
    assert len(set(confident)) > 1, "some list is filled up"
    for at, count in enumerate(confident):
        for key in ("detection_boxes", "detection_classes", "detection_scores"):
            np.testing.assert_allclose(short[key][at, :count], whole[key][at, :count], atol=1e-5)
            assert not short[key][at, count:].any()
        names = [NAMES[int(label)].encode() for label in whole["detection_classes"][at, :count]]
        assert short["detection_names"][at].tolist() == names + [b""] * (confident.max() - count)


def test_thresholds_of_the_run_are_in_the_model(plain: Exported, batching: Exported) -> None:
    """They come with each detection, and decide what is drawn."""
    images = [_example(image) for image in IMAGES]
    short = batching(*images, signature="detect")
    by_class = {n: THRESHOLDS.get(name, 0.5) for n, name in NAMES.items()}
    found = set()
    for at, count in enumerate(short["num_detections"].astype(int)):
        classes = short["detection_classes"][at, :count].astype(int).tolist()
        found |= set(classes)
        expected = [by_class[one] for one in classes]
        lowest = short["detection_thresholds"][at]
        np.testing.assert_allclose(lowest[:count], expected)
        assert not lowest[count:].any()
    assert {2, 3} <= found
    assert "detection_thresholds" not in plain.signatures["detect"].outputs
    drawn = batching(images[0], signature="draw")["image_bytes"][0]
    pixels = Image.open(io.BytesIO(drawn)), Image.open(io.BytesIO(IMAGES[0]))
    assert ImageChops.difference(*pixels).getbbox()
    report = json.loads((batching.folder / "assets.extra" / "export.json").read_text())
    assert report["settings"]["thresholds"] == {"2": 0.99, "3": 0.1}


def test_scores_of_detect_and_draw_are_set_by_flags(of_pixels: Exported) -> None:
    image = np.asarray(noise(300, 200))
    scores = of_pixels(image)["detection_scores"]
    assert of_pixels(image, signature="detect")["num_detections"][0] == (scores >= 0.9).sum() > 0
    (drawn,) = of_pixels(image, signature="draw")["image_bytes"]
    difference = np.asarray(Image.open(io.BytesIO(drawn))).astype(int) - image
    assert np.abs(difference).max() < 60, "JPEG smears a little, and nothing is drawn"


def test_thresholds_are_of_one_checkpoint(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    file = run / runs.THRESHOLDS
    file.write_text(runs.thresholds(run / "ckpt-1", "test", THRESHOLDS))
    assert runs.read(run).thresholds == {2: 0.99, 3: 0.1}
    file.write_text(runs.thresholds(run / "ckpt-2", "test", THRESHOLDS))
    assert runs.read(run).thresholds == {}
    file.write_text("{}")
    with pytest.raises(PetboxError, match=r"thresholds.json: not as `petbox evaluate` writes it"):
        runs.read(run)


def test_draw_gives_each_image_back_with_boxes_in_their_class_colors(plain: Exported) -> None:
    from petbox.images.draw import color

    large = file(noise(640, 480, 5))
    drawn = plain(large, *IMAGES, signature="draw")["image_bytes"]
    images = [Image.open(io.BytesIO(one)) for one in drawn]
    assert [one.size for one in images] == [(640, 480), (300, 200), (64, 501), (128, 128)]
    assert {one.format for one in images} == {"JPEG"}
    found = plain(large)
    count = int((found["detection_scores"] >= 0.5).sum())
    assert count, "there is something to draw"
    pixels = np.asarray(images[0]).astype(int)
    ymin, xmin, ymax, xmax = (found["detection_boxes"][0, 0] * (479, 639, 479, 639)).round()
    expected = color(int(found["detection_classes"][0, 0]))
    middle = int(ymin + ymax) // 2, int(xmin + xmax) // 2
    for y, x in ((middle[0], int(xmin) + 1), (int(ymin) + 1, middle[1])):
        assert np.abs(pixels[y, x] - expected).max() < 60, "JPEG smears a little"


@pytest.mark.parametrize("signature", ["serving_default", "detect", "draw"])
def test_an_invalid_image_is_named_by_its_index(plain: Exported, signature: str) -> None:
    said = plain.rejection(*IMAGES, BROKEN, signature=signature)
    assert "image 3 of the request is corrupt or truncated; send the whole file" in said
    assert "image 1 of the request is empty" in plain.rejection(IMAGES[0], b"")


def test_what_is_no_example_is_named_by_its_place(batching: Exported) -> None:
    sound = _example(IMAGES[0])
    said = "image 1 of the request is not a serialized tf.Example with an image in image/encoded"
    assert said in batching.rejection(sound, b"not one")
    assert said in batching.rejection(sound, b"")
    assert "image 1 of the request is corrupt" in batching.rejection(sound, _example(BROKEN))


def test_a_request_must_hold_images_but_not_too_many(plain: Exported) -> None:
    assert "the request contains no image" in plain.rejection(signature="detect")
    tiny = file(noise(8, 8))
    assert "contains more than 64 images; send fewer" in plain.rejection(*[tiny] * 65)


def test_every_signature_is_warmed_up_by_the_model_server(
    plain: Exported, batching: Exported
) -> None:
    from petbox.export.signatures import SIGNATURES
    from petbox.serving.model_server import model, tensorflow_engine, warmup

    for folder in (plain.folder, batching.folder):
        loaded = model.load("pets", 1, folder, tensorflow_engine.TensorFlow())
        assert warmup.warm_up(loaded, folder) == len(SIGNATURES)


def test_no_warm_up_request_is_one_that_the_model_rejects() -> None:
    from petbox.export import exporter
    from petbox.export.signatures import Settings

    small = Settings(most_pixels=50_000, input_type="image_tensor")
    images = [inputs["inputs"] for _, inputs in exporter._warmup(small)]
    assert [np.shape(one) for one in images] == [(1, 223, 223, 3)] * 3


def test_a_model_tells_what_it_was_made_of(plain: Exported, trained: Path) -> None:
    report = json.loads((plain.folder / "assets.extra" / "export.json").read_text())
    assert (report["checkpoint"], report["step"]) == ("ckpt-1", 5)
    assert report["settings"]["most_pixels"] == 40_000_000
    assert report["self_check"]["pictures"] == 8
    assert report["self_check"]["source"] == "drawn scenes", "its records are gone"
    assert report["self_check"]["detections"] > 8
    assert labels.read(plain.folder / "assets" / labels.FILE_NAME) == NAMES
    params = (plain.folder / "assets.extra" / "params.yaml").read_text()
    assert params == (trained / "params.yaml").read_text()
    assert not [path for path in plain.folder.parent.iterdir() if "partial" in path.name]


def test_each_file_of_a_run_is_read_once(
    batching_with_counts: Counted,
) -> None:
    model, opens, _ = batching_with_counts
    assert opens == {
        "checkpoint": 1,
        "label_map.pbtxt": 1,
        "params.yaml": 1,
        "pipeline.config": 1,
        "thresholds.json": 1,
    }
    copied = (model.folder / "assets.extra" / "pipeline.config").read_text()
    assert copied == "model { faster_rcnn { num_classes: 3 } }"


def test_no_graph_is_traced_twice(batching_with_counts: Counted) -> None:
    assert {*batching_with_counts[2]} == {1}


# Batching


def test_exports_batch_what_has_gathered_unless_that_is_off(
    plain: Exported, not_rewritten: Exported, of_pixels: Exported
) -> None:
    """The other tests compare the answers of these."""
    from petbox.tf import tf

    for model, batches in (
        (not_rewritten, {"most": 8, "timeout_micros": 7, "most_if_slow": 2}),
        (of_pixels, None),
        (plain, None),
    ):
        report = json.loads((model.folder / "assets.extra" / "export.json").read_text())
        assert report["settings"]["batches"] == batches
        graph = (model.folder / "saved_model.pb").read_bytes()
        assert (b"BatchFunction" in graph) == bool(batches)
        if batches:
            variable = "_detected/fastest/.ATTRIBUTES/VARIABLE_VALUE"
            kept = tf.train.load_variable(str(model.folder / "variables" / "variables"), variable)
            assert np.isinf(kept), "it is measured where the model is served"


def test_a_number_that_was_asked_for_is_the_same_on_every_machine() -> None:
    from petbox.export.batching import Batches, asked_for

    assert asked_for(None, 5) == Batches(8, 5, 2)
    assert asked_for(8, 5) == Batches(8, 5)
    assert asked_for(1, 5) is None


def test_an_invalid_image_in_a_batch_fails_only_its_own_request(
    plain: Exported, batching: Exported
) -> None:
    requests = [file(noise(200 + 10 * n, 150, n)) for n in range(16)]
    expected = [_of(plain(image), 0) for image in requests]
    requests[5] = requests[11] = BROKEN
    answers = _at_once(batching, [_example(image) for image in requests])
    for at, (answer, alone) in enumerate(zip(answers, expected, strict=True)):
        if at in (5, 11):
            assert "image 0 of the request is corrupt or truncated" in str(answer)
        else:
            _same(_of(answer, 0), alone)


def test_a_request_that_is_alone_does_not_queue(batching: Exported) -> None:
    image = _example(IMAGES[0])
    for _ in range(2):
        assert "BatchFunction" not in batching.ran(image)
        assert "BatchFunction" in batching.ran(*[image] * 5), "more than a batch of 4"
        batching.rejection(_example(BROKEN), image)
    busy = threading.Event()

    def ask() -> None:
        while not busy.is_set():
            batching(image)

    others = [threading.Thread(target=ask) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        queued = (("BatchFunction" in batching.ran(image)) for _ in range(100))
        assert any(queued)
    finally:
        busy.set()
        for thread in others:
            thread.join()
    assert "BatchFunction" not in batching.ran(image)


@pytest.mark.parametrize(
    ("slow", "if_slow", "sizes"), [(0.0, 2, [2, 2]), (1e9, 2, [4]), (0.0, None, [4])]
)
def test_a_slow_network_has_smaller_batches(
    slow: float, if_slow: int | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox.export import batching
    from petbox.tf import tf, traced

    seen = []

    def network(rows: Any) -> Any:
        seen.append(len(rows))
        return rows

    def body(rows: Any) -> Any:
        return (tf.ensure_shape(tf.py_function(network, [rows], tf.float32), [None]),)

    monkeypatch.setattr(batching, "SLOW", slow)
    a_minute = 60_000_000  # so that only full batches are computed
    batches = batching.Batches(4, a_minute, if_slow)
    batched = batching.Batched(traced(body, tf.TensorSpec([None])), batches, 64)
    call = tf.function(batched, input_signature=[tf.TensorSpec([None])])
    assert call([7.0])[0].numpy() == [7], "alone, which measures it"
    batched.calls.assign(1)  # from now on none is alone
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda row: call([row])[0].numpy().tolist(), (0.0, 1.0, 2.0, 3.0))]
    assert answers == [[0], [1], [2], [3]]
    assert seen == [1, *sizes]


def _at_once(model: Exported, requests: list[bytes]) -> list[Any]:
    answers: list[Any] = [None] * len(requests)
    ready = threading.Barrier(len(requests))

    def ask(at: int) -> None:
        ready.wait()
        try:
            answers[at] = model(requests[at])
        except Exception as error:
            answers[at] = error

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_requests_larger_than_a_batch_are_split_and_put_together_in_order(
    plain: Exported, batching: Exported
) -> None:
    images = [file(noise(150, 100 + 7 * n, n)) for n in range(11)]
    whole = batching(*map(_example, images))
    for at, image in enumerate(images):
        _same(_of(whole, at), _of(plain(image), 0))


# The exporter


def test_a_model_that_differs_from_its_checkpoint_is_rejected(
    trained: Path, plain: Exported
) -> None:
    from petbox.export import canvases, verify
    from petbox.training import checkpoints, runs
    from petbox.training import config as training_config

    config = training_config.load_config(runs.read(trained))
    other = checkpoints.restored(config, runs.read(trained))
    for variable in other.detection_head.trainable_variables:
        variable.assign(variable * 1.1)
    images = verify.images(None, 2)
    whole = canvases.whole(*config.task.model.input_size[:2])
    task, call = training_config.task(config), verify.caller(other)
    answers = verify.evaluated(task, call, images.examples, [whole])
    with pytest.raises(PetboxError, match=r"differs from its checkpoint on scene_0.jpg of drawn"):
        verify.check(plain.folder, STRINGS, images, answers, "its checkpoint")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"order": [1, 0, 2]}, ""),
        ({"boxes": 0.0009}, ""),
        ({"scores": 0.0009}, ""),
        ({"order": [0, 1]}, ""),  # the last one hardly made it
        ({"boxes": 0.002}, "class 1 with 0.9000 at [0.1000, 0.1000, 0.4000, 0.4000] in the eval"),
        ({"scores": 0.002}, "class 1 with 0.9000"),
        ({"classes": 1}, "class 1 with 0.9000"),
        ({"order": [1, 2]}, "class 1 with 0.9000"),
        ({"order": [0, 0, 1, 2]}, "class 1 with 0.9000 at [0.1000, 0.1000, 0.4000, 0.4000] in the"),
        ({"order": []}, "nothing in the export"),
    ],
)
def test_differences_are_reported_by_detection(change: dict[str, Any], message: str) -> None:
    from petbox.export.verify import Found, compared

    boxes = np.array([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0, 0, 1, 1]], np.float32)
    classes, scores = np.array([1, 2, 1], np.float32), np.array([0.9, 0.8, 0.05], np.float32)
    order = np.array(change.get("order", [0, 1, 2]), int)
    found = Found(
        (boxes + change.get("boxes", 0))[order],
        (classes + change.get("classes", 0))[order],
        (scores + change.get("scores", 0))[order],
    )
    said = compared(Found(boxes, classes, scores), found)[2]
    assert message in said
    assert bool(message) == bool(said)


def test_a_label_map_of_another_network_is_rejected(trained: Path, tmp_path: Path) -> None:
    for names in ({1: "cat"}, {**NAMES, 4: "newt"}):
        folder = tmp_path / str(len(names))
        shutil.copytree(trained, folder)
        labels.write(folder / labels.FILE_NAME, names)
        with pytest.raises(PetboxError, match=f"highest id is {max(names)}, but .* has 3 classes"):
            exported(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pipeline_config_of_another_network_is_rejected(trained: Path, tmp_path: Path) -> None:
    from petbox.export import exporter

    path = tmp_path / "pipeline.config"
    for classes, message in (
        (37, "num_classes is 37, but"),
        (3, "its backbone is resnet 101, but"),
    ):
        path.write_text(
            f"model {{ faster_rcnn {{ num_classes: {classes} "
            "feature_extractor { type: 'faster_rcnn_resnet101' } } }"
        )
        with pytest.raises(PetboxError, match=message):
            exporter.export_inference_graph(STRINGS, path, trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--run", "{run}", "--out", "{run}"), "end the path with a whole number"),
        (("--run", "{run}", "--out", "{tmp}/1", "--output_directory", "{tmp}/2"), "one of them"),
        (("--out", "{tmp}/1"), "--run or --trained-checkpoint-dir or --trained-checkpoint-prefix"),
        (("--trained_checkpoint_prefix", "{run}/ckpt-7", "--out", "{tmp}/1"), "no checkpoint"),
        (("--run", "{run}", "--output_directory", "{run}"), "{run}: exists already"),
    ],
)
def test_what_cannot_be_exported_is_said_before_tensorflow_is_loaded(
    flags: tuple[str, ...], message: str, trained: Path, tmp_path: Path, run: Any
) -> None:
    places = {"{run}": str(trained), "{tmp}": str(tmp_path)}

    def placed(text: str) -> str:
        for name, path in places.items():
            text = text.replace(name, path)
        return text

    done = run("export/exporter_savedmodel.py", *map(placed, flags))
    assert done.returncode == 1
    assert placed(message) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def _of(answer: dict[str, Any], at: int) -> dict[str, Any]:
    count = int(answer["num_detections"][at])
    return {k: v[at, :count] for k, v in answer.items() if k != "num_detections"}


def _same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)


def _example(image: bytes) -> bytes:
    from petbox.tf import tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return bytes(tf.train.Example(features=features).SerializeToString())
