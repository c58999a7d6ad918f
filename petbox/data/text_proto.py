"""Protobuf's text format, read without a schema: names, values, and the lines they stand on.

    model { faster_rcnn { num_classes: 37  scales: [0.25, 0.5] } }

protobuf's own reader needs the messages' descriptors, and the Object Detection API's are in no
maintained package. The caller knows the names and their types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from petbox.errors import DataError

DEEPEST = 60  # levels; a configuration has about ten

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[\w.+-]+)
      | (?P<mark>[{}<>\[\]:,;/])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class Field:
    """One `name: value` or `name { … }`; a list is as many fields of one name."""

    name: str
    line: int
    text: str = ""  # of a value; of one in quotes, what it means
    quoted: bool = False
    message: tuple[Field, ...] | None = None

    def wrong(self, source: str, why: str) -> DataError:
        return DataError(f"{source}: line {self.line}: {why}")

    def __str__(self) -> str:
        """The field on one line."""
        if self.message is not None:
            return f"{self.name} {{ {' '.join(map(str, self.message))} }}".replace("{  }", "{ }")
        return f'{self.name}: "{self.text}"' if self.quoted else f"{self.name}: {self.text}"


def parse(text: str, source: str) -> tuple[Field, ...]:
    """The fields of `text`; `source` is what messages call it."""
    return tuple(_Reader(text, source).fields())


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._all = list(self._tokens(text))
        self._at = 0

    def fields(self, opening: _Token | None = None, depth: int = 0) -> Iterator[Field]:
        """All fields up to the bracket that closes `opening`, or to the end."""
        closing = _CLOSING[opening.text] if opening else ""
        if depth > DEEPEST:
            raise self._wrong(self._next, f"nested more than {DEEPEST} levels deep")
        while not self._skip(closing):
            if self._next.kind == "end":
                if opening is None:
                    return
                raise self._wrong(opening, f"this {opening.text} is never closed; add a {closing}")
            yield from self._field(depth)
            _ = self._skip(",") or self._skip(";")

    def _field(self, depth: int) -> Iterator[Field]:
        name = self._name()
        colon = self._skip(":")
        if self._next.text in _CLOSING:
            yield self._message(name, depth)
        elif not colon:
            raise self._wrong(name, f"{name.text} has no value; put ':' or '{{' after the name")
        elif self._next.text == "[":
            yield from self._list(name, depth)
        else:
            yield self._value(name)

    def _name(self) -> _Token:
        token = self._take()
        if token.text == "[":  # an extension's name: [package.name]
            parts = []
            while self._next.kind == "word" or self._next.text == "/":
                parts.append(self._take().text)
            if parts and self._skip("]"):
                return _Token("word", f"[{''.join(parts)}]", token.line)
        if token.kind != "word":
            raise self._wrong(token, f"{_shown(token)} stands where a field's name should be")
        return token

    def _message(self, name: _Token, depth: int) -> Field:
        opening = self._take()
        return Field(name.text, name.line, message=tuple(self.fields(opening, depth + 1)))

    def _list(self, name: _Token, depth: int) -> Iterator[Field]:
        opening = self._take()
        if self._skip("]"):
            return
        while True:
            is_message = self._next.text in _CLOSING
            yield self._message(name, depth) if is_message else self._value(name)
            if self._skip("]"):
                return
            if not self._skip(","):
                raise self._wrong(
                    opening, f"the list of {name.text} needs ',' or ']' after a value"
                )

    def _value(self, name: _Token) -> Field:
        token = self._take()
        if token.kind == "word":
            if token.text == "-":  # a sign may stand apart
                token = _Token("word", "-" + self._take().text, token.line)
            return Field(name.text, token.line, token.text)
        if token.kind != "string":
            raise self._wrong(name, f"{name.text} has no value, but {_shown(token)}")
        pieces = [token.text]
        while self._next.kind == "string":  # strings side by side are one
            pieces.append(self._take().text)
        try:
            text = b"".join(map(_unquoted, pieces)).decode()
        except (UnicodeDecodeError, ValueError) as error:
            raise self._wrong(
                token, f"{token.text} is not UTF-8 once its escapes are read"
            ) from error
        return Field(name.text, token.line, text, quoted=True)

    @property
    def _next(self) -> _Token:
        return self._all[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _skip(self, mark: str) -> bool:
        """Consumes `mark` if it is next; returns whether it was."""
        found = self._next.kind == "mark" and self._next.text == mark
        self._at += found
        return found

    def _tokens(self, text: str) -> Iterator[_Token]:
        at, line = 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                rest = text[at:].split("\n")[0]
                raise self._wrong(_Token("", "", line), f"cannot be read at {rest[:30]!r}")
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match[0], line)
            line += match[0].count("\n")
            at = match.end()
        yield _Token("end", "", line)

    def _wrong(self, token: _Token, why: str) -> DataError:
        return DataError(f"{self._source}: line {token.line}: {why}")


def _shown(token: _Token) -> str:
    return "the end of the file" if token.kind == "end" else repr(token.text)


def _unquoted(text: str) -> bytes:
    return _ESCAPE.sub(_meant, text[1:-1].encode())


def _meant(escape: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = escape.groups()
    if octal or hexadecimal:
        return bytes([int(octal, 8) if octal else int(hexadecimal, 16)])
    return _LETTERS.get(letter, bytes(letter))
