"""The small detector of real photos with other heads, trained: operations, speed, accuracy.

    python bench/heads.py

Each is trained on the photos of bench/pets.py, as it does but in fewer steps, and evaluated on its
test photos; the two most accurate ones again with other seeds. The exports are called alternately
with a 4:3 photo. What has been trained at the same commit is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import export_speed
import pets
import report
from presets import spent
from proposals import evaluated

WORK = report.CHECKOUT / "build" / "bench-heads"
METRICS = ("mAP", "mAP@0.5", "AR@100")
SEEDS, FINALISTS = 3, 2
HEAD, PROPOSALS = "detection_head", "roi_generator.test_num_proposals"
DENSE = {f"{HEAD}.num_fcs": 2}
HEADS: Mapping[str, Mapping[str, int]] = {
    "four convolutions and a dense layer, 300 proposals": {
        f"{HEAD}.num_convs": 4,
        f"{HEAD}.num_filters": 64,
        "roi_generator.num_proposals": 300,
        PROPOSALS: 300,
    },
    "a dense layer, 100 proposals (the preset)": {},
    "two dense layers": DENSE,
    "two dense layers, half the channels": {
        **DENSE,
        "decoder.fpn.num_filters": 32,
        "rpn_head.num_filters": 32,
        f"{HEAD}.fc_dims": 128,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--requests", type=int, default=100, help="of each export")
    options = parser.parse_args()
    commit = WORK / "commit"
    if not commit.exists() or commit.read_text() != report.commit():
        shutil.rmtree(WORK, ignore_errors=True)
        pets.make_records(WORK, pets.lists(WORK, pets.Options.split))
        commit.write_text(report.commit())
    found = {name: [trained(name, 0, options.steps)] for name in HEADS}
    best = sorted(HEADS, key=lambda name: -found[name][0]["mAP"])[:FINALISTS]
    for name in best:
        found[name] += [trained(name, seed, options.steps) for seed in range(1, SEEDS)]
    wall, cpu = spent([exported(name) for name in HEADS], options.requests)
    rows = [
        [
            name,
            *(shown([one[metric] for one in ones]) for metric in METRICS),
            f"{ones[0]['flops'] / 1e9:.2f}",
            f"{1000 * wall[at]:.1f}",
            f"{1000 * cpu[at]:.1f}",
        ]
        for at, (name, ones) in enumerate(found.items())
    ]
    head = [f"head, {options.steps} steps", *METRICS, "GFLOP", "p50, ms", "CPU, ms"]
    typed = " ".join(["python bench/heads.py", *sys.argv[1:]])
    print(report.write_table("heads", typed, head, rows))


def shown(values: list[float]) -> str:
    """The mean, and those of the seeds."""
    each = ", ".join(f"{value:.3f}" for value in values)
    return each if len(values) == 1 else f"{statistics.mean(values):.3f} ({each})"


def folder(name: str, seed: int) -> Path:
    return WORK / f"{[*HEADS].index(name)}-{seed}"


def trained(name: str, seed: int, steps: int) -> dict[str, Any]:
    """What the detector finds on the test photos, after its training."""
    place = folder(name, seed)
    record, origin = place / "told.json", [name, steps]
    if record.exists() and (kept := json.loads(record.read_text()))["origin"] == origin:
        return dict(kept)
    shutil.rmtree(place, ignore_errors=True)
    changes = [f"--set=task.model.{field}={value}" for field, value in HEADS[name].items()]
    words = [f"--preset={pets.PRESET}", f"--steps={steps}", f"--seed={seed}", *changes]
    pets.train(WORK / "records", place / "run", *words)
    count = HEADS[name].get(PROPOSALS, 100)
    told = evaluated(place / "run", WORK / "records", place / "evaluated", count)
    record.write_text(json.dumps({**told, "origin": origin}))
    print(name, seed, told["mAP"], file=sys.stderr)
    return told


def exported(name: str) -> Path:
    model = folder(name, 0) / "model" / "1"
    if not model.exists():
        export_speed.export(folder(name, 0) / "run", model, "ours")
    return model


if __name__ == "__main__":
    main()
