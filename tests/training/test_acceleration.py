"""Flags about computing: number format, and a seed that repeats a run bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.training_runs import SMALL, drawn_records, scalars

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.errors import DataError
from petbox.training import acceleration, command
from petbox.training import config as training_config
from petbox.training.tfvision import tf, tf_keras, train_utils

from tf_keras.src.engine.functional import Functional  # isort: skip

AUGMENTED = [
    f"--set=task.train_data.parser.aug_{name}"
    for name in ("rand_hflip=true", "scale_min=0.6", "scale_max=1.5")
]
SHORT = (SMALL, "--steps=3", "--report-every=1", "--seed=7", "--anchors=auto", *AUGMENTED)


@pytest.fixture
def policy() -> Iterator[None]:
    yield
    acceleration.set_precision("float32")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_the_precision_and_keep_float32_variables(
    precision: str, policy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    call = Functional.call

    def counted(network: Any, *args: Any, **more: Any) -> Any:
        called.append(network.name)
        return call(network, *args, **more)

    monkeypatch.setattr(Functional, "call", counted)
    config = training_config.experiment("toy")
    config.task.model.num_classes = 3
    acceleration.set_precision(precision)
    config.runtime.mixed_precision_dtype = precision
    task = training_config.task(config)
    model = task.build_model()
    assert not called, "once more than layer by layer, as they are built"
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}
    features = model.decoder(model.backbone(tf.zeros([1, 128, 128, 3])))
    assert called == [model.backbone.name, model.decoder.name]
    assert {level.dtype for level in features.values()} == {tf.as_dtype(precision)}
    scores, boxes = model.rpn_head(features)
    assert {each.dtype for each in (*scores.values(), *boxes.values())} == {tf.float32}
    optimizer = train_utils.create_optimizer(task, config)
    scales = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    assert scales == (precision == "float16"), "it would lose small gradients"


def test_a_seed_repeats_a_run_and_other_arithmetic_changes_it_a_little(
    tmp_path: Path, run: Any
) -> None:
    records = drawn_records(tmp_path, run)

    def trained(name: str, *more: str) -> Path:
        words = ("train/train.py", f"--records={records}", f"--out={tmp_path / name}")
        done = run(*words, *SHORT, *more)
        assert done.returncode == 0, done.stderr
        assert "preset toy: for drawn images" in done.stderr
        assert "anchors auto: sides of " in done.stderr
        return tmp_path / name

    runs = [trained(name) for name in ("one", "two")]
    first, second = ((each / "ckpt-3.data-00000-of-00001").read_bytes() for each in runs)
    assert first == second
    other = trained("other", "--precision=bfloat16")
    losses, others = scalars(runs[0], "total_loss"), scalars(other, "total_loss")
    assert others == pytest.approx(losses, rel=0.02)
    assert others != losses


def test_float16_is_for_gpus() -> None:
    with pytest.raises(DataError, match="float16: only GPUs compute in it; use bfloat16 or"):
        acceleration.check("float16")
    acceleration.check("bfloat16")


def test_a_batch_that_replicas_cannot_share_is_rejected() -> None:
    config = training_config.experiment("toy")
    with pytest.raises(DataError, match="--batch-size 8: cannot be divided among 3 GPUs or work"):
        command.divide_batches(config, 3)
    config.task.train_data.global_batch_size = 9
    command.divide_batches(config, 3)
    assert config.task.validation_data.global_batch_size == 12  # was 10
