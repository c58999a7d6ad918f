"""Draws a small data set of pets, in the layout of Oxford-IIIT Pet.

Five breeds that differ in shape and coat, one to three animals of one breed per
image, on noisy backgrounds; a detector learns them in minutes. The same options
give the same bytes.

examples:
  petbox toy --out data/toy
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Annotated

from petbox import outputs
from petbox.cli import program
from petbox.cli.progress import progress
from petbox.errors import DataError

STOPS = {signal.SIGINT, signal.SIGTERM}

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom exclusive


@dataclass(frozen=True)
class Options:
    out: Annotated[Path, "folder to make; it must not exist yet"] = Path("data/toy")
    train: Annotated[int, "images to train on"] = 600
    test: Annotated[int, "images held out"] = 100
    seed: Annotated[int, "another number draws other images"] = 1


@dataclass(frozen=True)
class Drawing:
    """An image to draw: the `number`th of its breed; ids are as in list.txt."""

    breed: str
    number: int
    class_id: int
    breed_id: int  # within its species

    @property
    def name(self) -> str:
        return f"{self.breed}_{self.number}"

    @property
    def species(self) -> str:
        """As in Oxford-IIIT Pet, the names of cats begin with a capital."""
        return "cat" if self.breed[0].isupper() else "dog"


def main(options: Options) -> None:
    if options.train < 1 or options.test < 1 or options.seed < 0:
        raise DataError("--train and --test must be 1 or more, --seed 0 or more")
    drawings = planned(options.train + options.test)
    with outputs.product(options.out) as folder:
        (folder / "images").mkdir(parents=True)
        (folder / "annotations" / "xmls").mkdir(parents=True)
        _write_lists(folder / "annotations", drawings[: options.train], drawings[options.train :])
        _draw_all(folder, options.seed, drawings)
    program.say(f"drew {options.train} images to train on and {options.test} to hold out")
    print(options.out)


def planned(count: int) -> list[Drawing]:
    """The images to draw, breeds in turn."""
    from petbox.data.toy.breeds import BREEDS

    names = [breed.name for breed in BREEDS]
    same_species = [[n for n in names if n[0].isupper() == name[0].isupper()] for name in names]
    return [
        Drawing(names[at], turn + 1, at + 1, same_species[at].index(names[at]) + 1)
        for turn, at in (divmod(i, len(names)) for i in range(count))
    ]


def _draw_all(folder: Path, seed: int, drawings: list[Drawing]) -> None:
    draw = partial(_draw, folder, seed)
    # The workers first, because a process with the thread of a progress bar should not be forked.
    with _workers() as pool, progress("draw", len(drawings)) as advance:
        for _ in pool.imap_unordered(draw, drawings, chunksize=4):
            advance(1, "")


def _workers() -> Pool:
    """Signals wait until a worker handles them.

    Python forgets those that come while it forks, and the pool waits for its workers to end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        return multiprocessing.Pool(initializer=_ignore_ctrl_c)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _ignore_ctrl_c() -> None:
    """Ctrl-C reaches the workers too, but the parent handles it and stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _draw(folder: Path, seed: int, drawing: Drawing) -> None:
    import numpy as np

    from petbox.data.toy.breeds import BREEDS
    from petbox.data.toy.scenes import scene

    rng = np.random.default_rng([seed, drawing.class_id, drawing.number])
    image, boxes = scene(BREEDS[drawing.class_id - 1], rng)
    image.save(folder / "images" / f"{drawing.name}.jpg", quality=90)
    xml = _xml(drawing, image.size, boxes)
    (folder / "annotations" / "xmls" / f"{drawing.name}.xml").write_text(xml)


def _write_lists(folder: Path, train: list[Drawing], test: list[Drawing]) -> None:
    ids = {drawing.class_id for drawing in (*train, *test)}
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


def _rows(drawings: Iterable[Drawing]) -> str:
    return "".join(
        f"{each.name} {each.class_id} {1 if each.species == 'cat' else 2} {each.breed_id}\n"
        for each in sorted(drawings, key=lambda each: each.name)
    )


def _xml(drawing: Drawing, size: tuple[int, int], boxes: Iterable[Box]) -> str:
    """VOC's form, in which the first pixel is 1 and the last one belongs to the box."""
    objects = "".join(
        f"<object><name>{drawing.species}</name><pose>Frontal</pose>"
        "<truncated>0</truncated><occluded>0</occluded>"
        f"<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
        "<difficult>0</difficult></object>"
        for left, top, right, bottom in boxes
    )
    return (
        f"<annotation><folder>TOY</folder><filename>{drawing.name}.jpg</filename>"
        "<source><database>petbox toy pets</database><annotation>TOY</annotation>"
        "<image>drawn</image></source>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{objects}</annotation>\n"
    )
