"""A detector that starts from another one: what fits is taken, class by class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.training_runs import SMALL, drawn_records, scalars

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.errors import ModelError
from petbox.training import config as training_config
from petbox.training import fine_tuning, runs
from petbox.training import sheets as sheets_of
from petbox.training.tfvision import tf

SHEETS = (sheets_of.GROUND_TRUTH, sheets_of.AUGMENTED)
SHORT = ("--preset=toy", SMALL, "--report-every=1", "--checkpoint-every=2")


def label_map(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    items = [f"item {{ id: {at} name: '{name}' }}\n" for at, name in enumerate(names, start=1)]
    (folder / runs.LABEL_MAP).write_text("".join(items))
    return folder / runs.LABEL_MAP


def detector(classes: int, ratios: list[float], preset: str = "toy", lowest: int = 3) -> Any:
    config = training_config.experiment(preset)
    config.task.model.min_level = lowest
    config.task.model.num_classes = classes + 1
    config.task.model.anchor.aspect_ratios = ratios
    return training_config.task(config).build_model()


def head(model: Any, layer: str) -> Any:
    return getattr(model.detection_head[0], layer).kernel.numpy()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A run's detector of cats and dogs with its averages changed, and its checkpoint."""
    return other_detector(tmp_path_factory.mktemp("old"), "toy")


def other_detector(folder: Path, preset: str, lowest: int = 3) -> tuple[Any, Path]:
    model = detector(2, [1.0], preset, lowest)
    for number, variable in enumerate(model.variables):
        variable.assign(tf.random.stateless_uniform(variable.shape, [number, 1]))
    prefix = tf.train.Checkpoint(model=model, **model.checkpoint_items).write(
        str(folder / "ckpt-6")
    )
    label_map(folder, "cat", "dog")
    (folder / runs.PARAMS).touch()
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-6"\n')
    return model, Path(prefix)


