"""A detector of cats' and dogs' faces, trained on 447 real photos and tested on 89 others.

    python bench/pets.py

Wants the photos in the folder that PETBOX_TEST_DATA names, and about 20 minutes on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import report

DATA = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data"
WEIGHTS = DATA / "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
WORK = report.CHECKOUT / "build" / "bench-pets"
PRESET = "faster_rcnn_mobilenet_v2_pets"


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"{DATA}: not here; name the folder with the photos in PETBOX_TEST_DATA")
    shutil.rmtree(WORK, ignore_errors=True)
    pets, records, run = DATA / "pets", WORK / "records", WORK / "run"
    lists = [
        f"--{split}-list={pets / 'splits' / f'{split}_faces.txt'}" for split in ("train", "test")
    ]
    program(
        "train/make_records.py", f"--pets={pets}", f"--out={records}", "--classes=species", *lists
    )
    seconds = program(
        "train/train.py", f"--records={records}", f"--out={run}", f"--preset={PRESET}",
        f"--init={WEIGHTS}", "--evaluate-every=300",
    )  # fmt: skip
    program("train/evaluate.py", f"--run={run}", f"--records={records}")
    found = json.loads((run / "evaluation.json").read_text())
    head = ["preset", "steps", "training, min", *(name for name in found if name != "split")]
    numbers = [f"{value:.3f}" for name, value in found.items() if name != "split"]
    row = [PRESET, "1500", f"{seconds / 60:.1f}", *numbers]
    print(report.write_table("pets", "python bench/pets.py", head, [row]))


def program(*words: str) -> float:
    """The seconds that one of the project's programs takes."""
    start = time.monotonic()
    subprocess.run([sys.executable, *words], cwd=report.CHECKOUT, check=True)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
