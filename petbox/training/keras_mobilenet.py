"""Loads ImageNet weights of Keras' MobileNetV2 into the Model Garden's MobileNetV2.

The two are one network with other names and other preprocessing: Keras scales pixels by
x / 127.5 - 1, the Model Garden by ImageNet's mean and standard deviation. The first convolution and
its batch normalization absorb that. One difference remains: the padding of an image is gray in
Keras, and the mean color in the Model Garden.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from petbox.errors import ModelError
from petbox.training.tfvision import preprocess_ops, tf, tf_keras

EPSILON = 0.001  # of Keras' batch normalization
# Of a block's largest feature; float32 needs a tenth of it, and any swap causes six times it.
TOLERANCE = 3e-5
MEAN = np.array(preprocess_ops.MEAN_NORM, np.float32)
DEVIATION = np.array(preprocess_ops.STDDEV_NORM, np.float32)
BORDER = 2 * MEAN - 1  # the mean color as scaled by Keras
RIGHT_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_224_no_top.h5"

# Keras' names and the form of the network.
BLOCKS = ("expanded_conv", *(f"block_{number}" for number in range(1, 17)))
HALVING = (1, 3, 6, 13)  # indices of blocks
PARTS = ("gamma", "beta", "moving_mean", "moving_variance")  # of a batch normalization


def load(backbone: Any, path: Path) -> None:
    """Loads and checks every variable of `backbone` from the file `path`."""
    right = _right(backbone)
    tensors = _read(path, right)
    for name, variable, epsilon in variables(backbone):
        if (tensor := tensors.pop(name, None)) is None:
            raise ModelError(f"{path}: has no {name}, so it is not a MobileNetV2; use {right}")
        if tensor.shape != tuple(variable.shape):
            raise ModelError(
                f"{path}: its {name} is {tensor.shape}, the detector's {tuple(variable.shape)}: "
                f"another width; use {right}"
            )
        variable.assign(tensor + EPSILON - epsilon if name.endswith("variance") else tensor)
    if tensors:
        raise ModelError(f"{path}: no variable for its {next(iter(tensors))}; use {right}")
    _absorb_pixels(*next(_layers(backbone)))
    check(backbone, path)


def check(backbone: Any, path: Path) -> None:
    """Rejects a `backbone` whose features differ, in any block, from Keras' with the file `path`.

    Keras' are computed from the file, so this does not depend on `load`. Both are in float32.
    """
    policy = tf_keras.mixed_precision.global_policy()
    if policy.name != "float32":
        tf_keras.mixed_precision.set_global_policy("float32")
        try:
            specs = tf_keras.layers.InputSpec(shape=backbone.input_shape)
            twin = type(backbone)(input_specs=specs, **backbone.get_config())
            for (_, ours, _), (_, theirs, _) in zip(
                variables(twin), variables(backbone), strict=True
            ):
                ours.assign(theirs)
            check(twin, path)
        finally:
            tf_keras.mixed_precision.set_global_policy(policy)
        return
    image = np.random.default_rng(1).random((1, *backbone.input_shape[1:]), np.float32)
    ours = tf_keras.Model(backbone.input, [block.output for block in _blocks(backbone)])
    features = ours((image - MEAN) / DEVIATION, training=False)
    tensors = _read(path, _right(backbone))
    for ours_of, (name, theirs) in zip(features, _keras_features(tensors, image), strict=True):
        off, most = float(tf.reduce_max(abs(ours_of - theirs))), float(tf.reduce_max(abs(theirs)))
        if not off <= TOLERANCE * most:
            raise ModelError(
                f"{path}: the features of {name} differ from Keras' (by {off:.2g}, the largest "
                f"is {most:.2g}); a tensor is in the wrong place"
            )


def _right(backbone: Any) -> str:
    return RIGHT_FILE.format(backbone.get_config()["filter_size_scale"])


def _read(path: Path, right: str) -> dict[str, Any]:
    """The file's tensors as LAYER/TENSOR, in the HDF5 form of Keras 2."""
    try:
        with h5py.File(path) as file:
            return {
                os.fsdecode(tensor).removesuffix(":0"): np.array(file[layer][tensor])
                for layer in file.attrs["layer_names"]
                for tensor in file[layer].attrs["weight_names"]
            }
    except (OSError, KeyError) as error:
        raise ModelError(f"{path}: not weights of Keras 2 ({error}); use {right}") from error


