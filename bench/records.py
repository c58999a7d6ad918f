"""The speed of `petbox records`: photos read, decoded, and written as records.

    python bench/records.py

Real annotated photos of at most 400 pixels, from the folder of test data (PETBOX_TEST_DATA); the
larger set repeats it. TensorFlow's import, a few seconds per run, is not counted.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import report

from petbox.data import pets, record_writer
from petbox.data.annotations import Dataset, Division
from petbox.tf import tf

DATA = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data" / "pets"
OUT = report.CHECKOUT / "build" / "bench-records"
RUNS = 3


@dataclass(frozen=True)
class Taken:
    seconds: float
    cpu: float


def main() -> None:
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: not here; name the folder with test data in PETBOX_TEST_DATA")
    tf.io.decode_image(next((DATA / "images").iterdir()).read_bytes())  # the first takes longer
    cores = len(os.sched_getaffinity(0))
    rows = [row(times, workers) for times, workers in ((1, 1), (1, cores), (2, cores), (4, cores))]
    head = ["photos", "workers", "s", "images/s", "CPU s", "CPU ms an image", "bar of images/s"]
    print(report.write_table("records", "python bench/records.py", head, rows))


def row(times: int, workers: int) -> list[str]:
    """The best of several runs, because the machine is shared."""
    taken = [measured(times, workers) for _ in range(RUNS)]
    best = min(taken, key=lambda run: run.seconds)
    count = times * sum(len(split) for split in photos().photos.values())
    return [
        str(count),
        str(workers),
        f"{best.seconds:.2f}",
        f"{count / best.seconds:.0f}",
        f"{best.cpu:.2f}",
        f"{1000 * best.cpu / count:.2f}",
        report.at_least(count / best.seconds, 200) if workers > 1 else "",
    ]


def measured(times: int, workers: int) -> Taken:
    shutil.rmtree(OUT, ignore_errors=True)
    start, cpu = time.monotonic(), time.process_time()
    for _ in range(times - 1):
        photos()  # each photo's annotation is read as often as its picture
    found = repeated(photos(), times)
    record_writer.write(found, OUT, seed=1, source=str(DATA), advance=lambda: None, workers=workers)
    taken = Taken(time.monotonic() - start, time.process_time() - cpu)
    shutil.rmtree(OUT)
    return taken


def photos() -> Dataset:
    return pets.read(DATA, division=Division(test_share=0.2))


def repeated(found: Dataset, times: int) -> Dataset:
    splits = {split: times * chosen for split, chosen in found.photos.items()}
    return replace(found, photos=splits)


if __name__ == "__main__":
    main()
