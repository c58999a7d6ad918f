"""A RetinaNet, from records to detections: trained until it knows its images by heart, exported,
converted. Its boxes and names must be those that the images were drawn with.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.exporting import Exported, file
from support.training_runs import drawn_records

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.data import records as data_records
from petbox.images import exif
from petbox.training import runs
from petbox.wire import Detection

STEPS = 120
Truth = dict[str, tuple[bytes, list[tuple[str, Any]]]]  # an image's file and objects, by its name


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    return drawn_records(tmp_path_factory.mktemp("drawn"), run)


@pytest.fixture(scope="module")
def trained(records: Path, run: Any) -> tuple[Path, str]:
    """A run, whose thresholds are chosen, and what its training said."""
    out = records.with_name("run")
    done = run("train/train.py", f"--records={records}", f"--out={out}", "--preset=toy_retinanet",
               f"--steps={STEPS}", f"--evaluate-every={STEPS}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = runs.read(out).names.values()
    thresholds = runs.thresholds(runs.read(out).checkpoint, "validation", dict.fromkeys(names, 0.3))
    (out / runs.THRESHOLDS).write_text(thresholds)
    return out, done.stderr


@pytest.fixture(scope="module")
def truth(records: Path, trained: tuple[Path, str]) -> Truth:
    names = runs.read(trained[0]).names
    return {
        one.name: (
            one.encoded,
            [(names[label], box) for label, box in zip(one.classes, one.boxes, strict=True)],
        )
        for one in data_records.examples(records, "train")
    }


@pytest.fixture(scope="module")
def model(trained: tuple[Path, str]) -> Exported:
    """Exported for images of any size, in batches."""
    from petbox.export import exporter
    from petbox.export.batching import Batches
    from petbox.export.signatures import Settings

    settings = Settings(batches=Batches(4, 20_000))
    out = trained[0].with_name("model") / "1"
    return Exported(exporter.export(runs.read(trained[0]), out, settings))


def test_its_losses_and_metrics_are_reported(trained: tuple[Path, str]) -> None:
    out, said = trained
    losses = re.findall(r"loss ([0-9.]+) \(class [0-9.]+, box [0-9.]+\)", said)
    assert float(losses[-1]) < 0.5, "of about 2 at first"
    assert re.search(rf"evaluated at step {STEPS}: mAP 0\.\d+, mAP@0\.5 0\.\d+", said)
    assert runs.read(out).checkpoint.parent.name == runs.BEST


def test_it_finds_what_was_drawn(model: Exported, truth: Truth) -> None:
    found = {name: _found(model, image) for name, (image, _) in truth.items()}
    assert _hits(found, truth) >= 0.8
    report = json.loads((model.folder / "assets.extra/export.json").read_text())
    assert report["detector"] == "RetinaNet"
    assert report["self_check"]["detections"] > 0


def _hits(found: dict[str, list[Detection]], truth: Truth) -> float:
    """The share of objects of which the best detection at their place has the name."""
    hits = []
    for name, (_, objects) in truth.items():
        for label, box in objects:
            there = [one for one in found[name] if _overlap(one.box, box) > 0.5]
            hits.append(bool(there) and max(there, key=lambda one: one.score).name == label)
    return sum(hits) / len(hits)


def _overlap(one: Any, other: Any) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.clip(high - low, 0, None).prod())
    return both / (sum(float(np.subtract(b[2:], b[:2]).prod()) for b in (one, other)) - both)


def _found(model: Exported, *images: bytes) -> list[Detection]:
    """The detections in the last image."""
    answer = model(*images, signature="detect")
    count = int(answer["num_detections"][-1])
    columns = ("classes", "scores", "boxes", "names", "thresholds")
    rows = zip(*(answer[f"detection_{name}"][-1, :count] for name in columns), strict=True)
    return [
        Detection(int(label), float(score), tuple(box.tolist()), name.decode(), float(threshold))
        for label, score, box, name, threshold in rows
    ]


def test_neither_a_batch_nor_a_turn_changes_its_detections(model: Exported, truth: Truth) -> None:
    first, second = (image for image, _ in list(truth.values())[:2])
    pixels = np.asarray(Image.open(io.BytesIO(second)).convert("RGB"))
    upright = file(Image.fromarray(pixels), "PNG")
    stored = np.ascontiguousarray(exif.turned(pixels, exif.COUNTERCLOCKWISE))
    sideways = exif.sideways(file(Image.fromarray(stored), "PNG"))
    alone = _found(model, upright)
    assert [one.threshold for one in alone] == pytest.approx([0.3] * len(alone)) != []
    for others in ([first, upright], [first, first, sideways]):
        for one, other in zip(alone, _found(model, *others), strict=True):
            assert one.name == other.name
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert one.box == pytest.approx(other.box, abs=1e-3)
    (drawn,) = model(upright, signature="draw")["image_bytes"]
    difference = np.asarray(Image.open(io.BytesIO(drawn))).astype(int) - pixels
    assert np.abs(difference).max() > 100, "a box is drawn"


@pytest.mark.parametrize(
    ("to", "module"), [("litert", "ai_edge_litert.interpreter"), ("openvino", "openvino")]
)
def test_converted_it_finds_the_same(
    trained: tuple[Path, str], truth: Truth, to: str, module: str
) -> None:
    pytest.importorskip(module, reason="pip install './[convert]'")
    from petbox.export.signatures import Settings
    from petbox.litert import convert
    from petbox.litert.detector import LiteDetector

    run, out = runs.read(trained[0]), trained[0].with_name(to)
    lite = LiteDetector(convert.convert(run, out, "int8", Settings(), to=to))
    found = {name: lite.detect(image) for name, (image, _) in truth.items()}
    assert _hits(found, truth) >= 0.8
    assert {one.threshold for each in found.values() for one in each} == {0.3}
