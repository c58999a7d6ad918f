"""JSON as TensorFlow Serving's parser (RapidJSON 1.1) takes it, and as its errors quote it.

The dialect differs from Python's: `NaN`, `Inf` and `Infinity` are numbers, whatever follows the
first value is ignored, an object keeps its members in order and twice if they are there twice.
A good body goes through Python's fast decoder; only what that one refuses, or would read
otherwise, is walked through again here, to find RapidJSON's words for what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pybase64

from petbox.serving.model_server import doubles
from petbox.serving.model_server.numbers import TooBig, double, integer
from petbox.serving.model_server.refusal import Refusal


@dataclass(frozen=True)
class Object:
    """A JSON object as it was written. Strings may hold surrogate escapes for bytes not UTF-8."""

    members: list[tuple[str, Any]]

    def get(self, name: str) -> Any:
        """The first member of that name: RapidJSON's choice where Python takes the last."""
        return next((value for key, value in self.members if key == name), MISSING)


MISSING = object()
BOM = re.compile(b"\xef?\xbb?\xbf?")  # each of its bytes is passed over, with the others or alone
WHITE = " \t\n\r"
PICTURE = 4096  # letters from which on a string may be one
MOST_AROUND = 65536  # letters around them, which are looked through once more
WORD = "\x7f"  # of those that stand for a picture
DEEPEST = 1000  # of what is quoted; the original's stack ends somewhere, too

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]*)?")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def parse(body: bytes) -> Any:
    """The first JSON value in `body`."""
    if not body:
        raise Refusal("JSON Parse error: The document is empty")
    begun = BOM.match(body)
    skipped = begun.end() if begun else 0
    escapes = b"\\" in body
    short, pictures = (body, {}) if escapes else _without_pictures(body)
    text = short[skipped:].decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(WHITE))
    # Python ends a lone number where it is sound, and has its own idea of lone surrogates.
    if text.startswith(("{", "["), start) and not (escapes and SURROGATE.search(text)):
        try:
            value, _ = _FAST.raw_decode(text, start)
            return _with_pictures(value, pictures) if pictures else value
        except (ValueError, RecursionError):
            pass
    if pictures:
        text = body[skipped:].decode("utf-8", "surrogateescape")
    return _Walk(text, skipped).value()


@dataclass(frozen=True)
class Base64:
    """What stands behind "b64", as it is written, and what it holds."""

    written: bytes
    content: bytes


def _without_pictures(body: bytes) -> tuple[bytes, dict[str, Base64]]:
    """The body with a short word for each picture, which Python would read letter by letter."""
    if len(body) < PICTURE:
        return body, {}
    parts = body.split(b'"')  # nothing is escaped, so every other one is a string
    pictures = {}
    for place in range(3, len(parts), 2):
        written = parts[place]
        if (
            len(written) >= PICTURE
            and parts[place - 2] == b"b64"
            and parts[place - 1].strip() == b":"
        ):
            try:
                content = pybase64.b64decode(written, validate=True)
            except ValueError:
                return body, {}
            word = f"{WORD}{place}"
            parts[place] = word.encode()
            pictures[word] = Base64(written, content)
    short = b'"'.join(parts)
    if len(short) < MOST_AROUND and short.count(WORD.encode()) == len(pictures):
        return short, pictures
    return body, {}


def _with_pictures(value: Any, pictures: Mapping[str, Base64]) -> Any:
    if isinstance(value, Object):
        return Object([(name, _with_pictures(one, pictures)) for name, one in value.members])
    if isinstance(value, list):
        return [_with_pictures(one, pictures) for one in value]
    return pictures.get(value, value) if isinstance(value, str) else value


# A faster library (orjson) was weighed: it reads neither NaN nor what follows the first value, and
# cannot be told how to read numbers or repeated names.
_FAST = json.JSONDecoder(object_pairs_hook=Object, parse_int=integer, parse_float=double)


def quoted(value: Any) -> str:
    """`value` as error texts show it: RapidJSON's pretty writer, arrays on one line."""
    return "".join(_written(value))


def _written(value: Any) -> Iterator[str]:
    """The pieces of that. The writer gives up at a NaN or an infinity, whatever were to follow."""
    unclosed = [(iter([("", value)]), "")]
    while unclosed:
        depth = len(unclosed)
        parts, end = unclosed[-1]
        before, value = next(parts, (end, MISSING))
        yield before
        if value is MISSING:
            unclosed.pop()
        elif (isinstance(value, float) and not isfinite(value)) or depth > DEEPEST:
            return
        elif isinstance(value, Object) and value.members:
            yield "{"
            unclosed.append((_parts(value, depth), _line(depth - 1) + "}"))
        elif isinstance(value, list):
            yield "["
            unclosed.append((_parts(value, depth), "]"))
        else:
            yield _leaf(value)


def _parts(value: Object | list[Any], depth: int) -> Iterator[tuple[str, Any]]:
    """What an object or array holds, each with what is written before it."""
    if isinstance(value, list):
        yield from ((", " * (number > 0), item) for number, item in enumerate(value))
        return
    for number, (name, member) in enumerate(value.members):
        yield f"{',' * (number > 0)}{_line(depth)}{string(name)}: ", member


def _line(depth: int) -> str:
    return "\n" + "    " * depth


