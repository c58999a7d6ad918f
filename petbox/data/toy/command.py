"""Draws a small data set of pets, in the layout of Oxford-IIIT Pet.

Five breeds that differ in shape and coat, one to three animals of one breed per
image, on noisy backgrounds; a detector learns them in minutes. The same options
give the same bytes.

examples:
  petbox toy --out data/toy
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated

from petbox import outputs
from petbox.cli import program
from petbox.cli.progress import progress
from petbox.errors import DataError

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom exclusive


@dataclass(frozen=True)
class Options:
    out: Annotated[Path, "folder to make; it must not exist yet"] = Path("data/toy")
    train: Annotated[int, "images to train on"] = 600
    test: Annotated[int, "images held out"] = 100
    seed: Annotated[int, "another number draws other images"] = 1


@dataclass(frozen=True)
class DrawnImage:
    """One drawn to draw: the `number`th of its breed; ids are as in list.txt."""

    breed: str
    number: int
    class_id: int
    breed_id: int  # within its species

    @property
    def name(self) -> str:
        return f"{self.breed}_{self.number}"

    @property
    def species(self) -> str:
        """As in Oxford-IIIT Pet, a capital is a cat's."""
        return "cat" if self.breed[0].isupper() else "dog"


def main(options: Options) -> None:
    if options.train < 1 or options.test < 1 or options.seed < 0:
        raise DataError("--train and --test must be 1 or more, --seed 0 or more")
    all_drawn = planned(options.train + options.test)
    with outputs.product(options.out) as folder:
        (folder / "images").mkdir(parents=True)
        (folder / "annotations" / "xmls").mkdir(parents=True)
        _write_lists(folder / "annotations", all_drawn[: options.train], all_drawn[options.train :])
        _draw_all(folder, options.seed, all_drawn)
    program.say(f"drew {options.train} images to train on and {options.test} to hold out")
    print(options.out)


def planned(count: int) -> list[DrawnImage]:
    """The all_drawn to draw, breeds in turn."""
    from petbox.data.toy.breeds import BREEDS

    names = [breed.name for breed in BREEDS]
    kin = [[n for n in names if n[0].isupper() == name[0].isupper()] for name in names]
    return [
        DrawnImage(names[at], turn + 1, at + 1, kin[at].index(names[at]) + 1)
        for turn, at in (divmod(i, len(names)) for i in range(count))
    ]


def _draw_all(folder: Path, seed: int, all_drawn: list[DrawnImage]) -> None:
    draw = partial(_draw, folder, seed)
    # The workers first: a process with a bar's thread in it should not be forked.
    with Pool(initializer=_leave_signals) as pool, progress("draw", len(all_drawn)) as advance:
        for _ in pool.imap_unordered(draw, all_drawn, chunksize=4):
            advance(1, "")


def _leave_signals() -> None:
    """Ctrl-C reaches the workers too, but the parent handles it and stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _draw(folder: Path, seed: int, drawn: DrawnImage) -> None:
    import numpy as np

    from petbox.data.toy.breeds import BREEDS
    from petbox.data.toy.scenes import scene

    rng = np.random.default_rng([seed, drawn.class_id, drawn.number])
    image, boxes = scene(BREEDS[drawn.class_id - 1], rng)
    image.save(folder / "images" / f"{drawn.name}.jpg", quality=90)
    xml = _xml(drawn, image.size, boxes)
    (folder / "annotations" / "xmls" / f"{drawn.name}.xml").write_text(xml)


def _write_lists(folder: Path, train: list[DrawnImage], test: list[DrawnImage]) -> None:
    ids = {p.class_id for p in (*train, *test)}
    header = (
        "#Image CLASS-ID SPECIES BREED ID\n"
        f"#ID: 1:{max(ids)} Class ids\n"
        "#SPECIES: 1:Cat 2:Dog\n"
        "#BREED ID: within the species\n"
        "#All images with 1st letter as capital are cats, with a small one dogs\n"
    )
    (folder / "list.txt").write_text(header + _rows([*train, *test]))
    (folder / "trainval.txt").write_text(_rows(train))
    (folder / "test.txt").write_text(_rows(test))


def _rows(all_drawn: Iterable[DrawnImage]) -> str:
    return "".join(
        f"{p.name} {p.class_id} {1 if p.species == 'cat' else 2} {p.breed_id}\n"
        for p in sorted(all_drawn, key=lambda p: p.name)
    )


def _xml(drawn: DrawnImage, size: tuple[int, int], boxes: Iterable[Box]) -> str:
    """VOC's form, in which the first pixel is 1 and the last one belongs to the box."""
    objects = "".join(
        f"<object><name>{drawn.species}</name><pose>Frontal</pose>"
        "<truncated>0</truncated><occluded>0</occluded>"
        f"<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
        "<difficult>0</difficult></object>"
        for left, top, right, bottom in boxes
    )
    return (
        f"<annotation><folder>TOY</folder><filename>{drawn.name}.jpg</filename>"
        "<source><database>petbox toy pets</database><annotation>TOY</annotation>"
        "<image>drawn</image></source>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{objects}</annotation>\n"
    )
