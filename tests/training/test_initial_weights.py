"""Initial weights from the Model Garden: found, downloaded, each tensor in its place."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from petbox.errors import DataError, ModelError, ServiceError
from petbox.training import command, defaults, initial_weights, named_weights
from petbox.training.options import TrainOptions

garden = pytest.importorskip("petbox.training.tfvision", exc_type=Exception)

from official.vision.modeling.backbones import resnet  # noqa: E402  # with the extra `train`
from official.vision.modeling.classification_model import ClassificationModel  # noqa: E402

from petbox.training import config as training_config  # noqa: E402
from petbox.training.keras_mobilenet import RIGHT_FILE  # noqa: E402
from petbox.training.tfvision import exp_factory, tf, tf_keras  # noqa: E402

PIXELS = tf_keras.layers.InputSpec(shape=[None, 128, 128, 3])


def backbone(layers: int = 10, width: float = 0.25) -> Any:
    """A ResNet like those of the Model Garden's classifiers; all of its tensors differ.

    New statistics and factors are all 0 or all 1, which would hide one in another's place.
    """
    made = resnet.ResNet(layers, PIXELS, depth_multiplier=width)
    for number, variable in enumerate(made.variables):
        variable.assign(tf.random.stateless_uniform(variable.shape, [number, layers]))
    return made


def saved(prefix: Path, **parts: Any) -> Path:
    return Path(tf.train.Checkpoint(**parts).write(str(prefix)))


def classifier(prefix: Path, network: Any) -> Path:
    """As written by the Model Garden's trainer: the backbone inside the model, and beside it."""
    model = ClassificationModel(network, num_classes=3, input_specs=PIXELS)
    return saved(prefix, model=model, global_step=tf.Variable(9), **model.checkpoint_items)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("imagenet") / "ckpt-28080", backbone())


@pytest.fixture(scope="module")
def toy() -> Any:
    """The toy detector, whose backbone is that same network."""
    config = training_config.experiment("toy")
    config.task.model.num_classes = 3
    return training_config.task(config).build_model()


# Restoring


