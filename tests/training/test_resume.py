"""An unfinished run that goes on: with the same options, or with more steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from petbox.errors import ModelError
from petbox.training import resume
from petbox.training.options import TrainOptions


def test_an_interrupted_run_goes_on_with_more_steps(tmp_path: Path) -> None:
    run, options = tmp_path / "run.unfinished", TrainOptions(out=tmp_path / "run", steps=9)
    run.mkdir()
    resume.begin(run, options)
    (run / "checkpoint").write_text('model_checkpoint_path: "ckpt-6"')
    (run / "ckpt-6.index").touch()
    with pytest.raises(ModelError, match=r"--seed 1, not 2; finish it .* or with more --steps, or"):
        resume.begin(run, replace(options, steps=20, seed=2))
    for steps in (6, None):
        with pytest.raises(ModelError, match=f"was started with --steps 9, not {steps}; finish"):
            resume.begin(run, replace(options, steps=steps))
    resume.begin(run, replace(options, steps=20))
    with pytest.raises(ModelError, match="was started with --steps 20, not None"):
        resume.begin(run, replace(options, steps=None))