def test_all_that_fits_is_taken_and_a_class_is_known_by_its_name(
    old: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, prefix = old
    model = detector(3, [0.5, 1.0, 2.0])
    fresh = {layer: head(model, layer) for layer in ("_classifier", "_box_regressor")}
    fine_tuning.load(model, prefix, label_map(tmp_path, "dog", "bird", "cat"))
    said = capsys.readouterr().err
    for part in ("backbone", "decoder", "detection_head"):
        (counts,) = re.findall(rf"{part} (\d+) of (\d+)", said)
        assert counts[0] == counts[1] != "0"
    assert re.search(r"rpn_head \d+ of \d+ \(fresh: _classifier, _box_regressor\)", said)
    assert said.endswith("classes with trained weights: dog, cat; fresh: bird\n")
    for ours, theirs in zip(model.backbone.variables, before.backbone.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for layer, each in (("_classifier", 1), ("_box_regressor", 4)):
        now, then, new = (
            kernel.reshape(len(kernel), -1, each)
            for kernel in (head(model, layer), head(before, layer), fresh[layer])
        )
        np.testing.assert_array_equal(now[:, [0, 1, 3]], then[:, [0, 2, 1]])
        np.testing.assert_array_equal(now[:, 2], new[:, 2])


def test_a_retinanet_knows_its_classes_at_each_anchor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, prefix = other_detector(tmp_path / "old", "toy_retinanet")
    model = detector(3, [1.0], "toy_retinanet")
    fresh = model.head._classifier.kernel.numpy()
    fine_tuning.load(model, prefix, label_map(tmp_path, "dog", "bird", "cat"))
    said = capsys.readouterr().err
    assert re.search(r"backbone (\d+) of \1, decoder (\d+) of \2, head (\d+) of \3\n", said)
    now, then, new = (
        kernel.reshape(*kernel.shape[:-1], 2, -1)  # two sizes of anchors
        for kernel in (
            model.head._classifier.kernel.numpy(), before.head._classifier.kernel.numpy(), fresh
        )
    )  # fmt: skip
    np.testing.assert_array_equal(now[..., [0, 1, 3]], then[..., [0, 2, 1]])
    np.testing.assert_array_equal(now[..., 2], new[..., 2])
    # Three shapes of anchors are other ones, even if the numbers could be divided.
    model = detector(2, [0.5, 1.0, 2.0], "toy_retinanet")
    fine_tuning.load(model, prefix, label_map(tmp_path, "dog", "cat"))
    ((kept, every),) = re.findall(
        r"head (\d+) of (\d+) \(fresh: .*_classifier", capsys.readouterr().err
    )
    assert int(every) - int(kept) == 4, "kernel and bias of scores and boxes"


def test_a_head_keeps_the_averages_of_each_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, prefix = other_detector(tmp_path / "old", "toy", lowest=2)
    model = detector(2, [1.0])
    fine_tuning.load(model, prefix, label_map(tmp_path, "cat", "dog"))
    assert re.search(r"decoder (\d+) of \1, rpn_head (\d+) of \2, ", capsys.readouterr().err)
    for ours, theirs in zip(model.rpn_head._norms, before.rpn_head._norms[1:], strict=True):
        for one, other in zip(ours[0].variables, theirs[0].variables, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_detector_of_the_other_family_gives_its_backbone_and_decoder(
    old: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = detector(2, [1.0], "toy_retinanet")
    fine_tuning.load(model, old[1], label_map(tmp_path, "cat", "dog"))
    said = capsys.readouterr().err
    assert re.search(r"backbone (\d+) of \1, decoder (\d+) of \2, head 0 of \d+ \(fresh: ", said)
    assert "is of a Faster R-CNN, so the heads of the RetinaNet start fresh\n" in said
    assert said.endswith("trained weights: none; fresh: cat, dog\n")


def test_without_known_classes_the_last_layers_start_fresh(
    old: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = detector(2, [1.0])
    fresh = head(model, "_classifier")
    fine_tuning.load(model, old[1], label_map(tmp_path, "lion", "tiger"))
    assert "trained weights: none; fresh: lion, tiger" in capsys.readouterr().err
    np.testing.assert_array_equal(head(model, "_classifier"), fresh)


def test_a_checkpoint_of_which_nothing_fits_is_rejected(tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(head=tf.Variable(1.0)).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(ModelError, match="ckpt-1: none of its tensors fits; train with the --pre"):
        fine_tuning.load(detector(1, [1.0]), Path(prefix), label_map(tmp_path, "cat"))


def test_a_finished_run_goes_on_and_its_average_is_used(tmp_path: Path, run: Any) -> None:
    records, out = drawn_records(tmp_path, run), tmp_path / "run"

    def trained(*more: str) -> Any:
        words = (f"--records={records}", f"--out={out}", *SHORT, "--ema=0.5", *more)
        return run("train/train.py", *words)

    assert (done := trained("--steps=2")).returncode == 0, done.stderr
    assert runs.read(out).checkpoint == out / "averaged/ckpt-2"
    raw, averaged = (
        tf.train.load_checkpoint(str(prefix)).get_tensor(
            "backbone/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
        )
        for prefix in (out / "ckpt-2", out / "averaged/ckpt-2")
    )
    assert not np.array_equal(raw, averaged)
    np.testing.assert_allclose(raw, averaged, atol=0.1)
    done = trained("--steps=2")
    assert done.returncode == 1
    assert f"{out}: exists already, with 2 steps; name more --steps to train" in done.stderr
    done = trained("--steps=4", "--seed=2")
    assert "was started with --seed 1, not 2" in done.stderr.splitlines()[-1]
    assert out.is_dir(), "nothing was changed"
    stale = [out / name for name in ("evaluation.json", "confusion-validation.png", *SHEETS)]
    for path in stale:
        path.write_text("of the shorter training")
    assert (done := trained("--steps=4")).returncode == 0, done.stderr
    assert f"{out}: going on from step 2 to 4; the learning rate is that of" in done.stderr
    assert set(scalars(out, "total_loss")) == {1, 2, 3, 4}
    assert runs.read(out).checkpoint == out / "averaged/ckpt-4"
    assert not stale[0].exists() and not stale[1].exists()
    with Image.open(out / SHEETS[0]) as truth, Image.open(out / SHEETS[1]) as changed:
        assert truth.size == changed.size == (4 * 128, 3 * 128)
    done = run("train/train.py", f"--records={records}", f"--out={tmp_path / 'next'}",
               *SHORT, "--steps=1", "--augment=heavy", f"--init={out}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"/averaged/ckpt-4: loaded backbone (\d+) of \1, decoder ", done.stderr)
    assert "fresh: none" in done.stderr
    assert (
        f"look at {tmp_path}/next.unfinished/ground_truth.png, and at training_images"
        in done.stderr
    )
    heavy, light, truths = (
        tmp_path / "next" / SHEETS[1],
        out / SHEETS[1],
        [folder / SHEETS[0] for folder in (out, tmp_path / "next")],
    )
    assert heavy.read_bytes() != light.read_bytes()
    assert truths[0].read_bytes() == truths[1].read_bytes(), "the first images, unchanged"
