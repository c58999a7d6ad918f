"""The label map: the name of each class id, in the Object Detection API's `.pbtxt` form.

    item {
      id: 1
      name: 'Abyssinian'
    }

Ids start at 1; 0 is the background. Other fields are ignored. Standard library only, because the
map is also read where nothing else is installed, and from inside a SavedModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from petbox.data import text_proto
from petbox.data.text_proto import Field
from petbox.errors import DataError

FILE_NAME = "label_map.pbtxt"

_NO_CLASS = ("background", "none_of_the_above")  # the names that may have the background's 0
_FORM = "an entry looks like: item { id: 1 name: 'Abyssinian' }"


def read(path: Path) -> dict[int, str]:
    """The label map in the file `path`."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(
            f"{path}: no label map can be read here ({error.strerror}); `petbox records` "
            "writes one beside its records"
        ) from error


def parse(text: bytes | str, source: str) -> dict[int, str]:
    """The names in a label map by their numbers; `source` is what messages call it.

    A `display_name` is preferred, as the Object Detection API's own drawing does.
    """
    names: dict[int, str] = {}
    for item in _items(text, source):
        fields = {field.name: field for field in item.message or ()}
        label, name = _label(item, fields, source), _name(item, fields, source)
        if label == 0 and name in _NO_CLASS:
            continue
        if label == 0:
            why = "the id 0 is the background's; give the classes ids from 1 on"
            raise item.wrong(source, why)
        if label in names:
            raise item.wrong(source, f"the id {label} is used twice; give each item its own")
        if name in names.values():
            raise item.wrong(source, f"the name {name!r} is used twice; give each item its own")
        names[label] = name
    if not names:
        raise DataError(f"{source}: a label map without a single item; {_FORM}")
    return dict(sorted(names.items()))


def text(names: Mapping[int, str]) -> str:
    """The label map of `names`, as a `.pbtxt` file holds it."""
    return "\n".join(
        f"item {{\n  id: {label}\n  name: '{_escaped(name)}'\n}}\n"
        for label, name in sorted(names.items())
    )


def write(path: Path, names: Mapping[int, str]) -> None:
    path.write_text(text(names), encoding="utf-8")


def _items(text: bytes | str, source: str) -> Iterator[Field]:
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        fields = text_proto.parse(text, source)
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a text file, so no label map; {_FORM}") from error
    except DataError as error:
        raise DataError(f"{error}; {_FORM}") from error
    for field in fields:
        if field.name != "item" or field.message is None:
            raise field.wrong(source, f"{field.name!r} is not an item; {_FORM}")
        yield field


def _label(item: Field, fields: Mapping[str, Field], source: str) -> int:
    field = fields.get("id")
    if field is None:
        raise item.wrong(source, f"this item has no id; {_FORM}")
    if field.quoted or not field.text.isdecimal():
        raise field.wrong(source, f"the id {field.text} is no whole number; ids go from 1 on")
    return int(field.text)


def _name(item: Field, fields: Mapping[str, Field], source: str) -> str:
    field = fields.get("display_name", fields.get("name"))
    if field is None or not field.text:
        raise item.wrong(source, f"this item has no name; {_FORM}")
    if not field.quoted:
        raise field.wrong(source, f"{field.text} must be in quotes: '{field.text}'")
    return field.text


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
