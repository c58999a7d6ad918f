"""Power cuts: SIGKILL at random moments of a training and of exports, then the same command again.

A run that is killed and continued is like one that was not: its checkpoints, its steps and their
learning rates. (Its images come in another order, so its weights are not the same bit for bit.) An
export that was killed and repeated is the same model. In `make test` one training is killed, by
test_training.py.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from support import soak
from support.exporting import Exported, file, noise, random_run
from support.training_runs import SMALL, drawn_records, saved, scalars, schedule, unfinished
from support.warm_python import WarmPython

from petbox.outputs import remove

SEED = 20_261_130
TRAININGS = soak.count(0, 25)
EXPORTS = soak.count(0, 25)
STEPS, SAVES = 1000, 50

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not TRAININGS, reason="twenty minutes of make soak"),
]


def was_killed(
    warm: WarmPython, words: list[str], seconds: float, until: Callable[[], object] = lambda: False
) -> bool:
    """Whether the program had not ended after so many seconds, or when `until` was true."""
    give_up = time.monotonic() + seconds
    with warm.start(*words, cwd=CHECKOUT) as process:
        while time.monotonic() < give_up and not until():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                assert process.returncode == 0, process.communicate()[1]
                return False
    return True


def test_a_training_that_is_killed_again_and_again_ends_as_one_that_is_not(
    tmp_path: Path, run: Any, warm: WarmPython
) -> None:
    records, out, rng = drawn_records(tmp_path, run), tmp_path / "run", random.Random(SEED)
    words = ["train/train.py", f"--records={records}", "--preset=toy", SMALL]
    words += [f"--report-every={SAVES}", f"--checkpoint-every={SAVES}"]
    began = time.monotonic()
    done = run(*words, f"--out={tmp_path / 'short'}", f"--steps={SAVES}")
    assert done.returncode == 0, done.stderr
    longest = 2 * (time.monotonic() - began)
    words += [f"--out={out}", f"--steps={STEPS}"]
    at, kills = 0, 0
    while kills < TRAININGS:
        there, late = written(out), rng.uniform(0, 0.5)

        def saving(there: set[str] = there, late: float = late) -> bool:
            """The next checkpoint began, or was made, `late` seconds ago."""
            if written(out) == there:
                return False
            time.sleep(late)
            return True

        if not was_killed(warm, words, rng.uniform(0, longest), saving):
            break
        kills += 1
        assert not out.exists()
        steps = whole_checkpoints(unfinished(out))
        assert max(steps, default=0) >= at, "a checkpoint that had been written is lost"
        at = max(steps, default=0)
    print(f"{kills} trainings killed, the last after step {at}")
    assert kills == TRAININGS
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert max(saved(out)) == STEPS
    rates = scalars(out, "learning_rate")
    assert sorted(rates) == list(range(SAVES, STEPS + 1, SAVES))
    assert rates == pytest.approx({step: schedule(STEPS, step) for step in rates})


def written(out: Path) -> set[str]:
    """Files of checkpoints, also those that are being written."""
    return {path.name for path in unfinished(out).glob("ckpt-*")}


def whole_checkpoints(run: Path) -> set[int]:
    """Steps of the checkpoints that the run names; each can be read, and is finite."""
    from petbox.tf import tf

    state = tf.train.get_checkpoint_state(str(run))
    found = set()
    for prefix in state.all_model_checkpoint_paths if state else ():
        reader = tf.train.load_checkpoint(prefix)
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                assert np.isfinite(reader.get_tensor(name)).all(), f"{prefix}: {name}"
        found.add(int(prefix.rpartition("-")[2]))
    return found


def test_an_export_that_is_killed_and_repeated_is_the_same(
    tmp_path: Path, run: Any, warm: WarmPython
) -> None:
    trained, rng = random_run(tmp_path / "run"), random.Random(SEED)
    words = ["export/exporter_savedmodel.py", f"--run={trained}"]
    whole, out = tmp_path / "whole/1", tmp_path / "killed/1"
    began = time.monotonic()
    assert run(*words, f"--out={whole}").returncode == 0
    longest, image = time.monotonic() - began, file(noise(300, 200))
    expected, kills, finished = Exported(whole)(image), 0, 0
    while kills < EXPORTS:
        began = time.monotonic()
        if was_killed(warm, [*words, f"--out={out}"], rng.uniform(0, longest)):
            kills += 1
            finished += out.exists()  # killed between its end and that of the program
        else:
            longest = min(longest, time.monotonic() - began)
        remove(out)
    done = run(*words, f"--out={out}")
    assert done.returncode == 0, done.stderr
    print(f"{kills} exports killed, {finished} of them had just ended")
    assert [path.name for path in out.parent.iterdir()] == ["1"], "what was half written is gone"
    assert files(out) == files(whole)
    for name, value in Exported(out)(image).items():
        np.testing.assert_array_equal(value, expected[name])


def files(model: Path) -> dict[str, bytes]:
    """All files by name, with the content of those in which no time or name of a node is."""
    return {
        str(path.relative_to(model)): path.read_bytes() if "variables" in path.parts else b""
        for path in model.rglob("*")
        if path.is_file()
    }
