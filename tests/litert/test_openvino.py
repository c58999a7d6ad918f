"""The detector converted to OpenVINO: the SavedModel's results, in floats and in 8 bits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CHECKOUT
from support import openvino_models
from support.exporting import Exported, file, noise
from support.multi_model import multi_model_endpoint
from support.ports import free_port
from support.random_detector import SIZES, check_same_as_saved
from support.serving import LONG, WITHOUT_LUA, Program, post, started
from support.training_runs import drawn_records
from support.without_tensorflow import python_path

from petbox.client.detector import Detector
from petbox.errors import DataError, InvalidImage, MissingExtra, ModelError
from petbox.litert import bundle
from petbox.litert.detector import LiteDetector
from petbox.serving import requirements

pytest.importorskip("openvino", reason="pip install './[openvino]'")

IMAGE = file(noise(300, 200))
# As the package that both of Intel's would call at each conversion.
TOLD = "raise SystemExit('somebody is told about the conversion')\n"


@pytest.fixture(scope="module")
def convert(
    trained: Path, run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """The command, where Intel's telemetry is installed."""
    telemetry = tmp_path_factory.mktemp("path")
    (telemetry / "openvino_telemetry.py").write_text(TOLD)

    def command(out: Path, *words: object) -> subprocess.CompletedProcess[str]:
        words = (f"--run={trained}", f"--out={out}", "--to=openvino", *words)
        path = f"{telemetry}:{CHECKOUT}"
        env = {**os.environ, "PYTHONPATH": path}
        done: subprocess.CompletedProcess[str] = run("export/to_litert.py", *words, env=env)
        return done

    return command


@pytest.fixture(scope="module")
def floats(trained: Path, convert: Callable[..., Any]) -> Path:
    out = trained.with_name("floats")
    done = convert(out, "--form=float32", "--max-megapixels=9")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    first, second, third = done.stderr.splitlines()
    assert first.startswith("loading TensorFlow") and second.startswith("converted; comparing")
    assert "confident detections reproduced, boxes within" in third
    return out


@pytest.mark.parametrize("size", SIZES)
def test_it_finds_what_the_saved_model_finds(
    floats: Path, saved: Exported, size: tuple[int, int]
) -> None:
    check_same_as_saved(LiteDetector(floats), saved, size)


def test_8_bits_that_lose_too_much_are_not_written(
    trained: Path, convert: Callable[..., Any], run: Callable[..., Any]
) -> None:
    """The scores of random weights do; a trained detector's are in test_retinanet."""
    out = trained.with_name("eight")
    done = convert(out, f"--records={drawn_records(trained.parent / 'drawn', run)}")
    assert re.search(r"^calibrate: 14/14 images ", done.stderr, re.MULTILINE), done.stderr
    assert done.stderr.endswith("nothing was written; try --form float32\n")
    assert (done.returncode, done.stdout, out.exists()) == (1, "", False)


def test_it_is_calibrated_on_the_first_training_images(
    trained: Path, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox.data import records
    from petbox.litert import calibration
    from petbox.training import runs

    drawn = drawn_records(tmp_path, run)
    whole = [example.encoded for example in records.examples(drawn, "train")]
    assert calibration.files(runs.read(trained), drawn) == whole
    monkeypatch.setattr(calibration, "IMAGES", 5)
    assert calibration.files(runs.read(trained), drawn) == whole[:5]


def test_without_nncf_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from petbox.litert import openvino

    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # as it was, afterwards
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtra, match=r"nncf is not .*: pip install './\[convert\]'"):
        openvino.check_installed()


def test_the_folder_says_what_it_is(floats: Path) -> None:
    about = bundle.read(floats)
    assert (about.form, about.most_pixels) == ("float32", 9_000_000)
    assert about.made["checkpoint"] == "ckpt-2" and "openvino" in about.made


