"""What a training waits for beside its network: records, the first step, tracing.

    python bench/training_speed.py                  ten minutes
    python bench/training_speed.py --turns 3        a first look

Steps of the small detector with batches from real records and with one batch kept in memory,
alternating every few steps, so that noise affects both. Each turn keeps another batch, because
steps with one and with another differ by up to 4 %. Then `petbox train --records` until its
first step, and the graphs that an evaluation and an export trace more than once. Needs the photos
in the folder PETBOX_TEST_DATA.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import report
import traces

from petbox.data import records
from petbox.evaluation import predictions
from petbox.export import exporter
from petbox.export.signatures import Settings
from petbox.training import config as training_config
from petbox.training import runs
from petbox.training.runs import Run
from petbox.training.tfvision import tf

PETS = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data" / "pets"
FOLDER = report.CHECKOUT / "build" / "bench-training-speed"
PRESET = "faster_rcnn_mobilenet_v2_pets"
STEPS = 12  # of each kind and turn
KEPT = 8  # batches, of which each turn has one
UNLIKE = 20  # steps until no two detections have the same score, which exports may swap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    if not PETS.is_dir():
        sys.exit(f"{PETS}: not here; name the folder with the photos in PETBOX_TEST_DATA")
    shutil.rmtree(FOLDER, ignore_errors=True)
    made = make_records()
    wall, cpu = measured(configured(made), options.turns)
    rows = [row("steps/s", wall, bar=0.97), row("steps per CPU second", cpu)]
    print(*rows, sep="\n", file=sys.stderr)
    starts = [trained(made, FOLDER / f"run-{number}") for number in range(options.starts)]
    seconds, spent_on_it = (statistics.median(one) for one in zip(*starts, strict=True))
    shown = [f"{seconds:.1f}", "", "", report.at_most(seconds, 15, " s")]
    rows.append(["`petbox train --records` until its first step, s", *shown])
    rows.append(["… CPU seconds, with the end of the training", f"{spent_on_it:.1f}", "", "", ""])
    print(*rows, sep="\n", file=sys.stderr)
    trained(made, FOLDER / "run", UNLIKE)
    run = runs.read(FOLDER / "run")
    for command, work in (("evaluate", evaluate), ("export", export)):
        with traces.counted() as graphs:
            work(run, made)
        again = sum(graphs.values()) - len(graphs)
        shown = [str(again), "", "", report.at_most(again, 0)]
        rows.append([f"graphs that `petbox {command}` traces again, of {len(graphs)}", *shown])
    head = ["", "measured", "one batch kept", "ratio, and of each turn", "bar"]
    typed = " ".join(["python bench/training_speed.py", *sys.argv[1:]])
    print(report.write_table("training-speed", typed, head, rows))


def make_records() -> Path:
    made = FOLDER / "records"
    lists = [f"--{split}-list={PETS}/splits/{split}_faces.txt" for split in ("train", "test")]
    words = [f"--pets={PETS}", f"--out={made}", "--classes=species", *lists]
    subprocess.run(
        [sys.executable, "train/make_records.py", *words], cwd=report.CHECKOUT, check=True
    )
    return made


def configured(made: Path) -> Any:
    config = training_config.experiment(PRESET)
    train, test = (records.shards(made, split) for split in ("train", "test"))
    training_config.on_records(config, [train], [test], records.read_info(made).labels)
    return config


# The time of a step in each turn, with records and with the kept batch
Turns = list[tuple[float, float]]


def measured(config: Any, turns: int) -> tuple[Turns, Turns]:
    """In seconds and in CPU seconds."""
    task = training_config.task(config)
    model = task.build_model()
    optimizer = task.create_optimizer(config.trainer.optimizer_config)
    metrics = task.build_metrics(training=True)

    @tf.function
    def steps(batches: Any, count: Any) -> None:
        for _ in tf.range(count):
            task.train_step(next(batches), model, optimizer, metrics)

    inputs = task.build_inputs(config.task.train_data)
    kept = [iter(tf.data.Dataset.from_tensors(batch).repeat()) for batch in inputs.take(KEPT)]
    fresh = iter(inputs)
    walls, cpus = [], []
    for turn in range(-1, turns):
        taken = {}
        for name in ("fresh", "kept") if turn % 2 else ("kept", "fresh"):
            batches = fresh if name == "fresh" else kept[turn % KEPT]
            steps(batches, tf.constant(2))  # what the other's turn left in caches is gone
            wall, cpu = time.monotonic(), spent(resource.RUSAGE_SELF)
            steps(batches, tf.constant(STEPS))
            cpu = spent(resource.RUSAGE_SELF) - cpu
            taken[name] = (time.monotonic() - wall) / STEPS, cpu / STEPS
        if turn >= 0:  # the first traces
            walls.append((taken["fresh"][0], taken["kept"][0]))
            cpus.append((taken["fresh"][1], taken["kept"][1]))
    return walls, cpus


def spent(whose: int) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def row(what: str, turns: Turns, bar: float | None = None) -> list[str]:
    """Medians, because the machine is shared; ratios are within a turn."""
    ratios = [kept / fresh for fresh, kept in turns]
    ratio = statistics.median(ratios)
    return [
        what,
        *(f"{1 / statistics.median(times):.3f}" for times in zip(*turns, strict=True)),
        f"{ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        report.at_least(ratio, bar) if bar else "",
    ]


def trained(made: Path, run: Path, steps: int = 1) -> tuple[float, float]:
    """Seconds until a training reports its last step, and its CPU seconds."""
    words = ["train", f"--records={made}", f"--out={run}", f"--preset={PRESET}", "--init=none"]
    cpu, begin = spent(resource.RUSAGE_CHILDREN), time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "petbox", *words, f"--steps={steps}"],
        cwd=report.CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr
        seconds = [
            time.monotonic() - begin for line in program.stderr if f"train: {steps}/{steps}" in line
        ]
    if program.returncode or not seconds:
        sys.exit(f"petbox train: ended with {program.returncode} before step {steps}")
    return seconds[0], spent(resource.RUSAGE_CHILDREN) - cpu


def evaluate(run: Run, made: Path) -> None:
    predict = predictions.of_run(run)
    for split in ("validation", "test"):
        list(predict(made, split))


def export(run: Run, _made: Path) -> None:
    exporter.export(run, FOLDER / "model" / "1", Settings())


if __name__ == "__main__":
    main()
