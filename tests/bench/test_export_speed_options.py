"""What makes an exported model fast changes no answer: folding, and canvases without padding."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.exporting import NAMES, Exported, file, noise

from petbox.data import labels

# Lying, standing, square, very wide, and so nearly square that no smaller canvas holds it.
PICTURES = [
    file(noise(*size, at))
    for at, size in enumerate([(320, 240), (240, 320), (200, 200), (500, 60), (300, 270)])
]


def test_folding_leaves_the_network_as_it_was(small: Any) -> None:
    """All that it gives, not only what gets through the suppression."""
    from petbox.export.rewrite.fold_batchnorm import Weights, folded
    from petbox.training.tfvision import tf

    _, model = small
    shape = tf.constant([[256.0, 256.0]])

    def call(images: Any) -> tuple[Any, ...]:
        found = model(images, image_shape=shape, training=False)
        return (found["cls_outputs"], found["box_outputs"], *found["rpn_scores"].values())

    whole = tf.function(call).get_concrete_function(tf.TensorSpec([None, 256, 256, 3]))
    weights = Weights()
    fewer = folded(whole, weights)
    images = tf.random.stateless_normal([1, 256, 256, 3], [1, 2])
    for wanted, found in zip(whole(images), fewer(images), strict=True):
        scale = float(np.abs(wanted).max())
        assert scale > 0
        np.testing.assert_allclose(found, wanted, atol=1e-5 * scale)


def test_nothing_is_normalised_behind_a_convolution(small: Any) -> None:
    from petbox.export.rewrite.fold_batchnorm import Weights, folded
    from petbox.training.tfvision import tf

    _, model = small
    shape = tf.constant([[256.0, 256.0]])
    call = tf.function(lambda images: model(images, image_shape=shape, training=False)["rpn_boxes"])
    whole = call.get_concrete_function(tf.TensorSpec([None, 256, 256, 3]))
    assert _normalisations(whole) > 10
    weights = Weights()
    assert _normalisations(folded(whole, weights)) == 0
    assert [len(one.shape) for one in weights.all].count(1) == 1, "all biases are one variable"


def test_a_simplified_function_gives_the_same_in_fewer_steps() -> None:
    from petbox.export.rewrite.grappler import simplified
    from petbox.training.tfvision import tf

    held = tf.Variable([[2.0, 3.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def call(given: Any) -> tuple[Any, ...]:
        steps = tf.range(6.0) * 2.0  # the same for everybody
        return given * held + tf.reduce_sum(steps), given @ tf.transpose(held)

    whole = call.get_concrete_function()
    fewer = simplified(whole)
    given = tf.constant([[1.0, 4.0], [5.0, 6.0]])
    for wanted, found in zip(whole(given), fewer(given), strict=True):
        np.testing.assert_array_equal(found, wanted)
    held.assign([[1.0, 0.5]])
    np.testing.assert_array_equal(fewer(given)[1], [[3.0], [8.0]])
    assert len(fewer.graph.get_operations()) < len(whole.graph.get_operations())
    assert not {"Range", "Sum"} & {one.type for one in fewer.graph.get_operations()}


def test_depthwise_convolutions_are_folded_too() -> None:
    from petbox.export.rewrite.fold_batchnorm import Weights, folded
    from petbox.training.tfvision import tf, tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, input_shape=(9, 9, 4)),
            layers.BatchNormalization(),
            layers.Conv2D(5, 1, activation="relu"),
            layers.BatchNormalization(scale=False),  # behind an activation: stays
        ]
    )
    _shake(model)
    call = tf.function(lambda images: (model(images, training=False),))
    whole = call.get_concrete_function(tf.TensorSpec([None, 9, 9, 4]))
    fewer = folded(whole, Weights())
    images = tf.random.stateless_normal([2, 9, 9, 4], [1, 2])
    np.testing.assert_allclose(fewer(images)[0], whole(images)[0], atol=1e-5)
    assert (_normalisations(whole), _normalisations(fewer)) == (2, 1)


def test_a_convolution_that_others_see_as_well_is_left_alone() -> None:
    from petbox.export.rewrite.fold_batchnorm import Weights, folded
    from petbox.training.tfvision import tf, tf_keras

    taken = tf_keras.Input((9, 9, 4))
    convolved = tf_keras.layers.Conv2D(6, 3)(taken)
    given = tf_keras.layers.BatchNormalization()(convolved) + convolved
    model = tf_keras.Model(taken, given)
    _shake(model)
    call = tf.function(lambda images: (model(images, training=False),))
    whole = call.get_concrete_function(tf.TensorSpec([None, 9, 9, 4]))
    images = tf.random.stateless_normal([2, 9, 9, 4], [1, 2])
    np.testing.assert_allclose(folded(whole, Weights())(images)[0], whole(images)[0], atol=1e-5)


@pytest.fixture(scope="module")
def small() -> tuple[Any, Any]:
    """A small ResNet on a canvas of 256, large enough for parts of it to be of use."""
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    config = training_config.experiment("toy")
    training_config.on_records(config, ["gone.record"], ["gone.record"], NAMES)
    config.task.model.input_size = [256, 256, 3]
    training_config.set_seed(3)
    model = training_config.task(config).build_model()
    _shake(model)
    images = tf.random.stateless_normal([1, 256, 256, 3], [1, 2])
    found = model(images, image_shape=tf.constant([[256.0, 256.0]]), training=False)
    for variable in model.detection_head.trainable_variables:
        if "detection-scores/kernel" in variable.name:  # so that some are sure
            variable.assign(variable * 3.0 / tf.math.reduce_std(found["cls_outputs"]))
    return config, model


@pytest.fixture(scope="module")
def trained(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    config, model = small
    folder = tmp_path_factory.mktemp("trained") / "run"
    folder.mkdir()
    config.task.model.norm_activation.use_sync_bn = True  # as the Model Garden likes to train
    training_config.save_config(config, folder)
    labels.write(folder / labels.FILE_NAME, NAMES)
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    return folder


def exported(trained: Path, name: str, **settings: Any) -> Exported:
    from petbox.export import exporter
    from petbox.export.signatures import Settings
    from petbox.training import runs

    folder = trained.with_name(name)
    return Exported(exporter.export(runs.read(trained), folder, Settings(**settings)))


@pytest.fixture(scope="module")
def square(trained: Path) -> Exported:
    """It computes each request alone."""
    return exported(trained, "square", whole_canvas=True, batches=None)


@pytest.fixture(scope="module")
def fitted(trained: Path) -> Exported:
    """Batched as well: an export takes a while."""
    from petbox.export.batching import Batches

    return exported(trained, "fitted", batches=Batches(4, 5000))


def test_the_networks_are_made_small_when_exported_and_left_alone_when_loaded(
    fitted: Exported, square: Exported
) -> None:
    """Else every process that loads the model spends seconds on making them small again."""
    from petbox.training.tfvision import tf

    whole = tf.saved_model.load(str(fitted.folder)).signatures["serving_default"]
    functions = whole.graph.as_graph_def().library.function
    networks = {
        one.signature.name: [node.op for node in one.node_def]
        for one in functions
        if any(node.op == "Conv2D" for node in one.node_def)
    }
    assert len(networks) == 1, "one for all canvases"
    for steps in networks.values():
        assert "Placeholder" not in steps
        assert steps.count("Const") < len(steps) / 5, "what follows from the canvas is worked out"
    prepared = square.graphs(PICTURES[0])
    steps = Counter(node.op for graph in prepared for node in graph.node)
    assert steps["StatefulPartitionedCall"] == 1, "all that is done for an answer"
    assert not [step for step in steps if "Conv2D" in step]


def test_pictures_on_different_canvases_are_answered_as_alone_and_in_order(
    fitted: Exported,
) -> None:
    pictures = PICTURES + PICTURES[::-1]
    together = fitted(*pictures)
    seen = set()
    for at, picture in enumerate(pictures):
        alone = fitted(picture)
        seen.add(alone["detection_scores"].tobytes())
        assert together["num_detections"][at] == alone["num_detections"][0] > 0
        for key in ("detection_boxes", "detection_classes", "detection_scores"):
            np.testing.assert_allclose(together[key][at], alone[key][0], atol=1e-4, err_msg=key)
    assert len(seen) == len(PICTURES)


def test_on_a_part_of_the_canvas_the_network_is_what_it_is_on_a_canvas_of_that_size(
    small: Any,
) -> None:
    """Of two pictures at once, and with features that reach to its edges."""
    from petbox.export.canvases import fitting
    from petbox.export.trained import TrainedNetwork
    from petbox.training.tfvision import tf

    config, model = small
    network = TrainedNetwork(config, model)
    assert model.backbone is not None, "what stood in for the network's parts is gone"
    for seed, canvas in enumerate(fitting(256, 256, 32)):
        size = [2, canvas.height, canvas.width, 3]
        images = tf.random.stateless_normal(size, [1, seed]) * 2.0
        corners = tf.tile([[*canvas.most, *canvas.most]], [2, 1])
        found = network.body(images, tf.cast(corners, tf.float32))
        wanted = model(images, image_shape=tf.constant([[256.0, 256.0]] * 2), training=False)
        boxes = wanted["detection_boxes"] / tf.cast(corners[:, None], tf.float32)
        np.testing.assert_allclose(found[0], tf.clip_by_value(boxes, 0.0, 1.0), atol=1e-4)
        np.testing.assert_array_equal(found[1], wanted["detection_classes"])
        np.testing.assert_allclose(found[2], wanted["detection_scores"], atol=1e-4)
        np.testing.assert_array_equal(found[3], wanted["num_detections"])


def test_a_canvas_that_is_not_a_whole_number_of_strides(small: Any) -> None:
    from petbox.export.trained import TrainedNetwork
    from petbox.training.tfvision import tf

    config, model = deepcopy(small[0]), small[1]
    config.task.model.input_size = [250, 240, 3]
    images = tf.random.stateless_normal([1, 256, 256, 3], [1, 2])
    network = TrainedNetwork(config, model, whole_canvas=True)
    found = network.body(images, tf.constant([[250.0, 240.0] * 2]))
    wanted = model(images, image_shape=tf.constant([[250.0, 240.0]]), training=False)
    boxes = wanted["detection_boxes"] / [250.0, 240.0, 250.0, 240.0]
    assert wanted["num_detections"] > 0
    np.testing.assert_allclose(found[0], tf.clip_by_value(boxes, 0.0, 1.0), atol=1e-4)
    np.testing.assert_allclose(found[2], wanted["detection_scores"], atol=1e-4)


@pytest.mark.parametrize("at", [2, 4])
def test_a_picture_that_needs_the_whole_canvas_gets_the_same_answer(
    at: int, fitted: Exported, square: Exported
) -> None:
    wanted, found = square(PICTURES[at]), fitted(PICTURES[at])
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key], values, atol=1e-4, err_msg=key)


def test_the_canvas_leaves_some_padding() -> None:
    from petbox.export.canvases import first_fitting, fitting

    canvases = fitting(640, 640, 64)
    assert [canvas[:2] for canvas in canvases] == [(512, 640), (640, 512), (640, 640)]
    corners = [(480, 640), (481, 640), (640, 480), (640, 500), (640, 640), (1, 640), (320, 320)]
    chosen = first_fitting(canvases, np.array(corners, np.float32)).numpy()
    assert chosen.tolist() == [0, 2, 1, 2, 2, 0, 0]
    assert [canvas[:2] for canvas in fitting(128, 128, 32)] == [(128, 128)], "no room for less"


def _shake(model: Any) -> None:
    """Normalisations that do something, as training leaves them."""
    rng = np.random.default_rng(7)
    for variable in model.variables:
        name = variable.name.rsplit("/", 1)[-1]
        if name.startswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.7, 1.3, variable.shape))
        elif name.startswith(("beta", "moving_mean")):
            variable.assign(rng.normal(0, 0.2, variable.shape))


def _normalisations(function: Any) -> int:
    """Also those in the functions that it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    return sum(node.op == "FusedBatchNormV3" for node in nodes)
