"""Your own photos in PASCAL VOC's folders.

    Annotations/NAME.xml     or the XMLs directly in the folder
    JPEGImages/NAME.jpg      or images/, or beside the XMLs; JPEG, PNG and what else Pillow reads
    ImageSets/Main/*.txt     NAMEs, a line each: trainval or train, and test or val; if there are

A picture without XML is taken as not annotated, one whose XML has no object as empty; both are
left out and told of. Everything else that does not fit together stops the reading by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from petbox.data import annotations as data_annotations
from petbox.data import splits as data_splits
from petbox.data import voc
from petbox.data.annotations import PICTURES, Animal, Dataset, Division, Photo
from petbox.errors import DataError

_LAYOUT = (
    "give --voc a folder with Annotations/*.xml and JPEGImages/, or with XMLs and pictures together"
)


def read(
    root: Path,
    *,
    division: Division | None = None,
    labels: Mapping[int, str] | None = None,
    turned: str = "by-size",
) -> Dataset:
    """The data set in `root`; without `labels` the names found are numbered. Opens no picture."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    xmls = _xmls(root)
    said = {name: voc.annotation(xml) for name, xml in xmls.items()}
    names = data_annotations.numbered([o.name for a in said.values() for o in a.objects], labels)
    files = _files(root)
    stems: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files.values():
        stems[path.stem].append(path)
    paths = {name: _picture(xml, said[name], files, stems) for name, xml in xmls.items()}
    photos: dict[str, Photo] = {}
    for number, (name, xml) in enumerate(xmls.items(), start=1):
        if said[name].objects:
            photos[name] = _photo(number, xml, said[name], paths[name], names)
        else:
            found["left out, its XML has no object"].append(name)
    if not photos:
        raise DataError(f"{root}: not one XML has an object in it; {_LAYOUT}")
    _refuse_shared(xmls, paths)
    without = set(files.values()) - set(paths.values())
    found["left out, no XML"].extend(path.name for path in without)
    known = xmls.keys() | {path.stem for path in without}
    splits = data_splits.divided(photos, known, _lists(root), division or Division(), found)
    return Dataset(names, splits, data_annotations.remarks(found), turned)


def _xmls(root: Path) -> dict[str, Path]:
    folder = root / "Annotations" if (root / "Annotations").is_dir() else root
    found = {path.stem: path for path in sorted(folder.glob("*.xml")) if _shown(path)}
    if not found:
        trouble = "has no .xml in it" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {trouble}; {_LAYOUT}")
    return found


def _lists(root: Path) -> dict[str, Path]:
    """VOC's own lists of both splits, if it has them."""
    main = root / "ImageSets" / "Main"
    for train, test in (("trainval", "test"), ("train", "test"), ("train", "val")):
        lists = {"train": main / f"{train}.txt", "test": main / f"{test}.txt"}
        if all(path.is_file() for path in lists.values()):
            return lists
    return {}


def _photo(
    number: int, xml: Path, said: voc.Annotation, path: Path, labels: Mapping[int, str]
) -> Photo:
    ids = {name: label for label, name in labels.items()}
    for thing in said.objects:
        if thing.name not in ids:
            raise DataError(
                f"{xml}: an object is called {thing.name!r}, which is not in the label map; add "
                "it there, or leave out --label-map to number the names that are found"
            )
    animals = tuple(
        Animal(o.box, ids[o.name], o.name, o.pose, o.truncated, o.difficult) for o in said.objects
    )
    return Photo(path, number, animals[0].name, said.width, said.height, animals, str(xml))


# Pictures


def _files(root: Path) -> dict[str, Path]:
    """The picture files by their names; of two with one name, the first folder's."""
    files: dict[str, Path] = {}
    for folder in (root / "JPEGImages", root / "images", root, root / "Annotations"):
        for path in sorted(folder.glob("*")):
            if path.suffix.lower() in PICTURES and _shown(path):
                files.setdefault(path.name, path)
    return files


def _picture(
    xml: Path,
    said: voc.Annotation,
    files: Mapping[str, Path],
    stems: Mapping[str, list[Path]],
) -> Path:
    """The picture with the XML's own name, or else with the `<filename>` in it."""
    own, named = stems.get(xml.stem, []), files.get(said.filename)
    if named in own:
        return named
    candidates = [*own, named] if named else own
    if not candidates:
        or_named = f" nor {said.filename}" if said.filename else ""
        raise DataError(
            f"{xml}: its picture is missing, there is no {xml.stem}.jpg{or_named} in JPEGImages/, "
            "images/ or beside it; put it there, or take the XML away"
        )
    if len(candidates) > 1:
        raise DataError(
            f"{xml}: its picture may be {candidates[0]} or {candidates[1]}; "
            "say which in <filename>, and let the other have another name"
        )
    return candidates[0]


def _refuse_shared(xmls: Mapping[str, Path], paths: Mapping[str, Path]) -> None:
    """Two XMLs of one picture, of which one tells but a part."""
    described: dict[Path, str] = {}
    for name, path in paths.items():
        if path in described:
            raise DataError(
                f"{xmls[name]}: {path} is {xmls[described[path]]}'s picture already; "
                "correct its <filename>, or make the two one"
            )
        described[path] = name


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")
