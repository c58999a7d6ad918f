"""Which format a folder of annotated photos is in, recognized by the files in it.

Opens no image. A folder with one such folder in it counts as that folder, because archives unpack
so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.data import records, splits, tfrecords, voc, yolo
from petbox.data.annotations import IMAGE_SUFFIXES
from petbox.errors import DataError

FORMATS = """
  Oxford-IIIT Pet  images/*.jpg, annotations/list.txt, annotations/xmls/*.xml
  Pascal VOC       Annotations/*.xml and JPEGImages/, or XMLs beside the images
  COCO             annotations/*.json and images/, or _annotations.coco.json in train/ and valid/
  YOLO             data.yaml or classes.txt, images/ and labels/ with a .txt for each image
  TFRecord files   *.record or *.tfrecord, and a label map (*.pbtxt)"""
SHOWN = 8
# COCO's other files about the same images.
NOT_BOXES = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_", ".")
SNIFFED = 1 << 16


@dataclass(frozen=True)
class Found:
    format: str
    options: dict[str, Any]  # of `petbox records`, to read it with
    unused: tuple[Path, ...] = ()

    def __str__(self) -> str:
        (value, *_) = self.options.values()
        source = " and ".join(map(str, value)) if isinstance(value, tuple) else value
        return f"{source}: {self.format}"


def recognize(folder: Path) -> Found:
    """The one data set in `folder`."""
    if not folder.is_dir():
        trouble = "is a file" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {trouble}; give the folder of your photos")
    deeper = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir()]
    for folders in ([folder], deeper, [under for path in deeper for under in path.glob("[!.]*/")]):
        found = [one for each in folders for one in _formats(each)]
        # TFRecord files beside photos are made of these, as in the tutorials' folders.
        found = [one for one in found if "tfrecords" not in one.options] or found
        if len(found) > 1:
            both = ", ".join(map(str, found))
            raise DataError(
                f"{folder}: holds more than one data set ({both}); give the folder of one, or name "
                "it with `petbox records --pets, --voc, --coco, --yolo or --tfrecords`"
            )
        if found:
            return found[0]
    raise DataError(
        f"{folder}: no annotated photos recognized; found: {contents(folder)}; the formats are:"
        f"{FORMATS}"
    )


def _formats(folder: Path) -> Iterator[Found]:
    if (folder / records.INFO).is_file():
        yield Found("records", {"records": folder})
        return
    if (folder / "annotations/list.txt").is_file() and (folder / "images").is_dir():
        yield Found("Oxford-IIIT Pet", {"pets": folder, **_held_out(folder)})
        return
    if any(map(voc.xmls, splits.folders(folder, lambda part: bool(voc.xmls(part))).values())):
        yield Found("Pascal VOC", {"voc": folder})
    files, unused = _coco(folder)
    if files:
        yield Found("COCO", {"coco": files}, unused)
    if (yolo.config_file(folder) or yolo.names_file(folder)) and yolo.has_labels(folder):
        yield Found("YOLO", {"yolo": folder})
    parts = splits.folders(folder, _has_tfrecords)
    if any(map(_has_tfrecords, parts.values())):
        yield Found("TFRecord files", {"tfrecords": tuple(parts.values())})


def _has_tfrecords(folder: Path) -> bool:
    return any(tfrecords.NAME.search(path.name) for path in folder.glob("[!.]*"))


def _held_out(pets: Path) -> dict[str, float]:
    """The published set has no boxes for its test split, so some of the others are held out."""
    test = pets / "annotations/test.txt"
    if test.is_file():
        lines = test.read_text(encoding="utf-8", errors="replace").splitlines()
        names = {line.split()[0] for line in lines if line.strip()}
        if names & {path.stem for path in (pets / "annotations/xmls").glob("*.xml")}:
            return {}
    return {"test_share": splits.HELD_OUT}


def _coco(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The annotation file, or each split's file; and the files that belong to none."""
    held = [name for names in splits.HELD.values() for name in names]
    parts = ("annotations", "labels", *splits.TRAIN, *held)
    under = (splits.in_any_case(folder, part) for part in parts)
    folders = {each.resolve(): each for each in (folder, *under)}
    files = [path for each in folders.values() for path in sorted(each.glob("*.json"))]
    files = [path for path in files if not path.name.startswith(NOT_BOXES) and _is_coco(path)]
    train = [path for path in files if _is_of(path, folder, ("train",))]
    others = [path for path in files if path not in train]
    of_held = [[p for p in others if _is_of(p, folder, names)] for names in splits.HELD.values()]
    chosen = (*train, *(paths[0] for paths in of_held if len(paths) == 1))
    if len(train) == 1 and len(chosen) > 1:
        return chosen, tuple(path for path in files if path not in chosen)
    if len(files) > 1 and len(train) != 1:
        raise DataError(
            f"{folder}: holds several annotation files ({', '.join(p.name for p in files)}); "
            "name one with `petbox records --coco`, or one for each split"
        )
    return tuple(train or files), ()


def _is_of(path: Path, folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a file belongs to a split, by its own name or its folder's."""
    name = path.relative_to(folder).as_posix().lower()
    return any(part in name for part in names)


def _is_coco(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(SNIFFED)
    return start.lstrip()[:1] == b"{" and (b'"images"' in start or b'"annotations"' in start)


def contents(folder: Path) -> str:
    """A short list of the contents of a folder, for a message."""
    paths = sorted(folder.glob("[!.]*"))
    others = [path for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES]
    names = [path.name + "/" * path.is_dir() for path in others]
    images = len(paths) - len(names)
    shown = names[:SHOWN] + ["…"] * (len(names) > SHOWN)
    if images:
        shown.append(f"{images} image{'s' * (images > 1)}")
    return ", ".join(shown) or "nothing"