def _leaf(value: Any) -> str:
    if isinstance(value, Object):
        return "{}"
    if isinstance(value, Base64):
        return string(value.written.decode())
    if isinstance(value, str):
        return string(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value) if is_integer(value) else doubles.text(value)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def string(text: str) -> str:
    """A JSON string as RapidJSON writes it: only what must be escaped is."""
    return '"' + re.sub(r'["\\\x00-\x1f]', _escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    short = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': '"', "\\": "\\"}
    return "\\" + short[char] if char in short else f"\\u{ord(char):04X}"


class _Walk:
    """RapidJSON's iterative parser: slow, exact, and never deeper than its own list."""

    def __init__(self, text: str, skipped: int) -> None:
        self.text = text
        self.skipped = skipped  # bytes before it
        self.at = 0

    def value(self) -> Any:
        if self._peek() in ("", "]", "}", ",", ":"):
            raise self._error("The document is empty.")
        return self._nested()

    def _nested(self) -> Any:
        """A value with all that is in it, by a list of what is not yet closed."""
        unclosed: list[tuple[Any, str]] = []  # with the name whose value an object waits for
        while True:
            char = self._peek()
            if char == "{":
                self.at += 1
                done: Any = Object([])
                if self._peek() != "}":
                    unclosed.append((done, self._name()))
                    continue
                self.at += 1
            elif char == "[":
                self.at += 1
                done = []
                if self._peek() != "]":
                    unclosed.append((done, ""))
                    continue
                self.at += 1
            else:
                done = self._scalar(char)
            while unclosed:
                container, name = unclosed.pop()
                if isinstance(container, Object):
                    container.members.append((name, done))
                    if self._closed("}", "Missing a comma or '}' after an object member."):
                        done = container
                        continue
                    unclosed.append((container, self._name()))
                else:
                    container.append(done)
                    if self._closed("]", "Missing a comma or ']' after an array element."):
                        done = container
                        continue
                    unclosed.append((container, ""))
                break
            else:
                return done

    def _peek(self) -> str:
        """The next character that is not white, "" at the end; a NUL ends RapidJSON's text."""
        while self.text[self.at : self.at + 1] in tuple(WHITE):
            self.at += 1
        return self.text[self.at : self.at + 1].replace("\0", "")

    def _name(self) -> str:
        if self._peek() != '"':
            raise self._error("Missing a name for object member.")
        name = self._string()
        if self._peek() != ":":
            raise self._error("Missing a colon after a name of object member.")
        self.at += 1
        return name

    def _closed(self, bracket: str, otherwise: str) -> bool:
        char = self._peek()
        if char not in (bracket, ","):
            raise self._error(otherwise)
        self.at += 1
        return char == bracket

    def _scalar(self, char: str) -> Any:
        if char == '"':
            return self._string()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if char == word[0]:
                return self._word(word, value)
        return self._number()

    def _word(self, word: str, value: Any) -> Any:
        if not self._takes(word):
            raise self._error("Invalid value.")
        return value

    def _takes(self, word: str) -> bool:
        """Whether `word` comes next; if not, what is like it has been passed nevertheless."""
        for expected in word:
            if self.text[self.at : self.at + 1] != expected:
                return False
            self.at += 1
        return True

    def _number(self) -> int | float:
        match = NUMBER.match(self.text, self.at)
        if not match:
            return self._no_number()
        start, self.at = self.at, match.end()
        fraction, exponent = match[1], match[2]
        if fraction == ".":
            self.at = match.end(1)
            raise self._error("Miss fraction part in number.")
        if exponent and not exponent[-1].isdigit():
            raise self._error("Miss exponent in number.")
        try:
            return double(match[0]) if fraction or exponent else integer(match[0])
        except TooBig:
            self.at = start
            raise self._error("Number too big to be stored in double.") from None

    def _no_number(self) -> float:
        sign = -1.0 if self._takes("-") else 1.0
        if self.text.startswith(("N", "I"), self.at):
            if self._takes("NaN"):
                return float("nan")
            # After a failed NaN, which has taken the letters of it that fit: NaInf is one as well.
            if self._takes("Inf") and (
                not self.text.startswith("i", self.at) or self._takes("inity")
            ):
                return sign * float("inf")
        raise self._error("Invalid value.")

    def _string(self) -> str:
        self.at += 1
        parts = []
        while True:
            plain = PLAIN.match(self.text, self.at)
            assert plain
            parts.append(plain[0])
            self.at = plain.end()
            char = self.text[self.at : self.at + 1]
            if char == '"':
                self.at += 1
                return "".join(parts)
            if char in ("", "\0"):
                raise self._error("Missing a closing quotation mark in string.")
            if char != "\\":
                raise self._error("Invalid escape character in string.")
            parts.append(self._escaped())

    def _escaped(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter in ESCAPES and letter:
            self.at += 2
            return ESCAPES[letter]
        if letter != "u":
            raise self._error("Invalid escape character in string.")
        high = self._hex(self.at + 2)
        if not 0xD800 <= high <= 0xDBFF:
            self.at += 6
            # The lower half of a pair passes alone, as three bytes that are not UTF-8.
            return chr(high).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        if self.text[self.at + 6 : self.at + 8] != "\\u":
            raise self._error("The surrogate pair in string is invalid.")
        low = self._hex(self.at + 8)
        if not 0xDC00 <= low <= 0xDFFF:
            raise self._error("The surrogate pair in string is invalid.")
        self.at += 12
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)

    def _hex(self, at: int) -> int:
        digits = self.text[at : at + 4]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise self._error("Incorrect hex digit after \\u escape in string.")
        return int(digits, 16)

    def _error(self, sentence: str) -> Refusal:
        offset = self.skipped + len(self.text[: self.at].encode("utf-8", "surrogateescape"))
        return Refusal(f"JSON Parse error: {sentence} at offset: {offset}")
