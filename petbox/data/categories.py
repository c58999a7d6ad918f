"""What a COCO file's category ids become: the label map's ids.

Ids are kept, with the gaps they have; 0 cannot be, for it is the background's, so where it is in
use all are numbered anew. A label map that is given is matched by name, or by id where the file
has no names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from petbox.errors import DataError

ANEW = "category ids numbered anew, for 0 is the background's"


@dataclass(frozen=True)
class Classes:
    """The label map, and which of its ids each category id becomes."""

    labels: dict[int, str]
    of: dict[int, int]


def classes(
    stated: Mapping[str, Mapping[int, str] | None],
    used: Collection[int],
    labels: Mapping[int, str] | None,
    found: defaultdict[str, list[str]],
) -> Classes:
    """`stated` are the categories of each file, or None where it has none; `used` the ids of boxes.

    What was done to the ids goes to `found`.
    """
    names = _together(stated)
    for number in sorted(used):
        if names is not None and number not in names:
            raise DataError(
                f"{' or '.join(stated)}: a box is of category {number}, which is not among the "
                "categories; add it there"
            )
    if names is None and labels is not None:
        return Classes(dict(labels), {n: _known(str(n), n, n in labels, stated) for n in used})
    if names is None:
        names = {number: f"class_{number}" for number in sorted(used)}
    if labels is not None:
        ids = {name: label for label, name in labels.items()}
        of = {n: _known(names[n], ids.get(names[n], 0), names[n] in ids, stated) for n in used}
        return Classes(dict(labels), of)
    return _numbered(names, used, found)


def _together(stated: Mapping[str, Mapping[int, str] | None]) -> dict[int, str] | None:
    together: dict[int, str] = {}
    for path, names in stated.items():
        if names is None and any(others is not None for others in stated.values()):
            raise DataError(f"{path}: has no categories, but the other file has; add them")
        for number, name in (names or {}).items():
            if together.setdefault(number, name) != name or name in {
                other for n, other in together.items() if n != number
            }:
                raise DataError(
                    f"{path}: category {number} is {name!r}, otherwise than in the other file; "
                    "give each name one id"
                )
    return together or None


def _known(name: str, label: int, is_known: bool, stated: Mapping[str, object]) -> int:
    if not is_known:
        raise DataError(
            f"{' or '.join(stated)}: category {name} has boxes but is not in the label map; add "
            "it there, or leave out --label-map to take the categories as they are"
        )
    return label


def _numbered(
    names: Mapping[int, str], used: Collection[int], found: defaultdict[str, list[str]]
) -> Classes:
    if min(names) < 0:
        raise DataError(f"category {min(names)}, {names[min(names)]!r}: ids must be 0 or more")
    if 0 in names and 0 not in used:  # some tools put a name for the whole there
        found["category 0 left out, it has no box"].append(names[0])
        names = {number: name for number, name in names.items() if number}
    if 0 not in names:
        return Classes(dict(sorted(names.items())), {number: number for number in names})
    of = {number: label for label, number in enumerate(sorted(names), start=1)}
    found[ANEW].extend(f"{names[number]}: {number} is {label}" for number, label in of.items())
    return Classes({label: names[number] for number, label in of.items()}, of)
