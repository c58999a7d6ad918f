"""The detector converted to LiteRT: only its own ops, and the SavedModel's results.

The weights are random (tests/support/exporting.py). Both detectors have the same run and canvas.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image
from support import turned
from support.exporting import NAMES, Exported, file, noise
from support.hostile_images import bombs, memory, spent
from support.lambda_runtime import event
from support.random_detector import SIZES, alike, check_same_as_saved

from petbox.client.detector import Detector
from petbox.errors import InvalidImage, ModelError
from petbox.images import exif
from petbox.litert import bundle
from petbox.litert.detector import LiteDetector
from petbox.wire import Detection

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install './[litert]'")

# Read by Pillow and not by TensorFlow, or rejected in other words.
OTHERWISE = {"no_palette.gif", "decompression_bomb.gif"}


@pytest.fixture(scope="module")
def folder(trained: Path, run: Callable[..., Any]) -> Path:
    """The run, converted by the command."""
    out = trained.with_name("lite")
    done = run("export/to_litert.py", f"--run={trained}", f"--out={out}", "--form=float32")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert "confident detections reproduced, boxes within" in done.stderr.splitlines()[-1]
    return out


@pytest.fixture(scope="module")
def smaller(trained: Path) -> Path:
    from petbox.export.signatures import Settings
    from petbox.litert import convert as litert_convert
    from petbox.training import runs

    return litert_convert.convert(
        runs.read(trained), trained.with_name("smaller"), "int8", Settings()
    )


@pytest.fixture(scope="module")
def lite(folder: Path) -> LiteDetector:
    return LiteDetector(folder)


# What is in it


def test_the_thresholds_of_the_run_come_with_its_detections(lite: LiteDetector) -> None:
    found = lite.detect(file(noise(300, 200)))
    assert {one.threshold for one in found if one.name == "beagle"} == {0.75}
    assert {one.threshold for one in found if one.name != "beagle"} == {None}


@pytest.mark.parametrize("form", ["folder", "smaller"])
def test_only_builtin_operations_are_in_it(form: str, request: pytest.FixtureRequest) -> None:
    found = operations(request.getfixturevalue(form) / bundle.NETWORK)
    assert "NON_MAX_SUPPRESSION_V4" in found
    assert not {"CUSTOM", "DELEGATE"} & found
    assert not any(name.startswith(("Flex", "STABLEHLO")) for name in found)


def operations(path: Path) -> set[str]:
    """The names of the ops in the file, including custom ones."""
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAsModel(path.read_bytes(), 0)
    codes = [model.OperatorCodes(at) for at in range(model.OperatorCodesLength())]
    own = {names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes}
    return own | {code.CustomCode().decode() for code in codes if code.CustomCode()}


def test_the_folder_says_what_it_is(folder: Path, smaller: Path) -> None:
    about = bundle.read(folder)
    assert (about.form, about.canvas, about.most_pixels) == ("float32", (128, 128), 40_000_000)
    assert about.made["checkpoint"] == "ckpt-2"
    assert bundle.names(folder) == NAMES
    sizes = [(one / bundle.NETWORK).stat().st_size for one in (folder, smaller)]
    assert sizes[1] < 0.4 * sizes[0]


@pytest.mark.parametrize("each", [True, False])
def test_boxes_are_thinned_out_as_tensorflow_does_it(each: bool) -> None:
    """Three classes, with boxes of their own or shared; too few, none, too many."""
    from petbox.litert.nms import for_one_image
    from petbox.tf import tf

    rng = np.random.default_rng(1)
    boxes = rng.uniform(0, 60, (1, 80, 3 if each else 1, 4)).astype(np.float32)
    boxes[..., 2:] += boxes[..., :2]
    scores = rng.uniform(0, 1, (1, 80, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, *one.shape[1:]]) for one in (boxes, scores)])
    def thinned(boxes: Any, scores: Any) -> Any:
        found = [
            tf.image.combined_non_max_suppression(
                boxes, scores, most, most, 0.5, least, clip_boxes=False
            )
            for least, most in ((0.0, 64), (0.6, 30), (0.999999, 100), (0.2, 500))
        ]
        return tuple(tf.cast(part, tf.float32) for one in found for part in one)

    combined = thinned.get_concrete_function()
    plain = for_one_image(combined, [tf.TensorSpec(one.shape) for one in (boxes, scores)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([plain], tf.Module())
    network = litert.Interpreter(model_content=converter.convert())
    network.allocate_tensors()
    for taken in network.get_input_details():  # in any order
        network.set_tensor(taken["index"], boxes if len(taken["shape"]) == 4 else scores)
    network.invoke()
    found = [network.get_tensor(one["index"]) for one in network.get_output_details()]
    expected = [one.numpy() for one in combined(tf.constant(boxes), tf.constant(scores))]
    assert [int(one[0]) for one in expected[3::4]][1:3] == [30, 0]
    for one in expected:
        assert any(np.array_equal(one, other) for other in found)


# What it answers


@pytest.mark.parametrize("size", SIZES)
def test_it_finds_what_the_saved_model_finds(
    lite: LiteDetector, saved: Exported, size: tuple[int, int]
) -> None:
    check_same_as_saved(lite, saved, size)


@pytest.mark.parametrize("kind", turned.KINDS)
def test_a_turned_photo_has_the_boxes_of_the_upright_one(lite: LiteDetector, kind: str) -> None:
    upright, *others = turned.files(noise(304, 200), kind)
    expected = lite.detect(upright)
    assert len(expected) > 5
    for other in others:
        turned.check_same(lite.detect(other), expected)
    assert lite.detect(exif.as_stored(others[4])) != expected


def test_a_lambda_function_answers_the_same_for_a_turned_photo(lite: LiteDetector) -> None:
    """The handler of the zip, by an event of API Gateway; phones send JPEGs."""
    events = pytest.importorskip("petbox.lambdas.http_events", exc_type=Exception)
    handler = events.HttpEvents("detector", Detector(engine=lite, fit=True))
    context = SimpleNamespace(
        function_name="detector", memory_limit_in_mb=1, invoked_function_arn="", aws_request_id=""
    )

    numbers = {name: number for number, name in NAMES.items()}

    def answered(photo: bytes) -> list[Detection]:
        sent = {**event("api_gateway_v2"), "isBase64Encoded": True}
        sent |= {"body": base64.b64encode(photo).decode()}
        sent |= {"queryStringParameters": {"min_score": "0"}}
        response = handler(sent, context)
        assert response["statusCode"] == 200, response["body"]
        return [
            Detection(numbers[one["label"]], one["score"], tuple(one["box"]))
            for one in json.loads(response["body"])["detections"]
        ]

    upright, *others = turned.files(noise(304, 200), "JPEG")
    expected = answered(upright)
    assert len(expected) > 5
    for other in others:
        turned.check_same(answered(other), expected)


def test_something_is_found(lite: LiteDetector) -> None:
    found = lite.detect(file(noise(300, 200), "PNG"))
    assert len(found) > 5
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= edge <= 1 for one in found for edge in one.box)


def test_with_smaller_weights_nearly_the_same_is_found(lite: LiteDetector, smaller: Path) -> None:
    other = LiteDetector(smaller)
    expected, again = 0, 0
    for seed in range(6):
        image = file(noise(300, 200, seed), "PNG")
        found = other.detect(image)
        for one in lite.detect(image):
            if one.score > 0.5:
                expected += 1
                again += any(alike(one, two) for two in found)
    assert expected > 5
    assert again > 0.7 * expected, "of weights that are chance"


def test_it_stands_where_an_endpoint_does(lite: LiteDetector) -> None:
    found = Detector(engine=lite).detect(file(noise(300, 200)))
    assert found
    assert all(one.score >= 0.5 and one.name in NAMES.values() for one in found)


def test_it_may_be_called_from_many_threads(lite: LiteDetector) -> None:
    images = [file(noise(200 + 10 * seed, 150, seed), "PNG") for seed in range(4)] * 4
    alone = [lite.detect(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lite.detect, images)) == alone


def test_neither_tensorflow_nor_boto3_is_imported(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "picture.png"
    image.write_bytes(file(noise(300, 200), "PNG"))
    program = (
        "import sys; from pathlib import Path; from petbox.litert.detector import LiteDetector; "
        "found = LiteDetector(Path(sys.argv[1])).detect(Path(sys.argv[2]).read_bytes()); "
        "print(len(found)); print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, folder, image]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    found, loaded = done.stdout.splitlines()
    assert int(found) > 5
    assert {"ai_edge_litert", "numpy", "PIL"} <= set(loaded.split())
    assert not {"boto3", "tensorflow", "keras", "tf_keras", "official"} & set(loaded.split())


def test_the_servers_signatures_are_those_of_the_saved_model(folder: Path, saved: Exported) -> None:
    from petbox.serving.model_server.litert_engine import LiteRT
    from petbox.serving.model_server.signature_def import MetaGraphDef, definition_json

    model = LiteRT().load(folder)
    images = [file(noise(300, 200), "PNG"), file(noise(64, 501, 1), "PNG")]
    for name, signature in model.signatures.items():
        expected = saved(*images, signature=name)
        actual = model.run(name, {"inputs": np.array(images, object)})
        assert list(actual) == signature.outputs == sorted(expected)
        for key, value in actual.items():
            assert (value.shape, value.dtype) == (expected[key].shape, expected[key].dtype), key
        graph = MetaGraphDef()
        graph.signature_def[name].ParseFromString(saved.signatures[name].SerializeToString())
        stated = definition_json(graph.signature_def[name])
        for kind in ("inputs", "outputs"):
            of_saved, of_lite = stated[kind], signature.metadata[kind]
            assert [*of_saved] == [*of_lite]
            for key in of_saved:
                for fact in ("dtype", "tensor_shape"):
                    assert of_lite[key][fact] == of_saved[key][fact], (name, key)
        if name == "draw":
            sizes = [Image.open(io.BytesIO(jpeg)).size for jpeg in actual["image_bytes"]]
            assert sizes == [(300, 200), (64, 501)]


# Images of all kinds


def test_odd_images_are_read_or_rejected_as_by_the_saved_model(
    lite: LiteDetector, saved: Exported, data: Path
) -> None:
    outcome = {"read": 0, "rejected": 0}
    for path in sorted((data / "odd_images").iterdir()):
        if path.suffix in (".txt", ".json") or path.name in OTHERWISE:
            continue
        image = path.read_bytes()
        try:
            lite.detect(image)
        except InvalidImage as rejection:
            flaw = str(rejection).removeprefix("the image ")
            assert f"[image 0 of the request {flaw}]" in saved.rejection(image), path.name
            outcome["rejected"] += 1
        else:
            saved(image)
            outcome["read"] += 1
    assert outcome["read"] > 25 and outcome["rejected"] > 5, outcome


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_file_cut_off_is_rejected(lite: LiteDetector, kind: str) -> None:
    whole = file(Image.linear_gradient("L").convert("RGB"), kind)
    lite.detect(whole)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InvalidImage, match="the image is corrupt or truncated; send the"):
            lite.detect(whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    ("data_", "reason"),
    [
        (b"", "is empty"),
        (b"<html>this is a web page</html>", "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"RIFF\x20\0\0\0WAVEfmt " + bytes(40), "is not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"BM" + bytes(60), "has no pixels"),
        (b"GIF89a" + bytes(40), "is corrupt or truncated"),
        (file(noise(16, 16).convert("P"), "BMP"), "is a BMP with a palette or compression"),
    ],
)
def test_an_invalid_image_is_rejected(lite: LiteDetector, data_: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=f"^the image {reason}"):
        lite.detect(data_)


@pytest.mark.parametrize("data_", [pytest.param(data, id=name) for name, data, _ in bombs()])
def test_a_bomb_is_rejected_before_memory_is_spent_on_it(lite: LiteDetector, data_: bytes) -> None:
    def rejection(data: bytes) -> str:
        with pytest.raises(InvalidImage) as rejected:
            lite.detect(data)
        return str(rejected.value)

    said, bytes_ = spent(rejection, data_)
    assert re.search(r"more than the [46]\d000000 pixels allowed; scale it down", said)
    assert bytes_ < 20 * 2**20


def test_images_that_take_long_are_rejected(lite: LiteDetector) -> None:
    jpeg = file(noise(64, 64), progressive=True)
    at = jpeg.rindex(b"\xff\xc4", 0, jpeg.rindex(b"\xff\xda"))
    scan, end = jpeg[at:-2], jpeg[-2:]
    with pytest.raises(InvalidImage, match="has more than 100 scans; save it again"):
        lite.detect(jpeg[:-2] + scan * 100 + end)
    png = file(noise(64, 64), "PNG")
    with pytest.raises(InvalidImage, match="contains more than 16 text chunks; save it again"):
        lite.detect(png[:33] + b"zTXt" * 17 + png[33:])


def test_its_limits_are_those_of_the_saved_model() -> None:
    from petbox.export.decode import files as decode_files
    from petbox.export.decode import headers
    from petbox.litert import decode as litert_decode

    assert litert_decode.MOST_SCANS == headers.MOST_SCANS
    assert litert_decode.MOST_TEXTS == headers.MOST_TEXTS
    assert litert_decode.CORRUPT == decode_files.CORRUPT


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_pixels_are_those_of_tensorflow(kind: str, mode: str) -> None:
    from petbox.export.decode import files as decode_files
    from petbox.litert import decode as litert_decode

    image = noise(50, 40)
    if mode == "I;16":
        image = image.convert("I").point(lambda value: value * 256).convert(mode)
    elif mode in ("P", "1"):
        image = image.convert(mode)
    else:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.convert(mode)
    try:
        data = file(image, kind)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"{kind} has no {mode}")
    try:
        ours = litert_decode.pixels(data, 10_000)
    except InvalidImage:
        assert (kind, mode) in {("BMP", "1"), ("BMP", "L"), ("BMP", "P")}
        return
    assert np.array_equal(ours, decode_files.decode(0, data).numpy())


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_of_a_jpeg_are_those_of_the_more_exact_way(mode: str) -> None:
    """TensorFlow's default decoder is the other one, and so is the SavedModel's."""
    from petbox.litert import decode as litert_decode
    from petbox.tf import tf

    jpeg = file(noise(333, 250).convert(mode))
    exact = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    assert np.array_equal(litert_decode.pixels(jpeg, 100_000), exact)


@pytest.mark.parametrize(
    "size",
    [
        (400, 268),
        (250, 333),
        (1031, 777),
        (257, 600),
        (512, 256),
        (256, 131),
        (258, 129),
        (256, 256),
        (2000, 3),
        (1, 1),
    ],
)
def test_an_image_lies_on_its_canvas_as_in_training(lite: LiteDetector, size: Any) -> None:
    from petbox.export.trained import scaled
    from petbox.litert import preprocess
    from petbox.tf import tf

    pixels = np.asarray(noise(*size))
    for orientation in (1, 6, 7):
        image, corners = preprocess.fitted(pixels, lite.about, orientation)
        stored = tf.constant(pixels), tf.constant(orientation)
        expected, corner = scaled(*stored, lite.about.canvas, lite.about.padded)
        assert np.array_equal(corners[0], corner)
        assert np.abs(image[0] - expected).max() < 1e-5


def test_a_large_photo_costs_little_beside_its_pixels(lite: LiteDetector) -> None:
    photo = file(Image.new("RGB", (7000, 5500), "gray"))  # 115 MB of pixels
    lite.detect(file(noise(300, 200)))
    _, bytes_ = spent(lite.detect, photo)
    assert bytes_ < 320 * 2**20
    settled = memory("VmRSS")
    lite.detect(photo)
    assert memory("VmRSS") < settled + 16 * 2**20


# What is wrong with a folder, or a command


def test_a_folder_that_is_not_whole_is_rejected(folder: Path, tmp_path: Path) -> None:
    for name in (bundle.NETWORK, bundle.ABOUT, "label_map.pbtxt"):
        part = tmp_path / name
        shutil.copytree(folder, part)
        (part / name).unlink()
        with pytest.raises(
            ModelError, match=f"not a detector of `petbox convert`, it has no {name}; make"
        ):
            LiteDetector(part)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (bundle.NETWORK, b"nonsense", r"model.tflite: LiteRT rejects it \(.*\); convert"),
        (bundle.NETWORK, b"", r"model.tflite: LiteRT rejects it \(.*\); convert"),
        (bundle.ABOUT, b"{}", "detector.json: not as petbox convert writes it"),
        (bundle.ABOUT, b'{"canvas": 3}', "detector.json: not as petbox convert writes it"),
        (bundle.ABOUT, b"\xff", "detector.json: not as petbox convert writes it"),
        ("label_map.pbtxt", b"item {}", "label_map.pbtxt: line 1: this item has no id"),
    ],
)
def test_a_damaged_file_is_named(
    folder: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        LiteDetector(damaged)


def test_parts_of_two_conversions_are_noticed(folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    about = json.loads((mixed / bundle.ABOUT).read_text())
    (mixed / bundle.ABOUT).write_text(json.dumps({**about, "padded": [256, 256]}))
    with pytest.raises(ModelError, match=r"takes \(1, 128, 128, 3\), but detector.json .* \(256"):
        LiteDetector(mixed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=."], ".: exists already and is not overwritten"),
        ([], "gone: not a training run, it has no params.yaml"),
    ],
)
def test_a_wrong_command_is_answered_at_once(
    run: Callable[..., Any], tmp_path: Path, words: list[str], message: str
) -> None:
    gone, out = tmp_path / "gone", tmp_path / "out"
    done = run("export/to_litert.py", f"--run={gone}", f"--out={out}", *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(("detections", "least"), [(0, 0), (1, 1), (2, 2), (3, 2), (5, 4), (10, 8)])
def test_of_few_detections_one_may_differ(detections: int, least: int) -> None:
    from petbox.litert.convert import enough

    assert enough(least, detections)
    assert not least or not enough(least - 1, detections)
