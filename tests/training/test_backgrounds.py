"""Images without objects are trained on: alone in a batch they give finite losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("petbox.training.inputs", exc_type=Exception)

from petbox.data import record_writer, records
from petbox.data.annotations import Animal, Dataset, Photo
from petbox.evaluation import predictions
from petbox.training import config as training_config
from petbox.training.tfvision import tf

MOST = 5  # objects in an image that are trained on


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of four images without objects in `train`, and one with more objects than fit in `test`."""
    folder = tmp_path_factory.mktemp("backgrounds")
    photos = []
    for number in range(5):
        path = folder / f"{number}.png"
        Image.effect_noise((90, 70), 90).convert("RGB").save(path)
        animals = tuple(
            Animal((0.1 * row, 0.1, 0.1 * row + 0.1, 0.9), "cat", 1, difficult=row == 2)
            for row in range(MOST + 2 if number == 4 else 0)
        )
        photos.append(Photo(path, number, "", 90, 70, animals, "made here"))
    splits = {"train": tuple(photos[:4]), "test": tuple(photos[4:])}
    out = folder / "records"
    dataset = Dataset({1: "cat"}, splits, {})
    record_writer.write(dataset, out, seed=1, source="here", advance=lambda: None)
    config = training_config.experiment("toy")
    train, test = ([str(out / f"{split}.record-*")] for split in ("train", "test"))
    training_config.on_records(config, train, test, [1])
    config.task.model.input_size = [64, 64, 3]
    config.task.train_data.global_batch_size = 4
    config.task.train_data.parser.max_num_instances = MOST
    return config


def test_a_batch_of_backgrounds_has_finite_losses_and_gradients(config: Any) -> None:
    task = training_config.task(config)
    model = task.build_model()
    images, labels = next(iter(task.build_inputs(config.task.train_data)))
    assert labels["gt_boxes"].shape == (4, MOST, 4)
    assert (labels["gt_classes"].numpy() == -1).all()
    with tf.GradientTape() as tape:
        outputs = model(
            images,
            image_shape=labels["image_info"][:, 1, :],
            anchor_boxes=labels["anchor_boxes"],
            gt_boxes=labels["gt_boxes"],
            gt_classes=labels["gt_classes"],
            training=True,
        )
        losses = task.build_losses(outputs=outputs, labels=labels)
    gradients = tape.gradient(losses["total_loss"], model.trainable_variables)
    for name, loss in losses.items():
        assert np.isfinite(float(loss)), name
    assert float(losses["rpn_score_loss"]) > 0, "backgrounds teach what is no object"
    assert float(losses["frcnn_box_loss"]) == 0, "and no box"
    assert all(np.isfinite(one.numpy()).all() for one in gradients if one is not None)


def test_objects_beyond_the_most_of_an_image_are_cut_off(config: Any) -> None:
    data = config.task.train_data
    data.input_path, data.global_batch_size = config.task.validation_data.input_path, 1
    _, labels = next(iter(training_config.task(config).build_inputs(data)))
    assert labels["gt_classes"].numpy().tolist() == [[1] * MOST]


def test_difficult_objects_are_known_to_the_evaluation(config: Any) -> None:
    data = config.task.validation_data
    ((_, labels),) = training_config.task(config).build_inputs(data)
    truth = labels["groundtruths"]
    objects = MOST + 2
    flags = [0, 0, 1, 0, 0, 0, 0]
    assert truth["is_difficults"].numpy()[0, :objects].tolist() == flags
    assert truth["is_crowds"].numpy()[0, :objects].tolist() == flags, "the Model Garden's metrics"
    (example,) = records.read(next(Path(data.input_path[0]).parent.glob("test.record-*")))
    assert example.difficult == tuple(map(bool, flags))
    found = {name: np.zeros((1, 0)) for name in ("detection_classes", "detection_scores")}
    found |= {"detection_boxes": np.zeros((1, 0, 4)), "num_detections": np.zeros(1, int)}
    one = predictions._of_batch(
        {name: value.numpy()[0] for name, value in truth.items()},
        labels["image_info"].numpy()[0],
        {name: value[0] for name, value in found.items()},
    )
    assert [each.difficult for each in one.truth] == list(example.difficult)
    assert not any(each.crowd for each in one.truth)
