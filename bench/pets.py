"""A detector of cats' and dogs' faces, trained on 447 real photos and tested on 89 others.

    python bench/pets.py

The 536 are divided at random. A tenth of the 447 chooses the checkpoint and the thresholds. False
alarms are counted at these thresholds on 100 squares without any pet, cut from photos that are not
among the 536; as many are cut from the training photos to train on.

Needs the photos in the folder PETBOX_TEST_DATA, and about 20 minutes on two cores. It also writes
the learning curve, the precision-recall plot and sheets of test images as bench/pets-….{png,jpg}.
With --steps, --preset or --split it is a trial that only writes under build/.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import report
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from petbox.cli import program
from petbox.evaluation.false_alarms import PER_BACKGROUND

DATA = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data"
WEIGHTS = DATA / "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
WORK = report.CHECKOUT / "build" / "bench-pets"
PRESET = "faster_rcnn_mobilenet_v2_pets"
STEPS, EVALUATIONS = 2400, 6
TESTED = 89
METRICS = ("mAP", "mAP@0.5", "mAP@0.75", "AR@100")
BARS = {"mAP": 0.62, "mAP@0.5": 0.95}  # at least
MINUTES, ALARMS = 25, 0.1  # at most
WIDTH, MOST_BYTES = 900, 190_000  # of a picture that the repository keeps


@dataclass(frozen=True)
class Options:
    steps: Annotated[int | None, "try the program itself, with so few updates"] = None
    preset: Annotated[str, "try another preset"] = PRESET
    split: Annotated[int, "divide the 536 photos by this seed", "SEED"] = 1


def main(options: Options) -> None:
    if not DATA.is_dir():
        sys.exit(f"{DATA}: not here; name the folder with the photos in PETBOX_TEST_DATA")
    shutil.rmtree(WORK, ignore_errors=True)
    trial, steps = options != Options(), options.steps or STEPS
    make_records(WORK, lists(WORK, options.split))
    every = f"--evaluate-every={-(-steps // EVALUATIONS)}"
    words = (f"--preset={options.preset}", f"--steps={steps}", every)
    seconds = train(WORK / "records", WORK / "run", *words)
    found, alarms = evaluated("records", "evaluation"), evaluated("false-alarms", "backgrounds")
    curve = learning_curve(WORK / "run")
    keep_pictures(WORK if trial else report.RESULTS.parent, curve)
    head = ["preset", "steps", "training, min", *METRICS, "false alarms per image without pets"]
    metrics = [number(found, name) for name in METRICS]
    shown = f"{alarms[PER_BACKGROUND]:.2f}"
    row = [options.preset, str(steps), f"{seconds / 60:.1f}", *metrics, shown]
    judged = (report.at_least(found[name], BARS[name]) if name in BARS else "" for name in METRICS)
    bars = ["bar", "", report.at_most(seconds / 60, MINUTES), *judged]
    bars.append(report.at_most(alarms[PER_BACKGROUND], ALARMS))
    if trial:
        print(dict(zip(head, row, strict=True)), curve, f"in {WORK}", sep="\n")
    else:
        print(report.write_table("pets", "python bench/pets.py", head, [row, bars]))


def lists(work: Path, seed: int) -> list[Path]:
    """Of the photos to train on, and to test on."""
    given = [DATA / "pets" / "splits" / f"{split}_faces.txt" for split in ("train", "test")]
    photos = [line for path in given for line in path.read_text().splitlines(keepends=True)]
    random.Random(seed).shuffle(photos)
    work.mkdir(parents=True)
    made = [work / path.name for path in given]
    made[0].write_text("".join(photos[TESTED:]))
    made[1].write_text("".join(photos[:TESTED]))
    return made


def make_records(work: Path, photos: Sequence[Path]) -> None:
    train, test = photos
    pets = DATA / "pets"
    cut = ("train/cut_backgrounds.py", f"--pets={pets}", "--classes=species")
    call(*cut, f"--out={work / 'false-alarms'}")
    call(*cut, f"--out={work / 'empty'}", "--images", f"--photos={train}")
    call(
        "train/make_records.py", f"--pets={pets}", f"--out={work / 'records'}", "--classes=species",
        f"--train-list={train}", f"--test-list={test}", f"--backgrounds={work / 'empty'}",
    )  # fmt: skip


def train(records: Path, run: Path, *words: str) -> float:
    """From ImageNet's weights; returns the seconds."""
    return call(
        "train/train.py", f"--records={records}", f"--out={run}", f"--init={WEIGHTS}",
        "--augment=light", "--ema=0.999", *words,
        *(f"--set=task.train_data.parser.aug_scale_{end}" for end in ("min=0.6", "max=1.4")),
    )  # fmt: skip


def evaluated(records: str, out: str) -> dict[str, Any]:
    folder = WORK / out
    places = (f"--run={WORK / 'run'}", f"--records={WORK / records}", f"--out={folder}")
    call("train/evaluate.py", *places)
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return found


def number(found: dict[str, Any], name: str) -> str:
    """A metric with its interval, where it has one."""
    ends = found["intervals"].get(name)
    return f"{found[name]:.3f}" + (" ({:.3f} to {:.3f})".format(*ends) if ends else "")


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
    axes.axhline(BARS["mAP@0.5"], color="0.6", linestyle="--", linewidth=1)
    axes.set(xlabel="step", ylabel="mAP@0.5", ylim=(0, 1), xlim=(0, None))
    axes.grid(color="0.93")
    figure.savefig(folder / "pets-curve.png", metadata={"Software": None})
    shutil.copy(WORK / "evaluation" / "precision_recall.png", folder / "pets-precision-recall.png")
    keep_small(WORK / "evaluation" / "sample.png", folder / "pets-sample.jpg")


def keep_small(sheet: Path, path: Path) -> None:
    with Image.open(sheet) as picture:
        small = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)))
    for quality in range(85, 0, -5):
        small.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