def variables(backbone: Any) -> Iterator[tuple[str, Any, float]]:
    """Keras' name of each tensor, its variable, and the variable's epsilon."""
    names = zip(_keras_layers(), _layers(backbone), strict=True)
    for (convolved, normalized), (convolution, norm) in names:
        (kernel,) = convolution.weights
        deep = isinstance(convolution, tf_keras.layers.DepthwiseConv2D)
        yield f"{convolved}/{'depthwise_kernel' if deep else 'kernel'}", kernel, 0.0
        for part in PARTS:
            yield f"{normalized}/{part}", getattr(norm, part), norm.epsilon


def _keras_layers() -> Iterator[tuple[str, str]]:
    """Keras' names of the convolutions in order, each with its batch normalization's."""
    yield "Conv1", "bn_Conv1"
    for number, block in enumerate(BLOCKS):
        for part in ("expand", "depthwise", "project"):
            if number or part != "expand":  # the first block has no expansion
                yield f"{block}_{part}", f"{block}_{part}_BN"
    yield "Conv_1", "Conv_1_bn"


def _blocks(backbone: Any) -> list[Any]:
    return [layer for layer in backbone.layers if layer.weights]


def _layers(backbone: Any) -> Iterator[tuple[Any, Any]]:
    """The same convolutions in the Model Garden's network, each with its batch normalization."""
    for block in _blocks(backbone):
        # In the order of their attributes: _conv0, _conv1, _conv2, _norm0, _norm1, _norm2.
        layers = [layer for layer in block.submodules if getattr(layer, "weights", None)]
        norms = [x for x in layers if isinstance(x, tf_keras.layers.BatchNormalization)]
        yield from zip((x for x in layers if x not in norms), norms, strict=True)


def _absorb_pixels(convolution: Any, norm: Any) -> None:
    """Adapts Keras' first convolution to the Model Garden's pixels.

    With v the Model Garden's pixel, Keras' is 2 (deviation v + mean) - 1: a factor for the kernel,
    and a constant, which the batch normalization subtracts with its mean.
    """
    (kernel,) = convolution.weights
    norm.moving_mean.assign_sub(tf.einsum("hwio,i->o", kernel, BORDER))
    kernel.assign(kernel * 2 * DEVIATION[:, None])


def _keras_features(tensors: Mapping[str, Any], image: Any) -> Iterator[tuple[str, Any]]:
    """The features of each block of Keras' network for an image in 0..1, with the block's name.

    Computed from the tensors by their names alone; to build Keras' own network takes longer than
    building the detector. The image is padded with the mean color instead of gray, as in the Model
    Garden.
    """

    def convolved(name: str, x: Any, stride: int = 1) -> Any:
        return tf.nn.conv2d(x, tensors[f"{name}/kernel"], stride, "SAME")

    def normalized(name: str, x: Any) -> Any:
        gamma, beta, mean, variance = (tensors[f"{name}/{part}"] for part in PARTS)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)

    features = convolved("Conv1", 2 * image - 1 - BORDER, 2)
    features += tf.einsum("hwio,i->o", tensors["Conv1/kernel"], BORDER)
    features = tf.nn.relu6(normalized("bn_Conv1", features))
    yield "Conv1", features
    for number, block in enumerate(BLOCKS):
        given, stride = features, 2 if number in HALVING else 1
        if number:
            features = convolved(f"{block}_expand", features)
            features = tf.nn.relu6(normalized(f"{block}_expand_BN", features))
        kernel = tensors[f"{block}_depthwise/depthwise_kernel"]
        features = tf.nn.depthwise_conv2d(features, kernel, [1, stride, stride, 1], "SAME")
        features = tf.nn.relu6(normalized(f"{block}_depthwise_BN", features))
        features = normalized(f"{block}_project_BN", convolved(f"{block}_project", features))
        if features.shape == given.shape:
            features += given
        yield block, features
    yield "Conv_1", tf.nn.relu6(normalized("Conv_1_bn", convolved("Conv_1", features)))
