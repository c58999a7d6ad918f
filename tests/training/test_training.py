"""Training that is interrupted, fails or is distributed, by the real command."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support.ports import free_port
from support.soak import count
from support.training_runs import (
    SMALL,
    drawn_records,
    saved,
    scalars,
    scalars_of,
    schedule,
    unfinished,
)
from support.warm_python import WarmProcess, WarmPython

from petbox.training import log_lines

STEPS = ("--preset=toy", SMALL, "--steps=6", "--report-every=1", "--checkpoint-every=2")
LONGER = ("--steps", "24", "--evaluate-every", "12")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    return drawn_records(tmp_path_factory.mktemp("training"), run)


@pytest.fixture(scope="module")
def whole(
    records: Path, tmp_path_factory: pytest.TempPathFactory, trained: Any
) -> tuple[Path, str]:
    """An uninterrupted run, and its stderr."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = trained(records, out, *LONGER)
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def command(records: Path, out: Path, *more: str) -> list[str]:
    return ["train/train.py", "--records", str(records), "--out", str(out), *STEPS, *more]


@pytest.fixture(scope="module")
def trained(run: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda records, out, *more: run(*command(records, out, *more))


def once(there: Callable[[], object], *processes: WarmProcess) -> None:
    """Waits until `there` is true; fails if a process exits before."""
    while not there():
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise AssertionError(process.communicate()[1])


# Reports


def test_each_metrics_expression_reads_what_is_written() -> None:
    losses = {name: number + 0.25 for number, name in enumerate(list(log_lines.PARTS)[:4])}
    note = log_lines.note({"total_loss": 12.5, **losses, "learning_rate": 1.0}, 7.5)
    log = f"train: 200/600 {note} 15 s, ETA 30 s\n"
    log += log_lines.evaluated(300, {"AP": 0.512, "AP50": 0.762, "AP75": 1.0})
    assert metrics_in(log) == {
        "train:loss": [12.5],
        "train:rpn_score_loss": [0.25],
        "train:rpn_box_loss": [1.25],
        "train:class_loss": [2.25],
        "train:box_loss": [3.25],
        "train:steps_per_second": [7.5],
        "validation:mAP": [0.512],
        "validation:mAP50": [0.762],
    }


def test_the_losses_of_a_retinanet_are_read_too() -> None:
    note = log_lines.note({"total_loss": 2.5, "cls_loss": 0.5, "box_loss": 1.25}, 7.5)
    assert note == "loss 2.500 (class 0.500, box 1.250), 7.5 steps/s"
    found = metrics_in(f"train: 200/600 {note} 15 s, ETA 30 s\n")
    assert (found["train:loss"], found["train:class_loss"]) == ([2.5], [0.5])
    assert found["train:box_loss"] == [1.25]
    assert found["train:rpn_box_loss"] == []


def metrics_in(log: str) -> dict[str, list[float]]:
    """The values that SageMaker would find: it tries every expression on every line."""
    return {
        name: [float(match[1]) for match in re.finditer(expression, log)]
        for name, expression in log_lines.METRICS.items()
    }


def test_a_run_reports_its_losses_and_its_evaluations(whole: tuple[Path, str]) -> None:
    out, log = whole
    found = metrics_in(log)
    assert {name: len(values) for name, values in found.items()} == {
        name: 2 if name.startswith("validation") else len(found["train:loss"]) for name in found
    }
    assert re.findall("evaluated at step ([0-9]+)", log) == ["12", "24"]
    for name, tag in (("train:loss", "total_loss"), ("train:box_loss", "frcnn_box_loss")):
        assert found[name][-1] == pytest.approx(scalars(out, tag)[24], abs=0.001)
    rates = scalars(out, "learning_rate")
    assert len(set(rates.values())) > 3, "a schedule"
    assert rates == pytest.approx({step: schedule(24, step) for step in range(1, 25)})


@pytest.mark.parametrize(("reports", "saves", "loop"), [(50, 12, 12), (5, 12, 5), (1000, 200, 48)])
def test_checkpoints_are_not_rarer_than_they_should_be(
    reports: int, saves: int, loop: int, tmp_path: Path
) -> None:
    """They are saved between loops of steps only, which were as long as --report-every."""
    from petbox.training import command as training_command
    from petbox.training import config as training_config
    from petbox.training.command import Options

    config = training_config.experiment("toy")
    options = Options(
        records=tmp_path, out=tmp_path, steps=48, report_every=reports, checkpoint_every=saves
    )
    training_command.adjust(config, options, None)
    assert config.trainer.steps_per_loop == loop
    assert config.trainer.checkpoint_interval == saves


# Interruptions


def test_a_run_that_is_killed_and_stopped_ends_by_the_same_schedule(
    records: Path, tmp_path: Path, run: Any, warm: WarmPython
) -> None:
    out, steps, saves = tmp_path / "run", 48, 12
    words = command(records, out, "--steps", str(steps), "--checkpoint-every", str(saves))
    words += ["--report-every", "5"]

    def logs() -> list[Path]:  # one of each process
        return sorted((unfinished(out) / "train").glob("events.*"))

    with warm.start(*words, cwd=CHECKOUT) as process:
        once((unfinished(out) / "checkpoint").exists, process)  # names what was saved
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    killed_at = max(saved(unfinished(out)))
    with warm.start(*words, cwd=CHECKOUT) as process:
        once(lambda: scalars_of(logs()[1:], "learning_rate"), process)
        time.sleep(random.uniform(0, 0.5))  # so that it is anywhere in its loop of steps
        process.terminate()
        log = process.communicate(timeout=120)[1]
    assert process.returncode == 143, log
    at = stopped_at(log, steps)
    assert killed_at < at < steps
    assert max(saved(unfinished(out))) == at
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert max(saved(out)) == steps
    rates = scalars(out, "learning_rate")
    reported = {*range(5, steps + 1, 5), steps}
    assert set(rates) == reported, "reported at the same steps as without a stop"
    parts = sorted((out / "train").glob("events.*"))
    begins = [min(scalars_of([part], "learning_rate")) for part in parts]
    assert begins == [min(x for x in reported if x > at) for at in (0, killed_at, at)]
    assert rates == pytest.approx({step: schedule(steps, step) for step in rates})


def stopped_at(log: str, steps: int) -> int:
    last = log.splitlines()[-1]
    match = re.fullmatch(rf"stopped at step (\d+) of {steps}, which is saved; the same .*", last)
    assert match, log
    return int(match[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "--seed -1: must be from 0 to 4294967295"),
        (
            ("--init-parts", "heads"),
            "--init-parts heads: unknown; choose one of backbone, ",
        ),
        (("--init-parts", "backbone"), "--init-parts is only valid with --init; remove it"),
        (("--init", "missing/ckpt-1"), "missing/ckpt-1: no such file; expected a Model Garden"),
        (("--init", "README.md"), "README.md: not a checkpoint; expected a Model Garden"),
    ],
)
def test_invalid_options_are_rejected_at_once(
    records: Path, tmp_path: Path, options: tuple[str, ...], message: str, trained: Any
) -> None:
    done = trained(records, tmp_path / "run", *options)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()  # before TensorFlow is loaded
    assert line.startswith(f"error: {message}")