def test_without_training_images_it_says_what_to_do(
    convert: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    done = convert(tmp_path / "out")
    assert done.returncode == 1
    wanted = "is calibrated on training images; pass --records with some, or --form float32"
    assert done.stderr.splitlines()[-1].endswith(wanted) and str(trained) in done.stderr
    assert not (tmp_path / "out").exists()


def test_neither_tensorflow_nor_litert_is_imported(floats: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(IMAGE)
    program = (
        "import sys, petbox; petbox.Detector(model=sys.argv[1]).detect(sys.argv[2]); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, floats, tmp_path / "picture.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stderr == ""
    loaded = set(done.stdout.split())
    assert {"openvino", "numpy", "PIL"} <= loaded
    assert not {"boto3", "tensorflow", "ai_edge_litert", "nncf", "official"} & loaded


@pytest.mark.parametrize("threads", [1, 2])
def test_it_has_the_threads_it_was_given(tmp_path: Path, threads: int) -> None:
    import openvino

    folder, seen = openvino_models.constant(tmp_path / "model"), []
    compiled = openvino.Core.compile_model

    def compile_model(*words: Any) -> Any:
        seen.append(made := compiled(*words))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino.Core, "compile_model", compile_model)
        LiteDetector(folder, threads)
    assert seen[0].get_property("INFERENCE_NUM_THREADS") == threads
    assert not seen[0].get_property("ENABLE_CPU_PINNING")
    assert seen[0].get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_it_may_be_called_from_many_threads(floats: Path) -> None:
    detector = LiteDetector(floats)
    images = [file(noise(200 + 10 * seed, 150, seed), "PNG") for seed in range(4)] * 6
    alone = [detector.detect(image) for image in images]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(detector.detect, images)) == alone


def test_odd_images_are_read_or_rejected_as_by_litert(tmp_path: Path, data: Path) -> None:
    from petbox.serving.demo.command import MODEL

    def answer(detector: LiteDetector, image: bytes) -> str:
        try:
            detector.detect(image)
        except InvalidImage as rejection:
            return str(rejection)
        return "read"

    both = [LiteDetector(openvino_models.constant(tmp_path / "model")), LiteDetector(MODEL)]
    paths = [path for path in (data / "odd_images").iterdir() if path.suffix != ".txt"]
    assert len(paths) > 30
    for path in paths:
        here, there = (answer(detector, path.read_bytes()) for detector in both)
        assert here == there, path.name


# What is wrong with a run, or with a folder


def test_a_network_that_openvino_lacks_an_op_for_is_rejected(tmp_path: Path) -> None:
    from petbox.litert import openvino
    from petbox.tf import tf

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, bundle.CORNERS)])
    def detect(corners: Any) -> dict[str, Any]:
        return {bundle.BOXES: tf.raw_ops.Betainc(a=corners, b=corners, x=corners)}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={bundle.SIGNATURE: detect})
    with pytest.raises(ModelError, match=r"cannot be converted to OpenVINO \(.*Betainc"):
        openvino.converted(tmp_path)


def test_records_without_training_images_are_named(trained: Path, tmp_path: Path) -> None:
    from petbox.data import labels, records
    from petbox.litert import calibration
    from petbox.training import runs

    told = records.RecordsInfo("photos", 0, {1: "pug"}, {}, {"train": 0}, {}, {})
    labels.write(tmp_path / labels.FILE_NAME, told.labels)
    records.write_info(tmp_path, told)
    with pytest.raises(DataError, match=r": has no training records, .* pass --records with some"):
        calibration.files(runs.read(trained), tmp_path)


def test_images_that_the_detector_rejects_are_left_out(tmp_path: Path) -> None:
    from petbox.litert import calibration

    about = bundle.read(openvino_models.constant(tmp_path / "model"))
    (one,) = calibration.inputs([b"nothing", IMAGE], about)
    assert one[bundle.IMAGE].shape == (1, 32, 32, 3) and one[bundle.CORNERS].shape == (1, 4)
    with pytest.raises(DataError, match="rejects all training images"):
        calibration.inputs([b"nothing"], about)


