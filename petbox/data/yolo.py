"""Your own photos in YOLO's form: a text file for each, one object per line.

    CLASS X Y WIDTH HEIGHT   the center and the size, in fractions of the image
    CLASS X1 Y1 X2 Y2 …      or a polygon, which becomes the box around it

    data.yaml                class names, and where the splits are; or classes.txt, a name per line
    images/train/NAME.jpg    with labels/train/NAME.txt
    train/images/NAME.jpg    with train/labels/NAME.txt
    images/NAME.jpg          with labels/NAME.txt, or both in one folder: undivided

Class 0 becomes 1 in the label map, because 0 is the background's. An image without a text file, or
with an empty one, is a background, as in Ultralytics. Of an image only the header is read, for its
size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data.annotations import Animal, Dataset, Division, Edges, Found, Photo
from petbox.data.problems import Problems
from petbox.errors import DataError, needs

NAMES = ("classes.txt", "obj.names", "labels/classes.txt", "train/classes.txt")
UNLABELED = "no label file, so taken to have no object"
_LINE = "CLASS X Y WIDTH HEIGHT with numbers from 0 to 1, as in: 0 0.5 0.5 0.2 0.3"
_LAYOUT = (
    "give --yolo a folder with data.yaml or classes.txt, images/ and labels/, each with train/ and "
    "val/ in it, or the other way round"
)


def read(
    root: Path,
    *,
    division: Division = data_annotations.AS_IN_DATA,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
    problems: Problems | None = None,
) -> Dataset:
    """The data set in `root`; `labels` replaces the ids of its classes, by their names."""
    found, pending = Found(list), problems or Problems()
    config = _config(root)
    names = _names(root, config)
    classes = dict(labels) if labels is not None else {n + 1: name for n, name in names.items()}
    parts = _stated(root, config, found) or _usual(root, found)
    photos: dict[str, dict[str, Photo]] = {}
    known: set[str] = set()
    for split, sources in parts.items():
        photos[split] = {}
        for path in (path for source in sources for path in _images(source)):
            known.add(path.stem)
            number = len(photos[split]) + 1
            with pending.collected():
                photo = _photo(path, number, names, classes, turned, found, pending)
                if photos[split].setdefault(path.stem, photo) is not photo:
                    other = photos[split][path.stem].path
                    raise DataError(f"{path}: {other} has its name; rename one")
        if not any(photo.animals for photo in photos[split].values()):
            pending.check()
            where = " and ".join(map(str, sources))
            raise DataError(f"{where}: no image has a label file with a box in it; {_LAYOUT}")
    if problems is None:
        pending.check()
    what = f"{root}: its folders"
    splits = data_splits.divided(photos, known, {}, division, found, what)
    return Dataset(classes, splits, data_annotations.remarks(found), turned)


def has_labels(folder: Path) -> bool:
    """Whether images with label files lie in `folder`, or in images/ and labels/ in it."""
    return any(label_file(path).is_file() for path in _images(folder))


def label_file(image: Path) -> Path:
    """Beside the image, or in labels/ where the image is in images/."""
    beside = image.with_suffix(".txt")
    parts = [part.lower() for part in image.parts]
    if beside.is_file() or "images" not in parts:
        return beside
    at = len(parts) - 1 - parts[::-1].index("images")
    labels = data_splits.in_any_case(Path(*image.parts[:at]), "labels")
    return labels.joinpath(*image.parts[at + 1 :]).with_suffix(".txt")


def config_file(root: Path) -> Path | None:
    """data.yaml, under whatever name: a YAML file that states `names`."""
    files = sorted((*root.glob("*.yaml"), *root.glob("*.yml")), key=lambda p: p.stem != "data")
    has_names = re.compile(rb"^names\s*:", re.MULTILINE)
    return next((path for path in files if has_names.search(path.read_bytes())), None)


def names_file(root: Path) -> Path | None:
    files = (data_splits.in_any_case(root, name) for name in NAMES)
    return next((file for file in files if file.is_file()), None)


# Classes and splits


def _config(root: Path) -> dict[str, Any]:
    path = config_file(root)
    if path is None:
        return {}
    needs("yaml", "train")
    import yaml  # type: ignore[import-untyped]

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as YAML ({reason}); correct it") from error
    names = config.get("names") if isinstance(config, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(n) is int and n >= 0 for n in names):
        raise DataError(f"{path}: names: must be a list of class names, or of numbers and names")
    return {**config, "names": {number: str(name) for number, name in names.items()}, "file": path}


def _names(root: Path, config: Mapping[str, Any]) -> dict[int, str]:
    names: dict[int, str] = config.get("names", {})
    path = config.get("file") or names_file(root)
    if path is None:
        raise DataError(f"{root}: no data.yaml and no classes.txt; {_LAYOUT}")
    if "names" not in config:
        lines = data_splits.text_lines(path, _LAYOUT)
        names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    if twice or not names:
        trouble = f"{min(twice)!r} is there twice" if twice else "names no class"
        raise DataError(f"{path}: {trouble}; give each class its own name")
    return names


def _stated(root: Path, config: Mapping[str, Any], found: Found) -> dict[str, list[Path]]:
    """The splits of data.yaml: a folder each, several, or a text file with a path per line."""
    sources = {}
    for split, keys in {"train": ("train",), **data_splits.HELD}.items():
        key = next((key for key in keys if config.get(key)), None)
        if key:
            stated = config[key] if isinstance(config[key], list) else [config[key]]
            sources[split] = [_existing(root, config, key, str(one)) for one in stated]
    if [*sources] == ["train"]:
        return {"": sources["train"]}
    return data_splits.with_test(sources, found, lambda paths: paths[0].name)


def _existing(root: Path, config: Mapping[str, Any], key: str, stated: str) -> Path:
    """The path that data.yaml states; tools write paths of their own machine, so `root` counts."""
    inside = Path(*[part for part in Path(stated).parts if part not in ("..", "/")])
    base = root / str(config.get("path") or ".")
    for path in (base / stated, root / stated, root / inside):
        if path.exists():
            return path
    raise DataError(f"{config['file']}: {key}: there is no {root / inside}; correct the path")


def _usual(root: Path, found: Found) -> dict[str, list[Path]]:
    """The splits by the usual names of their folders."""
    for folder in (data_splits.in_any_case(root, "images"), root):
        parts = data_splits.folders(folder, has_labels, found)
        if "" not in parts:
            return {split: [path] for split, path in parts.items()}
    return {"": [root]}


# Photos


def _images(source: Path) -> list[Path]:
    """The images in a folder, also deeper in it, or in the list that a text file is."""
    if source.is_file():
        lines = data_splits.text_lines(source, _LAYOUT)
        return [source.parent / line.strip() for line in lines if line.strip()]
    found = (
        path
        for path in source.rglob("[!.]*")
        if path.suffix.lower() in data_annotations.IMAGE_SUFFIXES
    )
    return sorted(path for path in found if path.is_file())


def _photo(
    path: Path,
    number: int,
    names: Mapping[int, str],
    classes: Mapping[int, str],
    turned: str,
    found: Found,
    problems: Problems,
) -> Photo:
    text = label_file(path)
    lines = data_splits.text_lines(text, _LAYOUT) if text.exists() else []
    if not text.exists():
        found[UNLABELED].append(path.name)
    # Without a box it does not matter which way up the image is.
    width, height = _size(path, turned if any(map(str.strip, lines)) else "ignore")
    animals = []
    for at, line in enumerate(lines, start=1):
        if line.strip():
            with problems.collected(boxes_of=str(text)):
                where = f"{text}: line {at}"
                name, (xmin, ymin, xmax, ymax) = _object(where, line, names)
                edges = xmin * width, ymin * height, xmax * width, ymax * height
                box = data_annotations.trimmed_box(where, edges, (width, height), path.name, found)
                animals.append(Animal(box, name, data_annotations.label_of(name, classes, where)))
    breed = data_annotations.breed_of(animals)
    return Photo(path, number, breed, width, height, tuple(animals), str(text))


def _object(where: str, line: str, names: Mapping[int, str]) -> tuple[str, Edges]:
    """The class in a line, and its edges in fractions."""
    fields = line.split()
    try:
        number, values = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        number, values = -1, []
    polygon = len(values) >= 6 and len(values) % 2 == 0
    if number < 0 or not (len(values) == 4 or polygon):
        raise DataError(f"{where}: {line.strip()[:60]!r} is not {_LINE}")
    if number not in names:
        raise DataError(
            f"{where}: class {number} has no name; there are {min(names)} to {max(names)}"
        )
    if not all(0 <= value <= 1 for value in values):  # nor nan
        raise data_annotations.BadBox(
            f"{where}: {line.strip()[:60]!r} is not in fractions; write {_LINE}"
        )
    if polygon:
        x, y = values[::2], values[1::2]
        return names[number], (min(x), min(y), max(x), max(y))
    x0, y0, width, height = values
    return names[number], (x0 - width / 2, y0 - height / 2, x0 + width / 2, y0 + height / 2)


def _size(path: Path, turned: str) -> tuple[int, int]:
    """The size of the image, turned or not, that its boxes were drawn on."""
    needs("PIL", "client")
    from PIL import ExifTags, Image

    from petbox.images import photos

    try:
        with Image.open(path) as image:
            size, orientation = image.size, image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken image is reported when it is decoded
        return 1, 1
    if orientation in photos.TURNED and turned == "by-size":
        raise DataError(
            f"{path}: its EXIF turns it, and a label file does not state whether its boxes were "
            "drawn on the turned image; choose --turned follow or --turned ignore"
        )
    on_its_side = turned == "follow" and orientation in photos.ON_ITS_SIDE
    return (size[1], size[0]) if on_its_side else size
