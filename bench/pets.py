"""A detector of cats' and dogs' faces, trained on 447 real photos and tested on 89 others.

    python bench/pets.py

Needs the photos in the folder PETBOX_TEST_DATA, and about 20 minutes on two cores. It also writes
the learning curve, the precision-recall plot and sheets of test images as bench/pets-….{png,jpg}.
With --steps it is a trial that only writes under build/.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import report
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from petbox.cli import program

DATA = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data"
WEIGHTS = DATA / "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
WORK = report.CHECKOUT / "build" / "bench-pets"
PRESET = "faster_rcnn_mobilenet_v2_pets"
STEPS, EVALUATIONS = 1500, 5
METRICS = ("mAP", "mAP@0.5", "mAP@0.75", "AR@100")
BAR = 0.6  # of mAP@0.5
WIDTH, MOST_BYTES = 900, 190_000  # of a picture that the repository keeps


@dataclass(frozen=True)
class Options:
    steps: Annotated[int | None, "try the program itself, with so few updates"] = None


def main(options: Options) -> None:
    if not DATA.is_dir():
        sys.exit(f"{DATA}: not here; name the folder with the photos in PETBOX_TEST_DATA")
    shutil.rmtree(WORK, ignore_errors=True)
    steps = options.steps or STEPS
    seconds = trained(steps)
    found = json.loads((WORK / "run" / "evaluation.json").read_text(encoding="utf-8"))
    curve = learning_curve(WORK / "run")
    keep_pictures(WORK if options.steps else report.RESULTS.parent, curve)
    head = ["preset", "steps", "training, min", *METRICS]
    row = [PRESET, str(steps), f"{seconds / 60:.1f}", *(f"{found[name]:.3f}" for name in METRICS)]
    if options.steps:
        print(dict(zip(head, row, strict=True)), curve, f"in {WORK}", sep="\n")
    else:
        print(report.write_table("pets", "python bench/pets.py", head, [row]))


def trained(steps: int) -> float:
    """Trains and evaluates under build/; returns the seconds of the training."""
    pets, records, run = DATA / "pets", WORK / "records", WORK / "run"
    lists = [
        f"--{split}-list={pets / 'splits' / f'{split}_faces.txt'}" for split in ("train", "test")
    ]
    call("train/make_records.py", f"--pets={pets}", f"--out={records}", "--classes=species", *lists)
    seconds = call(
        "train/train.py", f"--records={records}", f"--out={run}", f"--preset={PRESET}",
        f"--init={WEIGHTS}", f"--steps={steps}", f"--evaluate-every={-(-steps // EVALUATIONS)}",
    )  # fmt: skip
    call("train/evaluate.py", f"--run={run}", f"--records={records}")
    return seconds


def call(*words: str) -> float:
    """Runs one of the project's programs; returns its seconds."""
    start = time.monotonic()
    subprocess.run([sys.executable, *words], cwd=report.CHECKOUT, check=True)
    return time.monotonic() - start


def learning_curve(run: Path) -> list[tuple[int, float]]:
    """mAP@0.5 by step, from the run's TensorBoard logs."""
    events = EventAccumulator(str(run / "validation"), size_guidance={"tensors": 0}).Reload()
    return [
        (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
        for event in events.Tensors("AP50")
    ]


def keep_pictures(folder: Path, curve: Sequence[tuple[int, float]]) -> None:
    figure = Figure((6, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*curve, strict=True), marker="o", color="black")
    axes.axhline(BAR, color="0.6", linestyle="--", linewidth=1)
    axes.set(xlabel="step", ylabel="mAP@0.5", ylim=(0, 1), xlim=(0, None))
    axes.grid(color="0.93")
    figure.savefig(folder / "pets-curve.png", metadata={"Software": None})
    shutil.copy(WORK / "run" / "precision_recall.png", folder / "pets-precision-recall.png")
    keep_small(WORK / "run" / "sample.png", folder / "pets-sample.jpg")


def keep_small(sheet: Path, path: Path) -> None:
    with Image.open(sheet) as picture:
        small = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)))
    for quality in range(85, 0, -5):
        small.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