@pytest.fixture(scope="module")
def diverged(
    records: Path, whole: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory, trained: Any
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run that begins with the weights of another, and takes steps that are too large."""
    out = tmp_path_factory.mktemp("diverged") / "run"
    weights = ("--init", str(whole[0]), "--init-parts", "backbone+decoder")
    return out, trained(records, out, *weights, "--learning-rate", "1e12")


def test_a_run_begins_with_the_weights_of_another(
    diverged: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = diverged
    loaded = r"/best/\S+: loaded backbone and decoder, \d+ tensors, each checked"
    assert re.search(loaded, done.stderr)
    params = (unfinished(out) / "params.yaml").read_text()
    assert "bn_trainable: false" in params, "the averages are kept"


def test_a_loss_that_is_not_finite_names_the_step_and_the_images(
    diverged: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = diverged
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.match(r"error: the loss is not finite \(.*\) at step \d with the images ", last)
    assert len(re.findall(r"\w+_\d+\.jpg", last)) == 8
    assert not out.exists()


def test_other_options_do_not_continue_a_run(records: Path, tmp_path: Path, run: Any) -> None:
    started = tmp_path / "run.unfinished"
    started.mkdir()
    (started / "options.json").write_text(json.dumps({"steps": "7", "out": str(tmp_path / "run")}))
    done = run(*command(records, tmp_path / "run"))
    assert done.returncode == 1
    assert "was started with --records None" in done.stderr.splitlines()[-1]


# Several workers


@contextmanager
def workers(
    warm: WarmPython, records: Path, out: Path, *more: str
) -> Iterator[tuple[WarmProcess, WarmProcess]]:
    addresses = [f"127.0.0.1:{port}" for port in (free_port(), free_port())]
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    configs = [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]
    words = command(records, out, *more)
    with (
        warm.start(*words, cwd=CHECKOUT, TF_CONFIG=configs[0]) as first,
        warm.start(*words, cwd=CHECKOUT, TF_CONFIG=configs[1]) as two,
    ):
        yield first, two


def ended(*processes: WarmProcess) -> list[str]:
    """Each worker's stderr; all exit within the time that a host gets to stop."""
    deadline = time.monotonic() + 120
    return [
        process.communicate(timeout=max(1, deadline - time.monotonic()))[1] for process in processes
    ]


@pytest.mark.soak
def test_workers_stop_together_continue_and_learn_what_one_learns_with_the_whole_batch(
    records: Path, tmp_path: Path, whole: tuple[Path, str], warm: WarmPython
) -> None:
    """`make soak` lets them end; that they do, test_train_image says in `make test`."""
    out, run = tmp_path / "two", unfinished(tmp_path / "two")
    with workers(warm, records, out, *LONGER) as both:
        once(lambda: saved(run), *both)
        both[1].send_signal(signal.SIGINT)
        stopped = ended(*both)
    assert [process.returncode for process in both] == [143, 130], stopped
    at, too = (stopped_at(log, 24) for log in stopped)
    assert at == too == max(saved(run))

    with workers(warm, records, out, *LONGER) as (first, other):
        once(lambda: max(saved(run)) >= max(14, at + 2), first, other)  # 12 is evaluated
        first.kill()
        killed = ended(first, other)
    assert other.returncode == 1, killed[1]
    last = killed[1].splitlines()[-1]
    assert last.startswith("error: another worker of TF_CONFIG stopped"), killed[1]
    assert last.endswith("the same command on every host continues from the last checkpoint")
    assert "Traceback" not in killed[1]
    measured = [
        metrics_in(before + then)["validation:mAP50"]
        for before, then in zip(stopped, killed, strict=True)
    ]
    assert len(measured[0]) == 1 and measured[0] == measured[1], "of all held-out images, by each"
    assert any((run / "best").glob("best_ckpt-*.index"))
    logs = sorted((run / "train").glob("events.*"))
    assert min(scalars_of(logs[-1:], "total_loss")) > at, "continued from its checkpoint"
    two, one = scalars(run, "total_loss"), scalars(whole[0], "total_loss")
    # The images come in another order, so the curves are similar but not the same.
    assert two[1] == pytest.approx(one[1], rel=0.1)
    assert two[12] == pytest.approx(one[12], rel=0.3)

    for _ in range(count(0, 1)):
        with workers(warm, records, out, *LONGER) as both:
            ends = [process.communicate(timeout=500)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], ends
        assert max(saved(out)) == 24
