"""Writes photos and their boxes as TFRecords with the Object Detection API's keys.

    python train/make_records.py --pets data/toy --out data/toy-records

Each photo is decoded once to see that it can be; what is wrong with the data stops the program
with the file's name. Photos without XML, such as Oxford-IIIT Pet's official test split, are left
out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox import labels, products, program, records
from petbox.progress import progress


@dataclass(frozen=True)
class Options:
    pets: Annotated[Path, "folder in the layout of Oxford-IIIT Pet"]
    out: Annotated[Path, "folder to make; it must not exist yet"]
    label_map: Annotated[Path | None, "class ids to use (default: those of list.txt)"] = None
    train_list: Annotated[Path | None, "photos to train on (default: trainval.txt)"] = None
    test_list: Annotated[Path | None, "photos held out (default: test.txt)"] = None
    seed: Annotated[int, "of the order of the pictures"] = 1


def main(options: Options) -> None:
    products.refuse_existing(options.out)
    from petbox import dataset

    pets = dataset.read(
        options.pets,
        train_list=options.train_list,
        test_list=options.test_list,
        labels=labels.read(options.label_map) if options.label_map else None,
    )
    program.say("loading TensorFlow ...")
    import petbox.quiet_tensorflow  # noqa: F401  # now, so that the bar counts only pictures

    total = sum(len(photos) for photos in pets.photos.values())
    with products.product(options.out) as folder, progress("records", total) as advance:
        records.write(
            pets,
            folder,
            seed=options.seed,
            source=str(options.pets),
            advance=lambda: advance(1, ""),
        )
    _report(records.read_info(options.out))
    print(options.out)


def _report(info: records.RecordsInfo) -> None:
    for split, pictures in info.pictures.items():
        animals = sum(info.animals[split].values())
        program.say(f"{split}: {pictures} pictures, {animals} animals")
        if names := info.without_boxes[split]:
            more = ", …" if len(names) > 8 else ""
            program.say(
                f"{split}: left out {len(names)} without boxes: {', '.join(names[:8])}{more}"
            )


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
