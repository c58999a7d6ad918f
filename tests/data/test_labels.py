"""Label maps: what is read is what was meant, and what cannot be is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from petbox.data import labels
from petbox.errors import DataError

PETS = {1: "Abyssinian", 2: "american_bulldog"}


def refusal(text: bytes | str) -> str:
    with pytest.raises(DataError) as refused:
        labels.parse(text, "map.pbtxt")
    message = str(refused.value)
    assert message.startswith("map.pbtxt: ") and "\n" not in message
    return message


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    names = {1: "a", 7: "l'été", 3: 'back\\slash "quoted"'}
    labels.write(tmp_path / "map.pbtxt", names)
    assert labels.read(tmp_path / "map.pbtxt") == names


def test_the_form_is_the_object_detection_apis() -> None:
    assert labels.text({1: "Abyssinian"}) == "item {\n  id: 1\n  name: 'Abyssinian'\n}\n"


@pytest.mark.parametrize(
    "text",
    [
        "item { id: 1 name: 'Abyssinian' } item { id: 2 name: 'american_bulldog' }",
        'item {\n  name: "american_bulldog"\n  id: 2\n}\nitem {\n  id: 1\n  name: "Abyssinian"\n}',
        "# pets\nitem: { id: 1, name: 'Abyssinian'; } # cat\nitem{id:2 name:'american_bulldog'}",
        b"\xef\xbb\xbfitem{id:1 name:'Abyssinian'}\r\nitem{id:2\r\nname:'american_bulldog'}",
        "item{id:1 name:'Abyssinian' keypoints{id:9 label:'x'} k:[1,2]} "
        "item{id:2 name:'/m/1' display_name:'american_bulldog'}",
        "item{id:0 name:'none_of_the_above'} item{id:1 name:'Abyssinian'} "
        "item{id:2 name:'american\\137bulldog'}",
    ],
    ids=["one line", "double quotes", "comments", "bytes", "other fields", "background, escapes"],
)
def test_every_spelling_of_a_map_is_the_same_map(text: bytes | str) -> None:
    assert labels.parse(text, "map.pbtxt") == PETS


def test_protobufs_octal_utf8_is_read() -> None:
    assert labels.parse(r"item { id: 1 name: 'caf\303\251' }", "m") == {1: "café"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "without a single item"),
        (b"\xff\xd8\xff\xe0", "not a text file"),
        ("item {\n  id: 1\n  name: Abyssinian\n}", "line 3: Abyssinian must be in quotes"),
        ("item { id: 1 name: 'a' }\n\nitem { id: 1 name: 'b' }", "line 3: the id 1 is used twice"),
        (
            "item { id: 1 name: 'a' }\nitem { id: 2 name: 'a' }",
            "line 2: the name 'a' is used twice",
        ),
        ("item { id: 0 name: 'a' }", "line 1: the id 0 is the background's"),
        ("item { id: -3 name: 'a' }", "line 1: the id -3 is no whole number"),
        ("item { id: 1.5 name: 'a' }", "line 1: the id 1.5 is no whole number"),
        ("\nitem { name: 'a' }", "line 2: this item has no id"),
        ("item { id: 1 }", "line 1: this item has no name"),
        ("item { id: 1 name: '' }", "line 1: this item has no name"),
        ("item { id: 1 name: 'a'", "line 1: this { is never closed; add a }"),
        ("item { id: 1 name: 'a }", 'line 1: cannot be read at "\'a }"'),
        ("item { id: 1 k { name: 'a' }", "line 1: this { is never closed"),
        ("item { id: 1 k { name: 'a' ] }", "line 1: ']' stands where a field's name should be"),
        ("item { id 1 name: 'a' }", "line 1: id has no value"),
        ("Abyssinian\n", "line 1: Abyssinian has no value; put ':' or '{'"),
        ("breed { id: 1 name: 'a' }", "line 1: 'breed' is not an item"),
    ],
)
def test_a_bad_map_is_rejected_by_line(text: bytes | str, why: str) -> None:
    assert why in refusal(text)


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.pbtxt: no label map can be read here"):
        labels.read(tmp_path / "gone.pbtxt")


def test_the_object_detection_apis_own_maps_are_read(data: Path) -> None:
    maps = sorted((data / "reference").rglob("*.pbtxt"))
    assert maps
    for path in maps:
        names = labels.read(path)
        assert len(names) == 37
        assert (names[1], names[37]) == ("Abyssinian", "yorkshire_terrier")