def test_an_engine_that_is_not_installed_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox.serving.model_server.litert_engine import LiteRT

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"openvino is not .*: pip install './\[openvino\]'"):
        LiteRT.of(model / "3").load(model / "3")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.xml", b"nonsense", r"model.xml: OpenVINO rejects it \(.*\); convert it again"),
        ("model.xml", b"", r"model.xml: OpenVINO rejects it \(.*\); convert it again"),
        ("model.bin", None, r"model.xml: OpenVINO rejects it \(Empty weights data .*\); convert"),
        ("model.bin", b"1", r"model.xml: OpenVINO rejects it \(Incorrect weights .*\); convert"),
        ("label_map.pbtxt", None, r"not a detector of `petbox convert`, it has no label_map"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = openvino_models.constant(tmp_path / "model")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        LiteDetector(folder)


def test_parts_of_two_conversions_are_noticed(tmp_path: Path) -> None:
    folder = openvino_models.constant(tmp_path / "model")
    about = folder / bundle.ABOUT
    about.write_text(about.read_text().replace('"padded": [32, 32]', '"padded": [64, 64]'))
    with pytest.raises(ModelError, match=r"takes \(1, 32, 32, 3\), but detector.json .* \(64"):
        LiteDetector(folder)


# Served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino") / "mein Modell für Hunde"
    openvino_models.constant(folder / "3")
    return folder


@pytest.fixture(scope="module", params=["nginx", "reduced"])
def served(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Program]]:
    """By both gateways."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    absent = python_path(folder / "absent", CHECKOUT)
    (folder / "absent/ai_edge_litert.py").write_text("raise ModuleNotFoundError\n")
    program = ["-m", "petbox"] if request.param == "nginx" else ["-c", WITHOUT_LUA]
    command = [sys.executable, *program, "serve", str(model), f"--port={port}"]
    with started(command, folder / "run", PYTHONPATH=absent) as program:
        assert program.line() == f"http://localhost:{port}/", program.errors.read_text()
        yield port, program


def test_it_answers_behind_both_gateways(served: tuple[int, Program]) -> None:
    (found,) = post(served[0], IMAGE, "image/jpeg").json()["predictions"]
    assert (found["num_detections"], found["detection_scores"]) == (1.0, [0.875])


def test_the_log_and_the_metrics_name_the_engine(served: tuple[int, Program]) -> None:
    port, program = served
    if "nginx with Lua is not installed" in (log := program.errors.read_text()):
        return  # it has neither
    said = re.search(r"version 3 of model is ready on (OpenVINO \d[\d.]*)\n", log)
    assert said
    text = requests.get(f"http://localhost:{port}/metrics", timeout=LONG).text
    assert f'petbox_model_info{{model="model",version="3",engine="{said[1]}"}} 1' in text


def test_on_a_multi_model_endpoint_it_is_loaded_beside_litert(model: Path, tmp_path: Path) -> None:
    from petbox.serving.demo.command import MODEL

    with multi_model_endpoint(tmp_path) as endpoint:
        endpoint.loaded("lite", MODEL)
        endpoint.loaded("openvino", model)
        found = endpoint.invoke("openvino", IMAGE, "image/jpeg").json()["predictions"]
        assert found[0]["detection_scores"] == [0.875]
        assert endpoint.invoke("lite", IMAGE, "image/jpeg").status_code == 200


def test_it_is_loaded_into_a_program_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(IMAGE)
    (one,) = Detector(model=model).detect(tmp_path / "picture.jpg")
    assert (one.label, one.name, one.score) == (3, "Abyssinian", 0.875)


def test_without_the_engine_the_pip_line_is_given(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = requirements.importlib.util.find_spec
    monkeypatch.setattr(
        requirements.importlib.util,
        "find_spec",
        lambda name: None if name == "openvino" else find(name),
    )
    with pytest.raises(MissingExtra, match=r"openvino is not .*: pip install './\[openvino\]'"):
        requirements.lite_server_command(model / "3")


def test_a_folder_of_both_is_run_by_openvino(model: Path, tmp_path: Path) -> None:
    both = shutil.copytree(model / "3", tmp_path / "both")
    (both / bundle.NETWORK).touch()
    assert bundle.network(both).name == bundle.OPENVINO
    assert len(LiteDetector(both).detect(IMAGE)) == 1
