"""The cost of reading real records during training.

    python bench/input_pipeline.py

Steps of one detector with batches from the records, and with one batch kept in memory, alternating
every few steps, so that noise affects both. Needs the photos in the folder PETBOX_TEST_DATA.
"""

from __future__ import annotations

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

from petbox.data import records
from petbox.training import config as training_config
from petbox.training.tfvision import tf

PETS = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data" / "pets"
FOLDER = report.CHECKOUT / "build" / "bench-input-pipeline"
PRESET = "faster_rcnn_mobilenet_v2_pets"
TURNS, STEPS = 12, 12


def main() -> None:
    if not PETS.is_dir():
        sys.exit(f"{PETS}: not here; name the folder with the photos in PETBOX_TEST_DATA")
    shutil.rmtree(FOLDER, ignore_errors=True)
    lists = [f"--{split}-list={PETS}/splits/{split}_faces.txt" for split in ("train", "test")]
    words = [f"--pets={PETS}", f"--out={FOLDER}", "--classes=species", *lists]
    subprocess.run(
        [sys.executable, "train/make_records.py", *words], cwd=report.CHECKOUT, check=True
    )
    config = training_config.experiment(PRESET)
    train, test = (records.shards(FOLDER, split) for split in ("train", "test"))
    training_config.on_records(config, [train], [test], records.read_info(FOLDER).labels)
    wall, cpu = measured(config)
    rows = [row("seconds a step", wall), row("CPU seconds a step", cpu)]
    head = ["", "records", "one batch kept", "ratio of speeds", "least", "most"]
    print(report.write_table("input-pipeline", "python bench/input_pipeline.py", head, rows))


def measured(config: Any) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """For each turn the time of a step with records and with the kept batch; wall and CPU."""
    task = training_config.task(config)
    model = task.build_model()
    optimizer = task.create_optimizer(config.trainer.optimizer_config)
    metrics = task.build_metrics(training=True)

    @tf.function
    def steps(batches: Any, count: Any) -> None:
        for _ in tf.range(count):
            task.train_step(next(batches), model, optimizer, metrics)

    fresh = iter(task.build_inputs(config.task.train_data))
    kept = iter(task.build_inputs(config.task.train_data).take(1).cache().repeat())
    walls, cpus = [], []
    for turn in range(-1, TURNS):
        taken = {}
        for name in ("fresh", "kept") if turn % 2 else ("kept", "fresh"):
            batches = fresh if name == "fresh" else kept
            steps(batches, tf.constant(2))  # what the other's turn left in caches is gone
            wall, cpu = time.monotonic(), spent()
            steps(batches, tf.constant(STEPS))
            taken[name] = (time.monotonic() - wall) / STEPS, (spent() - cpu) / STEPS
        if turn >= 0:  # the first traces
            walls.append((taken["fresh"][0], taken["kept"][0]))
            cpus.append((taken["fresh"][1], taken["kept"][1]))
    return walls, cpus


def spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def row(what: str, turns: list[tuple[float, float]]) -> list[str]:
    """Medians, because the machine is shared; ratios are within a turn."""
    fresh, kept = zip(*turns, strict=True)
    ratios = [k / f for f, k in turns]
    middle = [statistics.median(values) for values in (fresh, kept)]
    return [
        what,
        *(f"{value:.3f}" for value in middle),
        *(f"{value:.3f}" for value in (statistics.median(ratios), min(ratios), max(ratios))),
    ]


if __name__ == "__main__":
    main()
