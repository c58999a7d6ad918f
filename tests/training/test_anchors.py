"""Anchors: how well they cover boxes, and which are chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.training import anchors, resume
from petbox.training import config as training_config
from petbox.training.anchors import Anchors, Boxes
from petbox.training.options import TrainOptions
from petbox.training.tfvision import anchor, tf

CANVAS = (128, 128)


def boxes(height: float, width: float, count: int = 40) -> Boxes:
    """Boxes of one size at random places of the canvas."""
    size = np.array([height, width])
    corners = np.random.default_rng(1).random([count, 2]) * (np.array(CANVAS) - size)
    return Boxes(corners + size / 2, np.tile(size, [count, 1]), 1)


@pytest.mark.parametrize("preset", ["toy", "faster_rcnn_mobilenet_v2_pets"])
def test_the_best_anchor_is_the_model_gardens(preset: str) -> None:
    model = training_config.experiment(preset).task.model
    canvas, rng = model.input_size[:2], np.random.default_rng(2)
    sizes = np.exp(rng.uniform(np.log(8), np.log(canvas[0] - 8), [50, 2]))
    centers = sizes / 2 + rng.random([50, 2]) * (np.array(canvas) - sizes)
    ours = anchors.best_ious(Boxes(centers, sizes, 1), anchors.of_config(model), canvas)
    generated = anchor.build_anchor_generator(
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
    )(image_size=canvas)
    every = np.concatenate([np.reshape(level, [-1, 4]) for level in generated.values()])
    edges = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)[:, None]
    common = np.minimum(edges[..., 2:], every[:, 2:]) - np.maximum(edges[..., :2], every[:, :2])
    overlap = np.prod(np.maximum(common, 0), axis=-1)
    area = np.prod(every[:, 2:] - every[:, :2], axis=-1)
    theirs = np.max(overlap / (np.prod(sizes, axis=1)[:, None] + area - overlap), axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_coverage_is_by_size_and_shape() -> None:
    square = Anchors(range(3, 6), 4.0, 1, (1.0,))
    wide = boxes(20, 80)
    said = anchors.coverage(wide, square, CANVAS)
    assert said.startswith("anchors: 0% of 40 training boxes have an anchor with an IoU of 0.5")
    assert said.endswith("(medium 0% of 40, wide 0% of 40)")
    assert "(large 100% of 40, square 100% of 40)" in anchors.coverage(
        boxes(112, 112), square, CANVAS
    )


@pytest.mark.parametrize(("height", "width"), [(20, 80), (100, 25), (28, 28)])
def test_auto_covers_what_the_presets_do_not(height: float, width: float) -> None:
    found = anchors.chosen(boxes(height, width), range(3, 6), CANVAS, [1.0])
    assert np.mean(anchors.best_ious(boxes(height, width), found, CANVAS) >= 0.5) > 0.9
    assert found.per_octave * len(found.ratios) <= 3, "no more than boxes of one shape need"


@pytest.fixture
def crowded(tmp_path: Path) -> str:
    """Records of one image with 30 flat boxes."""
    image = tf.io.encode_png(np.zeros([100, 100, 3], np.uint8)).numpy()
    floats = {"ymin": 0.4, "xmin": 0.1, "ymax": 0.5, "xmax": 0.9}
    features = {
        f"image/object/bbox/{edge}": tf.train.Feature(
            float_list=tf.train.FloatList(value=[value] * 30)
        )
        for edge, value in floats.items()
    }
    for name, values in {"object/class/label": [1] * 30, "height": [100], "width": [100]}.items():
        ints = tf.train.Int64List(value=values)
        features[f"image/{name}"] = tf.train.Feature(int64_list=ints)
    encoded = tf.train.BytesList(value=[image])
    features["image/encoded"] = tf.train.Feature(bytes_list=encoded)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    with tf.io.TFRecordWriter(str(tmp_path / "train.record-00000-of-00001")) as shard:
        shard.write(example.SerializeToString())
    return str(tmp_path / "train.record-*")


def test_the_number_of_objects_follows_the_data(crowded: str) -> None:
    config: Any = training_config.experiment("toy")
    preset = anchors.of_config(config.task.model)
    (line,) = anchors.fit(config, [crowded], auto=False)
    assert config.task.train_data.parser.max_num_instances == 30
    assert anchors.of_config(config.task.model) == preset
    assert "anchors: 0% of 30 training boxes" in line
    chose, line = anchors.fit(config, [crowded], auto=True)
    assert chose.startswith("anchors auto: sides of ") and "100% of 30" in line
    assert anchors.of_config(config.task.model) != preset


def test_a_run_of_before_an_option_was_there_is_continued(tmp_path: Path) -> None:
    options = TrainOptions(out=tmp_path / "run", preset="toy")
    resume.begin(tmp_path, options)
    saved = (tmp_path / "options.json").read_text()
    assert '"anchors": "preset",' in saved
    (tmp_path / "options.json").write_text(saved.replace('"anchors": "preset",', ""))
    resume.begin(tmp_path, options)
