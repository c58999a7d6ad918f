"""Cuts images without any pet out of the photos of Oxford-IIIT Pet, by their trimaps.

Writes them as records whose split `test` has no object at all, so that `petbox
evaluate` counts false alarms on them, or with --images as JPEGs in a folder, to
train on. One square is cut of a photo, the largest one without a pixel of the
pet, of its border or of its face box. Photos whose trimap shows no pet are not
used, because those trimaps are wrong.

examples:
  python train/cut_backgrounds.py --pets data/pets --classes species --out data/backgrounds
  petbox evaluate --run runs/pets --records data/backgrounds

  python train/cut_backgrounds.py --pets data/pets --images --count 200 \\
      --photos data/pets/annotations/trainval.txt --out data/empty
  petbox records --pets data/pets --classes species --backgrounds data/empty --out data/records
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import Checked, Json, Value, at_least
from petbox.data import pets, record_writer, splits, voc
from petbox.data.annotations import Dataset, Photo
from petbox.errors import DataError

MARGIN = 5  # pixels around the pet, for whiskers that a trimap misses
STEP = 8  # pixels between the sizes that are tried
COUNT = Value("N", at_least(1))


@dataclass(frozen=True)
class Options(Checked):
    pets: Annotated[Path, "folder in the layout of Oxford-IIIT Pet, with trimaps", "DIR"]
    out: Annotated[Path, "folder to make; it must not exist yet"]
    classes: Annotated[Literal["breed", "species"], "classes of the run: 37, or cat and dog"] = (
        "breed"
    )
    photos: Annotated[Path | None, "list of photos to cut from (default: test.txt)", "FILE"] = None
    images: Annotated[bool, "write a folder of JPEGs, for --backgrounds of records and train"] = (
        False
    )
    count: Annotated[int, "images to cut", COUNT] = 100
    least: Annotated[int, "smallest side in pixels", COUNT] = 96
    seed: Annotated[int, "which photos are cut, and where"] = 1
    json: Json = False


@dataclass(frozen=True)
class Square:
    left: int
    top: int
    side: int


def main(options: Options) -> None:
    outputs.reject_existing(options.out)
    labels = pets.labels(options.pets, options.classes)
    listed = options.photos or options.pets / "annotations/test.txt"
    lines = splits.text_lines(listed, "name a list of photos with --photos")
    names = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    random.Random(options.seed).shuffle(names)
    with outputs.product(options.out) as partial, tempfile.TemporaryDirectory() as scratch:
        folder = partial if options.images else Path(scratch)
        folder.mkdir(exist_ok=True)
        cut = list(itertools.islice(crops(options, names, folder), options.count))
        if len(cut) < options.count:
            raise DataError(
                f"{listed}: only {len(cut)} of its photos have {options.least} pixels without a "
                "pet; pass a smaller --count or --least, or other --photos"
            )
        if not options.images:
            _write_records(options, labels, cut, partial)
    program.say(f"{len(cut)} images (all without objects)")
    program.report(options.out, options.json, images=len(cut))


def _write_records(
    options: Options, labels: dict[int, str], cut: list[Photo], folder: Path
) -> None:
    program.say("loading TensorFlow ...")
    dataset = Dataset(labels, {"test": tuple(cut)}, {}, turned="ignore")
    source = f"backgrounds of {options.pets}"
    record_writer.write(dataset, folder, seed=options.seed, source=source, advance=lambda: None)


def crops(options: Options, names: list[str], folder: Path) -> Iterator[Photo]:
    """A background of each photo that has one, as a file in `folder`."""
    from PIL import Image

    annotations = options.pets / "annotations"
    for number, name in enumerate(names):
        file, trimap = options.pets / f"images/{name}.jpg", annotations / f"trimaps/{name}.png"
        if not (file.exists() and trimap.exists()):
            continue
        taken = _taken(trimap, annotations / f"xmls/{name}.xml")
        square = largest(taken, options.least, random.Random(f"{options.seed} {name}"))
        if square is None:
            continue
        path = folder / f"{name}_{square.left}_{square.top}.jpg"
        with Image.open(file) as image:
            right, bottom = square.left + square.side, square.top + square.side
            cut = image.convert("RGB").crop((square.left, square.top, right, bottom))
            cut.save(path, quality=95)
        yield Photo(path, number, "", square.side, square.side, (), str(trimap))


def _taken(trimap: Path, xml: Path) -> Any:
    """Which pixels are or may be of a pet [height, width]; all, if the trimap shows none."""
    import numpy as np
    from PIL import Image

    with Image.open(trimap) as image:
        taken = np.array(image) != pets.BACKGROUND
    if not taken.any():
        return ~taken
    height, width = taken.shape
    for animal in voc.annotation(xml).animals if xml.exists() else ():
        ymin, xmin, ymax, xmax = animal.box
        rows = slice(int(ymin * height), int(ymax * height) + 1)
        taken[rows, int(xmin * width) : int(xmax * width) + 1] = True
    return taken


def largest(taken: Any, least: int, chance: random.Random) -> Square | None:
    """One of the largest squares, at least `least` wide, without a taken pixel near it."""
    import numpy as np

    wide = np.pad(taken, MARGIN)  # beyond the photo there is no pet
    sums = np.pad(wide.astype(np.int64).cumsum(0).cumsum(1), [(1, 0), (1, 0)])
    for side in range(min(taken.shape), least - 1, -STEP):
        far = side + 2 * MARGIN
        inside = sums[far:, far:] - sums[:-far, far:] - sums[far:, :-far] + sums[:-far, :-far]
        free = np.argwhere(inside == 0)
        if len(free):
            top, left = free[chance.randrange(len(free))]
            return Square(int(left), int(top), side)
    return None
