"""Photos of pets with their boxes, in the layout of Oxford-IIIT Pet, read and checked.

    images/NAME.jpg              the breed is in the name: Abyssinian_100 (capital: a cat)
    annotations/xmls/NAME.xml    size and face boxes, in PASCAL VOC's form
    annotations/trimaps/NAME.png which pixels are the animal, for boxes around the body
    annotations/list.txt         NAME CLASS-ID SPECIES BREED-ID, all photos
    annotations/trainval.txt, test.txt    the same lines for each split

The real set has a test split without XMLs, XMLs on no list, two animals in one photo, a trimap that
is all background, and stray files. Each is handled on purpose and reported in `remarks`; any other
contradiction is an error that names the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data import voc
from petbox.data.annotations import Animal, Box, Dataset, Division, Found, Photo
from petbox.data.problems import Problems
from petbox.errors import DataError, needs

Boxes = Literal["face", "body"]
Classes = Literal["breed", "species"]

_NAME = re.compile(r"(?P<breed>.+)_\d+")
_SPECIES = {1: "cat", 2: "dog"}
BACKGROUND = 2  # of a trimap's pixels
_LAYOUT = (
    "give --pets a folder with images/ and annotations/ as Oxford-IIIT Pet has them "
    "(`petbox fetch` downloads it, `petbox toy` draws one)"
)


@dataclass(frozen=True)
class _Row:
    """A line of list.txt or of a split's list."""

    name: str
    class_id: int
    species: int
    where: str

    @property
    def breed(self) -> str:
        match = _NAME.fullmatch(self.name)
        if match is None:
            raise DataError(f"{self.where}: {self.name} is not of the form BREED_NUMBER; rename it")
        return match["breed"]


@dataclass(frozen=True)
class _Pets:
    """The folder, and how to read it."""

    root: Path
    boxes: Boxes
    classes: Classes
    labels: dict[int, str]
    numbers: dict[str, int]  # each photo's position in list.txt, from 1 on
    images: dict[str, Path]
    problems: Problems
    found: Found = field(default_factory=lambda: Found(list))

    @property
    def annotations(self) -> Path:
        return self.root / "annotations"

    @property
    def drawn_in(self) -> Path:
        return self.annotations / ("xmls" if self.boxes == "face" else "trimaps")


def read(
    root: Path,
    *,
    boxes: Boxes = "face",
    classes: Classes = "breed",
    division: Division = data_annotations.AS_IN_DATA,
    labels: Mapping[int, str] | None = None,
    problems: Problems | None = None,
) -> Dataset:
    """The data set in `root`; `labels` replaces the class ids of its list.txt.

    The splits are those of trainval.txt and test.txt, unless `division` has others. No image is
    opened.
    """
    annotations = root / "annotations"
    images = _jpegs(root / "images")
    rows = list(_rows(annotations / "list.txt"))
    numbers = {row.name: number for number, row in enumerate(rows, start=1)}
    names = dict(labels) if labels is not None else _labels(rows, classes)
    pending = problems or Problems()
    pets = _Pets(root, boxes, classes, names, numbers, images, pending)
    lists = _lists(annotations, division)
    chosen = {split: list(_rows(path)) for split, path in lists.items()}
    trained = {row.name for row in chosen["train"]}
    for row in chosen.get("test", []):
        if row.name in trained:
            raise data_splits.in_both(f"{row.where}: {row.name}")
    known = {row.name: row for row in rows}
    chosen = {s: [r for r in given if _is_valid(r, known, pets)] for s, given in chosen.items()}
    by_lists = division.test_share is None
    photos = {
        split: _photos(pets, split_rows, f"left out of {split}" if by_lists else "left out")
        for split, split_rows in chosen.items()
    }
    for split, found in photos.items():
        if not found:
            pending.check()
            raise DataError(
                f"{lists[split]}: not one of its photos has boxes in {pets.drawn_in}; hold others "
                f"out at random with --test-share 0.2, or name another list with --{split}-list"
            )
    if problems is None:
        pending.check()
    if division.test_share is not None:
        photos = data_splits.at_random(photos["train"], division.test_share, division.seed)
    _remark_on_unused_files(pets, {row.name for split in chosen.values() for row in split})
    return Dataset(names, photos, data_annotations.remarks(pets.found), turned="ignore")


