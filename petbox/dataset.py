"""Photos of pets with their boxes, in the layout of Oxford-IIIT Pet, read and checked.

    images/NAME.jpg              the breed is in the name: Abyssinian_100 (capital: a cat)
    annotations/xmls/NAME.xml    size and boxes, in PASCAL VOC's form
    annotations/list.txt         NAME CLASS-ID SPECIES BREED-ID, all photos
    annotations/trainval.txt, test.txt    the same lines for each split

What contradicts itself stops the reading with the file's name; nothing is mended or dropped
here. The official test split has no XML: such photos are listed apart, for they cannot be
trained on or measured against. Never writes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError, needs
from petbox.voc import Animal, annotation

needs("PIL", "client")

from PIL import Image  # noqa: E402  # after the check for the extra

_NAME = re.compile(r"(?P<breed>.+)_\d+")
_SPECIES = {1: "cat", 2: "dog"}
_LAYOUT = (
    "give --pets a folder with images/ and annotations/ as Oxford-IIIT Pet has them "
    "(train/make_toy_pets.py draws one)"
)


@dataclass(frozen=True)
class Photo:
    """A photo, all of whose animals are of one breed."""

    name: str
    path: Path
    number: int  # its place in list.txt, from 1 on
    breed: str
    label: int
    species: str
    width: int
    height: int
    animals: tuple[Animal, ...]


@dataclass(frozen=True)
class Pets:
    """A data set: its photos with boxes by split, and what its lists name without boxes."""

    labels: dict[int, str]
    photos: dict[str, tuple[Photo, ...]]  # by split: train, test
    without_boxes: dict[str, tuple[str, ...]]


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


def read(
    root: Path,
    *,
    train_list: Path | None = None,
    test_list: Path | None = None,
    labels: Mapping[int, str] | None = None,
) -> Pets:
    """The data set in `root`; `labels` replaces the class ids of its list.txt.

    Pictures are opened only as far as their size; `jpeg` decodes one whole.
    """
    annotations = root / "annotations"
    images = _jpegs(root / "images")
    rows = list(_rows(annotations / "list.txt"))
    names = dict(labels) if labels is not None else _labels(rows)
    known = {row.name: (number, row) for number, row in enumerate(rows, start=1)}
    lists = {
        "train": train_list or annotations / "trainval.txt",
        "test": test_list or annotations / "test.txt",
    }
    splits = {split: list(_rows(path)) for split, path in lists.items()}
    _refuse_shared(splits["train"], splits["test"])

    photos: dict[str, tuple[Photo, ...]] = {}
    without_boxes: dict[str, tuple[str, ...]] = {}
    for split, chosen in splits.items():
        for row in chosen:
            _refuse_unknown(row, known, images, annotations)
        xmls = {row.name: annotations / "xmls" / f"{row.name}.xml" for row in chosen}
        without_boxes[split] = tuple(name for name, xml in xmls.items() if not xml.exists())
        photos[split] = tuple(
            _photo(known[row.name][0], row, images[row.name], xmls[row.name], names)
            for row in chosen
            if row.name not in without_boxes[split]
        )
        if not photos[split]:
            raise DataError(
                f"{lists[split]}: not one of its photos has boxes in {annotations / 'xmls'}; "
                f"name another list with --{split}-list"
            )
    return Pets(names, photos, without_boxes)


def jpeg(photo: Photo) -> bytes:
    """The photo's file, once it has proved to decode to its last pixel."""
    encoded = photo.path.read_bytes()
    with _opened(photo.path, encoded) as image:
        try:
            image.load()
        except Exception as error:  # Pillow's decoders raise whatever comes their way
            raise _broken(photo.path, error) from error
    return encoded


# Photos


def _photo(number: int, row: _Row, path: Path, xml: Path, labels: Mapping[int, str]) -> Photo:
    species = _SPECIES[row.species]
    width, height, animals = annotation(xml, species)
    with _opened(path) as image:
        if image.size != (width, height):
            raise DataError(
                f"{xml}: says {width}x{height}, but {path} is {image.width}x{image.height}; "
                "its boxes are of another picture: fetch both again"
            )
    label = _label(row, labels)
    return Photo(row.name, path, number, row.breed, label, species, width, height, animals)


def _label(row: _Row, labels: Mapping[int, str]) -> int:
    for label, name in labels.items():
        if name == row.breed:
            return label
    raise DataError(
        f"{row.where}: the breed {row.breed} is not in the label map; add it there, or leave out "
        "--label-map to number the breeds as list.txt does"
    )


def _jpegs(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in folder.glob("*.jpg")}
    if not found:
        trouble = "has no .jpg in it" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {trouble}; {_LAYOUT}")
    return found


def _opened(path: Path, encoded: bytes | None = None) -> Image.Image:
    """The picture with its header read: `path` is opened unless its bytes are given."""
    try:
        image = Image.open(path if encoded is None else io.BytesIO(encoded))
    except Exception as error:  # as above
        raise _broken(path, error) from error
    if image.format not in ("JPEG", "MPO"):  # an MPO is a JPEG with more pictures behind it
        image.close()
        raise DataError(
            f"{path}: named .jpg but a {image.format}; save it as JPEG under the same name, "
            "or take it off the lists"
        )
    return image


def _broken(path: Path, error: Exception) -> DataError:
    why = "it is empty" if path.stat().st_size == 0 else _one_line(error)
    return DataError(f"{path}: cannot be decoded ({why}); replace it, or take it off the lists")


def _one_line(error: Exception) -> str:
    """Pillow's reason; without the address of the buffer it was read from."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"cannot identify image file .*", "it is no picture", text)


# Lists


def _rows(path: Path) -> Iterator[_Row]:
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_LAYOUT}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); replace it") from error


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
            f"{where}: species {species} does not go with the name {name}; "
            "cats are 1 and have a capital, dogs are 2 and have none"
        )
    return _Row(name, int(numbers[0]), species, where)


def _labels(rows: list[_Row]) -> dict[int, str]:
    """The breeds by their class ids, of which each must have one of its own."""
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


def _refuse_shared(train: list[_Row], test: list[_Row]) -> None:
    trained = {row.name for row in train}
    for row in test:
        if row.name in trained:
            raise DataError(
                f"{row.where}: {row.name} is trained on as well, so it measures nothing; "
                "take it off one list"
            )


def _refuse_unknown(
    row: _Row, known: Mapping[str, tuple[int, _Row]], images: Mapping[str, Path], folder: Path
) -> None:
    if row.name not in known:
        raise DataError(f"{row.where}: {row.name} is not in {folder / 'list.txt'}; add it there")
    other = known[row.name][1]
    if other.class_id != row.class_id:
        raise DataError(
            f"{row.where}: {row.name} has class id {row.class_id}, but {other.class_id} in "
            f"{other.where}; correct one"
        )
    if row.name not in images:
        missing = folder.parent / "images" / f"{row.name}.jpg"
        raise DataError(f"{missing}: no such file, but {row.where} names it; fetch it again")
