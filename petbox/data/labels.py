"""The label map: which number means which breed, in the Object Detection API's `.pbtxt` form.

    item {
      id: 1
      name: 'Abyssinian'
    }

Numbers start at 1; 0 is the background. Standard library only, for the map is also read where
there is nothing else, and from the inside of a SavedModel. Not a reader of text protobufs in
general: fields it does not know are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from petbox.errors import DataError

FILE_NAME = "label_map.pbtxt"

_TOKEN = re.compile(
    r"""(?P<space>[\s,;]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[\w.+-]+)
      | (?P<mark>[{}<>\[\]:])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_OPENING, _CLOSING = {"{": "}", "<": ">", "[": "]"}, ("}", ">", "]")
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
    for item in _items(_Tokens(text, source)):
        if item.label == 0 and item.name in _NO_CLASS:
            continue
        if item.label == 0:
            raise item.wrong("the id 0 is the background's; give the classes ids from 1 on")
        if item.label in names:
            raise item.wrong(f"the id {item.label} is used twice; give each item its own")
        if item.name in names.values():
            raise item.wrong(f"the name {item.name!r} is used twice; give each item its own")
        names[item.label] = item.name
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


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int
    source: str

    def wrong(self, why: str) -> DataError:
        return DataError(f"{self.source}: line {self.line}: {why}")


@dataclass(frozen=True)
class _Item:
    label: int
    name: str
    start: _Token

    def wrong(self, why: str) -> DataError:
        return self.start.wrong(why)


class _Tokens:
    """The words and marks of a label map, one at a time, with their lines."""

    def __init__(self, text: bytes | str, source: str) -> None:
        try:
            self._text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: not a text file, so no label map; {_FORM}") from error
        self._all = list(_tokens(self._text, source))
        self._at = 0

    def __bool__(self) -> bool:
        return self._all[self._at].kind != "end"

    def next(self) -> _Token:
        token = self._all[self._at]
        self._at += token.kind != "end"
        return token

    def skip(self, mark: str) -> bool:
        """Whether `mark` came next; if so it is taken."""
        found = self._all[self._at].text == mark
        self._at += found
        return found


def _tokens(text: str, source: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].split("\n")[0]
            raise DataError(f"{source}: line {line}: cannot be read at {rest[:30]!r}; {_FORM}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match[0], line, source)
        line += match[0].count("\n")
        at = match.end()
    yield _Token("end", "", line, source)


def _items(tokens: _Tokens) -> Iterator[_Item]:
    while tokens:
        start = tokens.next()
        tokens.skip(":")
        if start.text != "item" or not tokens.skip("{"):
            raise start.wrong(f"{start.text!r} is not the start of an item; {_FORM}")
        yield _item(start, tokens)


def _item(start: _Token, tokens: _Tokens) -> _Item:
    fields: dict[str, _Token] = {}
    while not tokens.skip("}"):
        if not tokens:
            raise start.wrong("this item is not closed; add the } that ends it")
        key = tokens.next()
        colon = tokens.skip(":")
        value = tokens.next()
        if value.text in _OPENING:
            _pass_over(value, tokens)
        elif key.kind != "word" or not colon or value.kind not in ("word", "string"):
            raise key.wrong(f"{key.text!r} is not followed by a value; {_FORM}")
        else:
            fields[key.text] = value
    return _Item(_label(start, fields.get("id")), _name(start, fields), start)


def _pass_over(opening: _Token, tokens: _Tokens) -> None:
    """A block such as `keypoints { … }`: it says nothing about names."""
    awaited = [_OPENING[opening.text]]
    while awaited:
        token = tokens.next()
        if token.kind == "end" or (token.text in _CLOSING and token.text != awaited.pop()):
            raise opening.wrong(f"this {opening.text} is not closed; add the bracket that ends it")
        if token.text in _OPENING:
            awaited.append(_OPENING[token.text])


def _label(start: _Token, value: _Token | None) -> int:
    if value is None:
        raise start.wrong(f"this item has no id; {_FORM}")
    if not (value.kind == "word" and value.text.isdecimal()):
        raise value.wrong(f"the id {value.text} is no whole number; ids go from 1 on")
    return int(value.text)


def _name(start: _Token, fields: Mapping[str, _Token]) -> str:
    value = fields.get("display_name", fields.get("name"))
    if value is None or not (name := _unquoted(value)):
        raise start.wrong(f"this item has no name; {_FORM}")
    return name


def _unquoted(value: _Token) -> str:
    if value.kind != "string":
        raise value.wrong(f"{value.text} must stand in quotes: '{value.text}'")
    try:
        return _ESCAPE.sub(_meant, value.text[1:-1].encode()).decode()
    except (UnicodeDecodeError, ValueError) as error:
        raise value.wrong(f"{value.text} is not UTF-8 once its escapes are read") from error


def _meant(escape: re.Match[bytes]) -> bytes:
    """The bytes of one escape: protobuf writes `é` as `\\303\\251`."""
    octal, hexadecimal, character = escape.groups()
    if octal:
        return bytes([int(octal, 8)])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(character, bytes(character))


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