def _lists(annotations: Path, division: Division) -> dict[str, Path]:
    if division.test_share is not None:  # both splits come out of one list
        return {"train": division.train_list or annotations / "list.txt"}
    return {
        "train": division.train_list or annotations / "trainval.txt",
        "test": division.test_list or annotations / "test.txt",
    }


# Photos


def _photos(pets: _Pets, rows: Sequence[_Row], left_out: str) -> tuple[Photo, ...]:
    """The photos with boxes; the others get the remark `left_out`."""
    act = _by_face if pets.boxes == "face" else _by_body
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding trimaps takes a while
        found = pool.map(lambda row: _collected(act, pets, row), rows)
        photos = []
        for row, photo in zip(rows, found, strict=True):
            if isinstance(photo, str):
                pets.found[f"{left_out}, {photo}"].append(row.name)
            elif photo:
                photos.append(photo)
    several = [photo.name for photo in photos if len(photo.animals) > 1]
    pets.found["more than one animal"].extend(several)
    return tuple(photos)


def _collected(
    act: Callable[[_Pets, _Row], Photo | str], pets: _Pets, row: _Row
) -> Photo | str | None:
    with pets.problems.collected():
        return act(pets, row)
    return None


def _by_face(pets: _Pets, row: _Row) -> Photo | str:
    """The photo, or why it is left out."""
    xml = pets.annotations / "xmls" / f"{row.name}.xml"
    if not xml.exists():
        return "no XML"
    annotation = voc.annotation(xml, pets.problems)
    if not annotation.objects:
        raise DataError(f"{xml}: no <object> in it; delete the file if the photo shows no pet")
    species = _SPECIES[row.species]
    for animal in annotation.animals:
        if animal.name != species:
            raise DataError(
                f"{xml}: an object is called {animal.name!r} in a {species}'s photo; "
                f"<name> must be {species}, because the breed is in the file's name"
            )
    name, label = _class(pets, row)
    animals = tuple(replace(animal, name=name, label=label) for animal in annotation.animals)
    return _photo(pets, row, xml, annotation.width, annotation.height, animals)


def _by_body(pets: _Pets, row: _Row) -> Photo | str:
    """The same, from the trimap; one box around two animals would train the wrong thing."""
    png = pets.annotations / "trimaps" / f"{row.name}.png"
    if not png.exists():
        return "no trimap"
    xml = pets.annotations / "xmls" / f"{row.name}.xml"
    if xml.exists() and len(voc.annotation(xml).animals) > 1:
        return "two animals in one trimap"
    width, height, box = _trimap(png)
    if box is None:
        return "its trimap is all background"
    return _photo(pets, row, png, width, height, (Animal(box, *_class(pets, row)),))


def _trimap(path: Path) -> tuple[int, int, Box | None]:
    """A trimap's size, and the box around its pet, border included; None if there is no pet."""
    needs("PIL", "client")
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise anything
        raise DataError(f"{path}: cannot be decoded as a trimap; fetch it again") from error
    if image.mode not in ("L", "P"):
        raise DataError(f"{path}: of mode {image.mode}; a trimap has one number a pixel, 1 to 3")
    others = {value for _, value in image.getcolors() or []} - {1, BACKGROUND, 3}
    if others:
        raise DataError(
            f"{path}: has pixels of {others.pop()}; a trimap's are 1 (pet), 2 (background) or "
            "3 (border)"
        )
    pet = image.point([0 if value == BACKGROUND else 255 for value in range(256)], "L").getbbox()
    if pet is None:
        return *image.size, None
    left, top, right, bottom = pet  # right and bottom exclusive: the pixels' far edges
    width, height = image.size
    return width, height, (top / height, left / width, bottom / height, right / width)


def _photo(
    pets: _Pets, row: _Row, annotation: Path, width: int, height: int, animals: tuple[Animal, ...]
) -> Photo:
    path, number = pets.images[row.name], pets.numbers[row.name]
    return Photo(path, number, row.breed, width, height, animals, str(annotation))


