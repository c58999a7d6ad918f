"""JSON as TensorFlow Serving's parser (RapidJSON 1.1) accepts it.

It differs from Python's: `NaN`, `Inf` and `Infinity` are numbers, anything after the first value is
ignored, and an object keeps duplicate members in order. A valid body is parsed by Python's fast
decoder; only what that rejects or would read differently is parsed again here, slowly, to find
RapidJSON's error message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petbox.serving.model_server.base64_decoder import b64decode
from petbox.serving.model_server.json_numbers import TooBig, double, integer
from petbox.serving.model_server.status import StatusError


@dataclass(frozen=True)
class Object:
    """A JSON object. Bytes that are not UTF-8 are surrogate escapes in its strings."""

    members: list[tuple[str, Any]]

    def get(self, name: str) -> Any:
        """The first member of that name, as in RapidJSON; Python takes the last."""
        return next((value for key, value in self.members if key == name), MISSING)


MISSING = object()
BOM = re.compile(b"\xef?\xbb?\xbf?")  # RapidJSON skips each of its bytes, together or alone
WHITE = " \t\n\r"
CLOSING = {"{": "}", "[": "]"}
MIN_IMAGE = 4096  # characters of a string that is treated as an image
MAX_REST = 65536  # bytes beside the images, which are parsed as usual
MARK = "\x7f"  # start of the placeholder for an image

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]*)?")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def parse(body: bytes) -> Any:
    """The first JSON value in `body`."""
    if not body:
        raise StatusError("JSON Parse error: The document is empty")
    bom = BOM.match(body)
    skipped = bom.end() if bom else 0
    escapes = b"\\" in body
    short, images = (body, {}) if escapes else _without_images(body)
    text = short[skipped:].decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(WHITE))
    # Python differs for a number at the top level and for lone surrogates.
    if text.startswith(("{", "["), start) and not (escapes and SURROGATE.search(text)):
        try:
            value, _ = _FAST.raw_decode(text, start)
            return _with_images(value, images) if images else value
        except (ValueError, RecursionError):
            pass
    if images:
        text = body[skipped:].decode("utf-8", "surrogateescape")
    return _SlowParser(text, skipped).value()


@dataclass(frozen=True)
class Base64:
    """The value of a "b64" member, as written and decoded."""

    written: bytes
    content: bytes


def _without_images(body: bytes) -> tuple[bytes, dict[str, Base64]]:
    """The body with a placeholder for each image, since Python scans strings slowly."""
    if len(body) < MIN_IMAGE:
        return body, {}
    parts = body.split(b'"')  # without escapes, every other part is a string
    images = {}
    for index in range(3, len(parts), 2):
        written = parts[index]
        if (
            len(written) >= MIN_IMAGE
            and parts[index - 2] == b"b64"
            and parts[index - 1].strip() == b":"
        ):
            try:
                content = b64decode(written, validate=True)
            except ValueError:
                return body, {}
            placeholder = f"{MARK}{index}"
            parts[index] = placeholder.encode()
            images[placeholder] = Base64(written, content)
    short = b'"'.join(parts)
    if len(short) < MAX_REST and short.count(MARK.encode()) == len(images):
        return short, images
    return body, {}


def _with_images(value: Any, images: Mapping[str, Base64]) -> Any:
    if isinstance(value, Object):
        return Object([(name, _with_images(one, images)) for name, one in value.members])
    if isinstance(value, list):
        return [_with_images(one, images) for one in value]
    return images.get(value, value) if isinstance(value, str) else value


# orjson is faster, but accepts neither NaN nor text after the first value, and has no hooks for
# numbers and duplicate names.
_FAST = json.JSONDecoder(object_pairs_hook=Object, parse_int=integer, parse_float=double)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _SlowParser:
    """RapidJSON's iterative parser: slow and exact, for any nesting depth."""

    def __init__(self, text: str, skipped: int) -> None:
        self.text = text
        self.skipped = skipped  # bytes before it
        self.at = 0

    def value(self) -> Any:
        if self._peek() in ("", "]", "}", ",", ":"):
            raise self._error("The document is empty.")
        return self._nested()

    def _nested(self) -> Any:
        """A value with all nested values, using a stack of open containers."""
        unclosed: list[tuple[Any, str]] = []  # an object with the name of its next value
        while True:
            char = self._peek()
            if char in CLOSING:
                self.at += 1
                done: Any = Object([]) if char == "{" else []
                if self._peek() != CLOSING[char]:
                    unclosed.append((done, self._name() if char == "{" else ""))
                    continue
                self.at += 1
            else:
                done = self._scalar(char)
            while unclosed:
                container, name = unclosed.pop()
                in_object = isinstance(container, Object)
                if in_object:
                    container.members.append((name, done))
                else:
                    container.append(done)
                if not self._closed(in_object):
                    unclosed.append((container, self._name() if in_object else ""))
                    break
                done = container
            else:
                return done

    def _peek(self) -> str:
        """The next character after white space, "" at the end; a NUL ends RapidJSON's text."""
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

    def _closed(self, in_object: bool) -> bool:
        char, bracket = self._peek(), "}" if in_object else "]"
        if char not in (bracket, ","):
            after = "an object member" if in_object else "an array element"
            raise self._error(f"Missing a comma or '{bracket}' after {after}.")
        self.at += 1
        return char == bracket

    def _scalar(self, char: str) -> Any:
        if char == '"':
            return self._string()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if char == word[0]:
                if not self._consume(word):
                    raise self._error("Invalid value.")
                return value
        return self._number()

    def _consume(self, word: str) -> bool:
        """Whether `word` comes next; like RapidJSON it also consumes a matching prefix."""
        for expected in word:
            if self.text[self.at : self.at + 1] != expected:
                return False
            self.at += 1
        return True

    def _number(self) -> int | float:
        match = NUMBER.match(self.text, self.at)
        if not match:
            return self._nan_or_infinity()
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

    def _nan_or_infinity(self) -> float:
        sign = -1.0 if self._consume("-") else 1.0
        if self.text.startswith(("N", "I"), self.at):
            if self._consume("NaN"):
                return float("nan")
            # After a failed NaN, whose matching letters are consumed: NaInf is infinity as well.
            if self._consume("Inf") and (
                not self.text.startswith("i", self.at) or self._consume("inity")
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
            # A lone low surrogate is accepted, as three bytes that are not UTF-8.
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

    def _error(self, message: str) -> StatusError:
        offset = self.skipped + len(self.text[: self.at].encode("utf-8", "surrogateescape"))
        return StatusError(f"JSON Parse error: {message} at offset: {offset}")
