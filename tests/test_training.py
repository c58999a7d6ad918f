"""Training that is interrupted, goes wrong or is shared out, by the real command."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT

STEPS = ("--steps", "6", "--report-every", "1", "--checkpoint-every", "2")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    folder = tmp_path_factory.mktemp("training")
    pets = run("train/make_toy_pets.py", "--out", folder / "pets", "--train", "16", "--test", "4")
    assert pets.returncode == 0, pets.stderr
    done = run("train/make_records.py", "--pets", folder / "pets", "--out", folder / "records")
    assert done.returncode == 0, done.stderr
    return folder / "records"


def command(records: Path, out: Path, *more: str) -> list[str]:
    words = ["train/train.py", "--records", str(records), "--out", str(out), *STEPS, *more]
    return [sys.executable, *words]


def killed_at_its_first_checkpoint(records: Path, out: Path) -> None:
    with subprocess.Popen(
        command(records, out), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        run = out.with_name(f"{out.name}.unfinished")
        while not any(run.glob("ckpt-*.index")):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise AssertionError(process.stderr.read())
        process.kill()


def scalars(run: Path, tag: str) -> dict[int, float]:
    """What TensorBoard was told, by step."""
    return scalars_of(sorted(run.glob("train/events.*")), tag)


def scalars_of(logs: list[Path], tag: str) -> dict[int, float]:
    from petbox.quiet_tensorflow import tf

    found = {}
    for file in logs:
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.tag == tag:
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def trained(records: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = command(records, out, *more)
    return subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_a_killed_run_ends_at_the_same_step_by_the_same_schedule(
    records: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = trained(records, whole)
    assert done.returncode == 0, done.stderr
    killed_at_its_first_checkpoint(records, broken)
    assert not broken.exists()
    done = trained(records, broken)
    assert done.returncode == 0, done.stderr
    assert (broken / "ckpt-6.index").exists()
    logs = sorted((broken / "train").glob("events.*"))
    assert len(logs) == 2
    assert 1 not in scalars_of(logs[-1:], "learning_rate"), "it went on from its checkpoint"
    rates = scalars(whole, "learning_rate")
    assert set(rates) == {1, 2, 3, 4, 5, 6}
    assert len(set(rates.values())) > 3, "a schedule"
    assert scalars(broken, "learning_rate") == pytest.approx(rates)


def test_a_loss_that_is_not_finite_names_the_step_and_the_pictures(
    records: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = trained(records, out, "--learning-rate", "1e12")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.match(r"error: the loss is not finite \(.*\) at step \d with the pictures ", last)
    assert len(re.findall(r"\w+_\d+\.jpg", last)) == 8
    assert not out.exists()


def test_other_options_do_not_go_on_with_a_run(records: Path, tmp_path: Path, run: Any) -> None:
    begun = tmp_path / "run.unfinished"
    begun.mkdir()
    (begun / "options.json").write_text(json.dumps({"steps": "7", "out": str(tmp_path / "run")}))
    done = run(*command(records, tmp_path / "run")[1:])
    assert done.returncode == 1
    assert "was begun with --records None" in done.stderr.splitlines()[-1]


def test_two_workers_learn_what_one_learns_with_the_whole_batch(
    records: Path, tmp_path: Path
) -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index in range(2):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(cluster)}
        workers.append(
            subprocess.Popen(
                command(records, tmp_path / "two"),
                cwd=CHECKOUT,
                env=env,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [worker.communicate(timeout=500)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    alone = trained(records, tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    two, one = (scalars(tmp_path / name, "total_loss") for name in ("two", "one"))
    # The pictures come in another order, so the curves are alike but not the same.
    assert two[1] == pytest.approx(one[1], rel=0.1)
    assert two[6] == pytest.approx(one[6], rel=0.3)


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