def _class(pets: _Pets, row: _Row) -> tuple[str, int]:
    name = row.breed if pets.classes == "breed" else _SPECIES[row.species]
    return name, data_annotations.label_of(name, pets.labels, row.where)


def _jpegs(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in folder.glob("[!.]*.jpg")}
    if not found:
        trouble = "has no .jpg in it" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {trouble}; {_LAYOUT}")
    return found


def _remark_on_unused_files(pets: _Pets, chosen: set[str]) -> None:
    """Without the hidden files that macOS adds to archives."""
    pets.found["on list.txt but in neither split"].extend(pets.numbers.keys() - chosen)
    pets.found["image on no list"].extend(pets.images.keys() - pets.numbers.keys())
    ending = {"face": ".xml", "body": ".png"}[pets.boxes]
    drawn = {path.name for path in pets.drawn_in.glob(f"[!.]*{ending}")}
    pets.found[f"{pets.drawn_in.name} of a photo on no list"].extend(
        drawn - {name + ending for name in pets.numbers}
    )
    pets.found["file that is not a .jpg, ignored"].extend(
        path.name for path in (pets.root / "images").glob("[!.]*") if path.suffix != ".jpg"
    )


# Lists


def _rows(path: Path) -> Iterator[_Row]:
    seen: dict[str, int] = {}
    for number, line in enumerate(data_splits.text_lines(path, _LAYOUT), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        row = _row(line, f"{path}: line {number}")
        if row.name in seen:
            raise DataError(
                f"{row.where}: {row.name} is named in line {seen[row.name]} already; remove one"
            )
        seen[row.name] = number
        yield row
    if not seen:
        raise DataError(f"{path}: names no photo; {_LAYOUT}")


def _row(line: str, where: str) -> _Row:
    name, *numbers = line.split()
    if len(numbers) != 3 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise DataError(
            f"{where}: {line.strip()[:60]!r} is not NAME CLASS-ID SPECIES BREED-ID; "
            "a line looks like: Abyssinian_100 1 1 1"
        )
    species = int(numbers[1])
    if _SPECIES.get(species) != ("cat" if name[0].isupper() else "dog"):
        raise DataError(
            f"{where}: species {species} does not fit the name {name}; "
            "cats are 1 and have a capital, dogs are 2 and have none"
        )
    return _Row(name, int(numbers[0]), species, where)


def labels(root: Path, classes: Classes) -> dict[int, str]:
    """The class names of the data set in `root`."""
    return _labels(list(_rows(root / "annotations" / "list.txt")), classes)


def _labels(rows: Sequence[_Row], classes: Classes) -> dict[int, str]:
    """The species, or the breeds by their class ids; each breed must have its own."""
    if classes == "species":
        return dict(_SPECIES)
    labels: dict[int, str] = {}
    ids: dict[str, int] = {}
    for row in rows:
        label, breed = row.class_id, row.breed
        if labels.setdefault(label, breed) != breed or ids.setdefault(breed, label) != label:
            before = labels[label] if labels[label] != breed else ids[breed]
            raise DataError(
                f"{row.where}: class id {label} for {breed}, but {before} before; "
                "give each breed one id of its own"
            )
    return dict(sorted(labels.items()))


def _is_valid(row: _Row, known: Mapping[str, _Row], pets: _Pets) -> bool:
    with pets.problems.collected():
        _check_row(row, known, pets)
        return True
    return False


def _check_row(row: _Row, known: Mapping[str, _Row], pets: _Pets) -> None:
    if row.name not in known:
        all_photos = pets.annotations / "list.txt"
        raise DataError(f"{row.where}: {row.name} is not in {all_photos}; add it there")
    other = known[row.name]
    if other.class_id != row.class_id:
        raise DataError(
            f"{row.where}: {row.name} has class id {row.class_id}, but {other.class_id} in "
            f"{other.where}; correct one"
        )
    if row.name not in pets.images:
        missing = pets.root / "images" / f"{row.name}.jpg"
        raise DataError(f"{missing}: no such file, but {row.where} names it; fetch it again")
