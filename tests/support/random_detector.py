"""A run with random weights, its SavedModel, and whether a converted detector answers the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.exporting import NAMES, Exported, file, noise, random_run

from petbox.litert.detector import LiteDetector
from petbox.wire import Detection

SIZES = [(300, 200), (64, 501), (128, 128), (1000, 700), (3, 90), (1, 1)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose proposals differ in score, like those of a trained network.

    Without, three of four proposals tie, and their order is undefined.
    """
    folder = random_run(tmp_path_factory.mktemp("trained") / "run")
    from petbox.training import checkpoints, runs
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    model = checkpoints.restored(training_config.load_config(runs.read(folder)), runs.read(folder))
    for variable in model.rpn_head.trainable_variables:
        if "scores" in variable.name:
            variable.assign(variable * 1e4)
    tf.train.Checkpoint(model=model).write(str(folder / "ckpt-2"))
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
    thresholds = runs.thresholds(folder / "ckpt-2", "validation", {"beagle": 0.75})
    (folder / runs.THRESHOLDS).write_text(thresholds)
    return folder


@pytest.fixture(scope="module")
def saved(trained: Path) -> Exported:
    from petbox.export import exporter
    from petbox.export.signatures import Settings
    from petbox.training import runs

    settings = Settings(whole_canvas=True)
    return Exported(exporter.export(runs.read(trained), trained.with_name("saved"), settings))


def check_same_as_saved(lite: LiteDetector, saved: Exported, size: tuple[int, int]) -> None:
    image = file(noise(*size), "PNG")  # of a JPEG the two decoders make slightly other pixels
    expected, found = of_saved(saved, image), lite.detect(image)
    assert len(expected) == len(found)
    assert [one.name for one in found] == [NAMES[one.label] for one in found]
    for one, other in zip(by_place(expected), by_place(found), strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.box == pytest.approx(other.box, abs=1e-3)


def of_saved(saved: Exported, image: bytes) -> list[Detection]:
    found = saved(image, signature="detect")
    rows = zip(
        found["detection_classes"][0],
        found["detection_scores"][0],
        found["detection_boxes"][0].tolist(),
        strict=True,
    )
    return [Detection(int(label), float(score), tuple(box)) for label, score, box in rows]


def by_place(found: list[Detection]) -> list[Detection]:
    """Detections of nearly the same score may be in either order."""
    return sorted(found, key=lambda one: (one.label, *(round(edge, 2) for edge in one.box)))


def alike(one: Detection, other: Detection) -> bool:
    near = np.abs(np.subtract(one.box, other.box)).max() < 0.1
    return bool(near and one.label == other.label and abs(one.score - other.score) < 0.3)
