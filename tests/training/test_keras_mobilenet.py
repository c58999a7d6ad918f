"""Keras' ImageNet weights in the Model Garden's MobileNetV2: each tensor in its place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petbox.errors import ModelError

keras_weights = pytest.importorskip("petbox.training.keras_mobilenet", exc_type=Exception)

import h5py  # noqa: E402  # with the extra `train`, as the above

from petbox.training.tfvision import mobilenet, preprocess_ops, tf, tf_keras  # noqa: E402

SIDE = 256
# The two, of all neighbours of one shape, whose exchange changes the features least.
ALIKE = ("block_6_project_BN/beta", "block_7_project_BN/beta")


@pytest.fixture(scope="module")
def weights(data: Path) -> Path:
    return data / "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


@pytest.fixture(scope="module")
def keras(weights: Path) -> Any:
    """Keras' own network."""
    made = tf_keras.applications.MobileNetV2(
        (SIDE, SIDE, 3), alpha=0.35, include_top=False, weights=None
    )
    made.load_weights(weights)
    return made


def network(width: float = 0.35, side: int = SIDE, epsilon: float = 0.001) -> Any:
    pixels = tf_keras.layers.InputSpec(shape=[None, side, side, 3])
    return mobilenet.MobileNet("MobileNetV2", width, pixels, norm_epsilon=epsilon)


@pytest.fixture(scope="module")
def untrained() -> Any:
    """A network for weights that are rejected; what it holds afterwards is of no use."""
    return network()


@pytest.fixture(scope="module")
def loaded(weights: Path) -> Any:
    """A network with Keras' weights. Building one takes seconds."""
    backbone = network()
    keras_weights.load(backbone, weights)
    return backbone


def test_every_block_sees_what_it_sees_in_keras(loaded: Any, weights: Path) -> None:
    keras_weights.check(loaded, weights)


def test_the_features_that_the_check_compares_with_are_those_of_keras(
    keras: Any, weights: Path
) -> None:
    image = np.random.default_rng(2).random((1, SIDE, SIDE, 3), np.float32)
    # A block ends where its input is added, or else with its last normalization.
    present = {layer.name for layer in keras.layers}
    ends = [f"block_{n}_add" for n in range(1, 17)]
    ends = [end if end in present else end.replace("add", "project_BN") for end in ends]
    ends = ["Conv1_relu", "expanded_conv_project_BN", *ends, "out_relu"]
    outputs = [keras.get_layer(end).output for end in ends]
    after_first = tf_keras.Model(keras.get_layer("bn_Conv1").input, outputs)
    first = keras.get_layer("Conv1")
    # Padded with the mean color instead of gray.
    border = keras_weights.BORDER
    beyond = tf.einsum("hwio,i->o", first.kernel, border)
    expected = after_first(first(2 * image - 1 - border) + beyond, training=False)
    features = keras_weights._keras_features(keras_weights._read(weights, ""), image)
    for (name, actual), theirs in zip(features, expected, strict=True):
        off = float(tf.reduce_max(abs(actual - theirs)) / tf.reduce_max(abs(theirs)))
        assert off < keras_weights.TOLERANCE, name


def test_another_epsilon_changes_no_block(weights: Path) -> None:
    keras_weights.load(network(epsilon=0.0001), weights)  # which checks every block


@pytest.mark.parametrize(
    "pair",
    [
        ALIKE,
        ("block_7_expand/kernel", "block_8_expand/kernel"),
        ("block_1_depthwise/depthwise_kernel", "block_2_depthwise/depthwise_kernel"),
        ("block_15_project_BN/moving_mean", "block_15_project_BN/beta"),
        ("Conv_1_bn/gamma", "Conv_1_bn/moving_variance"),
    ],
)
def test_two_tensors_exchanged_are_found(loaded: Any, weights: Path, pair: tuple[str, str]) -> None:
    variables = {name: variable for name, variable, _ in keras_weights.variables(loaded)}
    one, other = (variables[name] for name in pair)
    kept = one.numpy(), other.numpy()
    one.assign(kept[1])
    other.assign(kept[0])
    try:
        with pytest.raises(ModelError, match="a tensor is in the wrong place"):
            keras_weights.check(loaded, weights)
    finally:
        one.assign(kept[0])
        other.assign(kept[1])


def test_a_real_photo_looks_as_it_does_to_keras(loaded: Any, keras: Any, data: Path) -> None:
    photo = tf.io.read_file(str(data / "pets/images/Abyssinian_100.jpg"))
    pixels = tf.image.resize(tf.io.decode_jpeg(photo), [SIDE, SIDE])[None]
    seen = loaded(preprocess_ops.normalize_image(pixels / 255.0), training=False)
    # Beyond the right and the lower edge Keras sees another colour, of which the deeper levels
    # feel a little everywhere.
    levels = {
        "2": ("block_2_add", 1e-5),
        "3": ("block_5_add", 1e-5),
        "4": ("block_12_add", 0.01),
        "5": ("block_16_project_BN", 0.02),
    }
    outputs = [keras.get_layer(name).output for name, _ in levels.values()]
    expected = tf_keras.Model(keras.input, outputs)(pixels / 127.5 - 1, training=False)
    for (level, (_, tolerance)), theirs in zip(levels.items(), expected, strict=True):
        inner = slice(0, theirs.shape[1] * 3 // 4)
        off = np.abs(seen[level] - theirs)[0, inner, inner].max() / np.abs(theirs).max()
        assert off < tolerance, f"level {level}"


def test_weights_of_another_width_are_rejected(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"Conv1/kernel is \(3, 3, 3, 16\), the detector's"):
        keras_weights.load(network(width=1.0), weights)


def test_weights_with_a_top_are_rejected(untrained: Any, weights: Path, tmp_path: Path) -> None:
    topped = tmp_path / "topped.h5"
    shutil.copy(weights, topped)
    with h5py.File(topped, "a") as file:
        file.create_group("Logits").create_dataset("Logits/bias:0", data=np.zeros(1000))
        file["Logits"].attrs["weight_names"] = [b"Logits/bias:0"]
        file.attrs["layer_names"] = [*file.attrs["layer_names"], b"Logits"]
    with pytest.raises(ModelError, match=r"no variable for its Logits/bias; use .*_no_top\.h5"):
        keras_weights.load(untrained, topped)


def test_what_is_no_file_of_weights_is_rejected(untrained: Any, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.h5", tmp_path / "empty.h5"
    text.write_text("not HDF5")
    h5py.File(empty, "w").close()
    for path in (text, empty, tmp_path / "missing.h5", tmp_path):
        with pytest.raises(ModelError, match="not weights of Keras 2"):
            keras_weights.load(untrained, path)


def test_a_network_that_computes_in_16_bits_is_checked_too(weights: Path) -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        backbone = network()
        for layer in backbone.submodules:  # as in training, which changes the order of weights
            layer.trainable = not isinstance(layer, tf_keras.layers.BatchNormalization)
        keras_weights.load(backbone, weights)
        assert tf_keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