def test_a_classifiers_backbone_sees_in_a_detector_what_it_saw(
    checkpoint: Path, toy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    initial_weights.load({"backbone": toy.backbone}, checkpoint)
    assert "loaded backbone, " in capsys.readouterr().err
    image = tf.random.stateless_uniform([1, 128, 128, 3], [1, 2])
    epsilon = training_config.experiment("toy").task.model.norm_activation.norm_epsilon
    classifiers = resnet.ResNet(10, PIXELS, depth_multiplier=0.25, norm_epsilon=epsilon)
    classifiers.set_weights(backbone().get_weights())
    seen = toy.backbone(image, training=False)
    for level, theirs in classifiers(image, training=False).items():
        assert tf.reduce_all(abs(seen[level] - theirs) <= 1e-5 * abs(theirs)), level


def test_a_detectors_decoder_can_be_loaded_too(
    tmp_path: Path, toy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = saved(tmp_path / "ckpt-1", backbone=toy.backbone, decoder=toy.decoder)
    kept = [variable.numpy() for variable in toy.decoder.variables]
    for variable in toy.decoder.variables:
        variable.assign(variable + 1.0)
    initial_weights.load({"backbone": toy.backbone}, prefix)
    assert "; it also has decoder" in capsys.readouterr().err
    assert not tf.reduce_all(toy.decoder.variables[0] == kept[0]), "it was not requested"
    initial_weights.load({"backbone": toy.backbone, "decoder": toy.decoder}, prefix)
    for variable, value in zip(toy.decoder.variables, kept, strict=True):
        assert tf.reduce_all(variable == value)


def test_any_two_tensors_exchanged_are_found(checkpoint: Path, toy: Any) -> None:
    parts = {"backbone": toy.backbone}
    initial_weights.load(parts, checkpoint)
    by_shape: dict[tuple[int, ...], list[Any]] = {}
    for variable in toy.backbone.variables:
        by_shape.setdefault(tuple(variable.shape), []).append(variable)
    pairs = [(alike[0], alike[-1]) for alike in by_shape.values() if len(alike) > 1]
    assert len(pairs) > 3
    for one, other in pairs:
        first, second = one.numpy(), other.numpy()
        one.assign(second)
        other.assign(first)
        with pytest.raises(ModelError, match="a tensor is in the wrong place"):
            initial_weights.check(parts, checkpoint)
        one.assign(first)
        other.assign(second)
    initial_weights.check(parts, checkpoint)


def test_a_variable_left_as_it_was_is_found(checkpoint: Path, toy: Any) -> None:
    initial_weights.load({"backbone": toy.backbone}, checkpoint)
    last = toy.backbone.variables[-1]
    last.assign(tf.zeros_like(last))
    with pytest.raises(ModelError, match="differs from the checkpoint's"):
        initial_weights.check({"backbone": toy.backbone}, checkpoint)


@pytest.mark.parametrize(
    ("layers", "width", "message"),
    [
        (10, 0.5, r"kernel is \[7, 7, 3, 32\], not \[7, 7, 3, 16\]: of another network"),
        (18, 0.25, "of another network"),
        (50, 0.25, "of another network"),
    ],
)
def test_another_network_is_rejected_before_anything_is_used(
    tmp_path: Path, toy: Any, layers: int, width: float, message: str
) -> None:
    before = toy.backbone.get_weights()
    with pytest.raises(ModelError, match=message):
        initial_weights.load(
            {"backbone": toy.backbone}, classifier(tmp_path / "ckpt-1", backbone(layers, width))
        )
    for then, now in zip(before, toy.backbone.get_weights(), strict=True):
        assert (then == now).all()


def test_a_larger_network_that_begins_alike_is_rejected(tmp_path: Path) -> None:
    pixels = tf_keras.Input([4])
    dense = partial(tf_keras.layers.Dense, 4)
    small = tf_keras.Model(pixels, dense()(pixels))
    large = tf_keras.Model(pixels, dense()(dense()(pixels)))
    with pytest.raises(ModelError, match="no variable for its backbone/layer_with_weights-1/"):
        initial_weights.load({"backbone": small}, saved(tmp_path / "ckpt-1", backbone=large))


def test_a_checkpoint_without_a_backbone_is_rejected(tmp_path: Path, toy: Any) -> None:
    prefix = saved(tmp_path / "ckpt-1", model=tf_keras.Sequential([tf_keras.layers.Dense(2)]))
    with pytest.raises(ModelError, match="has no backbone, only model; name another"):
        initial_weights.load({"backbone": toy.backbone}, prefix)


def test_a_classifier_has_no_decoder_to_load(checkpoint: Path, toy: Any) -> None:
    with pytest.raises(ModelError, match="has no decoder, only backbone"):
        initial_weights.load({"decoder": toy.decoder}, checkpoint)


def test_the_object_detection_apis_checkpoints_are_rejected_by_name(
    tmp_path: Path, toy: Any
) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:  # of TensorFlow 1: names only
        tf.compat.v1.get_variable("FirstStageFeatureExtractor/resnet_v1_101/conv1/weights", [1])
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    network = tf.Module()
    network._feature_extractor = tf.Variable(1.0)  # of TensorFlow 2
    saved(tmp_path / "ckpt-0", model=network)
    for name in ("model.ckpt", "ckpt-0"):
        with pytest.raises(ModelError, match="a checkpoint of the Object Detection API, whose"):
            initial_weights.load({"backbone": toy.backbone}, tmp_path / name)


def test_a_damaged_checkpoint_is_rejected(checkpoint: Path, tmp_path: Path, toy: Any) -> None:
    for piece in initial_weights.PIECES:
        shutil.copy(f"{checkpoint}{piece}", tmp_path)
    prefix = tmp_path / checkpoint.name
    index = Path(f"{prefix}.index")
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(ModelError, match="remove it and download it again"):
        initial_weights.load({"backbone": toy.backbone}, prefix)
    shutil.copy(f"{checkpoint}.index", tmp_path)
    Path(f"{prefix}{initial_weights.PIECES[1]}").unlink()
    with pytest.raises(ModelError, match="remove it and download it again"):
        initial_weights.load({"backbone": toy.backbone}, prefix)


# Finding


def test_a_prefix_and_a_folder_mean_the_same_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    assert initial_weights.found(str(checkpoint), tmp_path) == checkpoint
    assert initial_weights.found(str(checkpoint.parent), tmp_path) == checkpoint


def test_of_a_run_the_best_checkpoint_is_used(tmp_path: Path) -> None:
    for folder, name in ((tmp_path, "ckpt-6"), (tmp_path / "best", "best_ckpt-4")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.index").touch()
        elsewhere = f'model_checkpoint_path: "/on/another/machine/{name}"\n'
        (folder / "checkpoint").write_text(elsewhere)
    assert initial_weights.found(str(tmp_path), tmp_path) == tmp_path / "best/best_ckpt-4"
    shutil.rmtree(tmp_path / "best")
    assert initial_weights.found(str(tmp_path), tmp_path) == tmp_path / "ckpt-6"


def test_what_is_not_weights_is_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("ckpt-1.index", "ckpt-2.index"):
        (tmp_path / "two" / name).touch()
    for name, message in {
        "text.h5": "not an HDF5 file",
        "missing.h5": "no such file",
        "missing": "no such file; expected a Model Garden checkpoint",
        "photo.jpg": "not a checkpoint; expected a",
        "empty": "has no checkpoint; expected a",
        "two": r"has several checkpoints \(ckpt-1, ckpt-2\); name one",
    }.items():
        with pytest.raises(ModelError, match=f"^{tmp_path / name}: {message}"):
            initial_weights.found(str(tmp_path / name), tmp_path)


# Fetching


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A folder, its URL, and the requested paths."""
    folder, requested = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            requested.append(self.path)

        def log_error(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield folder, f"http://127.0.0.1:{listening.server_port}", requested
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def test_an_archive_is_fetched_once_and_restored(
    checkpoint: Path, toy: Any, tmp_path: Path, server: tuple[Path, str, list[str]]
) -> None:
    folder, address, requested = server
    with tarfile.open(folder / "resnet-10.tar.gz", "w:gz") as archive:
        for piece in initial_weights.PIECES:
            archive.add(f"{checkpoint}{piece}", f"resnet-10/{checkpoint.name}{piece}")
    prefixes = {
        initial_weights.found(f"{address}/resnet-10.tar.gz", tmp_path / "kept") for _ in range(2)
    }
    assert requested == ["/resnet-10.tar.gz"]
    initial_weights.load({"backbone": toy.backbone}, prefixes.pop())
    assert not prefixes
    assert not list((tmp_path / "kept").rglob("*.tar.gz"))


def test_a_prefix_by_address_is_its_two_files(
    checkpoint: Path, tmp_path: Path, server: tuple[Path, str, list[str]]
) -> None:
    folder, address, requested = server
    for piece in initial_weights.PIECES:
        shutil.copy(f"{checkpoint}{piece}", folder)
    prefix = initial_weights.found(f"{address}/ckpt-28080?version=1", tmp_path / "kept")
    initial_weights.check({"backbone": backbone()}, prefix)
    assert requested == [f"/ckpt-28080{piece}?version=1" for piece in initial_weights.PIECES]


def test_keras_weights_come_by_address_too(
    tmp_path: Path, server: tuple[Path, str, list[str]]
) -> None:
    folder, address, _ = server
    (folder / "good.h5").write_bytes(initial_weights.HDF5)
    (folder / "bad.h5").write_text("something else")
    assert (
        initial_weights.found(f"{address}/good.h5", tmp_path).read_bytes() == initial_weights.HDF5
    )
    with pytest.raises(ModelError, match="not an HDF5 file"):
        initial_weights.found(f"{address}/bad.h5", tmp_path)
    (folder / "bad.h5").write_bytes(initial_weights.HDF5)
    initial_weights.found(f"{address}/bad.h5", tmp_path)  # the bad one was not kept


def test_an_address_without_weights_is_rejected(
    tmp_path: Path, server: tuple[Path, str, list[str]]
) -> None:
    with pytest.raises(ServiceError, match="answers 404"):
        initial_weights.found(f"{server[1]}/ckpt-1", tmp_path)
    with pytest.raises(ServiceError, match="not an address"):
        initial_weights.found("gs://bucket/ckpt-1", tmp_path)


# By name


def test_weights_come_by_name_and_are_compared_with_the_first_download(
    tmp_path: Path,
    server: tuple[Path, str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, address, requested = server
    preset = "faster_rcnn_mobilenet_v2_pets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(named_weights.ADDRESSES, preset, {"imagenet": f"{address}/small.h5"})
    (folder / "small.h5").write_bytes(initial_weights.HDF5 + b"one")
    options = TrainOptions(out=tmp_path / "run", preset=preset, init="imagenet")
    paths = {command.first_weights(options, None, tmp_path / "run.unfinished") for _ in range(2)}
    assert requested == ["/small.h5"]
    (found,) = (Path(str(path)) for path in paths)
    assert found.is_relative_to(tmp_path / "cache/petbox/weights")
    said = capsys.readouterr().err
    assert f"weights imagenet: {address}/small.h5" in said
    assert hashlib.sha256(found.read_bytes()).hexdigest() in said
    found.unlink()
    (folder / "small.h5").write_bytes(initial_weights.HDF5 + b"two")
    with pytest.raises(DataError, match=r"publisher replaced it, remove .*small\.h5\.sha256"):
        command.first_weights(options, None, tmp_path / "run.unfinished")


def test_weights_that_nobody_publishes_are_named(tmp_path: Path) -> None:
    options = TrainOptions(out=tmp_path, preset="faster_rcnn_resnet101_pets", init="imagenet")
    with pytest.raises(DataError, match="no public weights for faster_rcnn_resnet101_pets are"):
        command.first_weights(options, None, tmp_path)
    missing = dataclasses.replace(options, init=None)
    with pytest.raises(DataError, match=r"--init is missing: .* choose a PLACE with weights for"):
        command.first_weights(missing, None, tmp_path)
    assert command.first_weights(dataclasses.replace(options, init="none"), None, tmp_path) is None


def test_the_addresses_are_those_of_the_model_garden_and_keras() -> None:
    resnet50 = named_weights.ADDRESSES["faster_rcnn_resnet50_pets"]["imagenet"]
    stated = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco").task.init_checkpoint
    assert resnet50 == stated.replace("gs://", "https://storage.googleapis.com/")
    mobilenet = named_weights.ADDRESSES["faster_rcnn_mobilenet_v2_pets"]["imagenet"]
    keras = inspect.getmodule(tf_keras.applications.MobileNetV2)
    assert mobilenet.startswith(keras.BASE_WEIGHT_PATH)
    assert mobilenet.endswith(RIGHT_FILE.format(0.35))


def test_a_nested_checkpoint_is_found_by_the_file_that_names_it(tmp_path: Path) -> None:
    nested = tmp_path / "archive/retinanet"
    nested.mkdir(parents=True)
    for name in ("ckpt-1.index", "ckpt-2.index"):
        (nested / name).touch()
    (nested / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
    assert initial_weights.found(str(tmp_path / "archive"), tmp_path) == nested / "ckpt-2"


def test_drawings_are_trained_from_scratch_and_photos_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert defaults.preset(defaults.are_drawn(["Marmalade", "Midnight"])) == "toy"
    assert defaults.preset(defaults.are_drawn(["Marmalade", "cat"])) != "toy"
    defaults.check_initial_weights(None, "toy")
    said = capsys.readouterr().err
    assert "preset toy: for drawn images; others with --preset: faster_rcnn_" in said
    assert "weights: random initialization" in said
