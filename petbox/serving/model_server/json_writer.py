"""JSON as RapidJSON 1.1 writes it: strings, and values quoted in error messages.

Doubles are printed by Grisu2 (Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
Integers", 2010), which does not always find the fewest digits; error messages show that.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache
from math import isfinite
from typing import Any

from petbox.serving.model_server.json_parser import MISSING, Base64, Object, is_integer
from petbox.serving.model_server.status import StatusError

MAX_DEPTH = 1000  # of quoted values; the original is limited by its stack


def quoted(value: Any) -> str:
    """`value` as error texts show it: RapidJSON's pretty writer, arrays on one line."""
    return "".join(_written(value))


def wrong_value(value: Any, why: str) -> StatusError:
    return StatusError(f"JSON Value: {quoted(value)} {why}")


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
        elif (isinstance(value, float) and not isfinite(value)) or depth > MAX_DEPTH:
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
    return str(value) if is_integer(value) else double(value)


def string(text: str) -> str:
    """A JSON string as RapidJSON writes it: only what must be escaped is."""
    return '"' + re.sub(r'["\\\x00-\x1f]', _escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    short = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': '"', "\\": "\\"}
    return "\\" + short[char] if char in short else f"\\u{ord(char):04X}"


# Doubles

HIDDEN_BIT = 2**52
MAX_DIGITS = 21  # before the point; longer numbers get an exponent
MIN_POWER, STEP = -348, 8  # of the cached powers of ten
MAX_ROUNDED = 9  # digits after the point; with more, RapidJSON does not round


def double(value: float) -> str:
    """A finite double, with a point or an exponent."""
    bits = int.from_bytes(struct.pack(">d", value), "big")
    sign, bits = "-" if bits >> 63 else "", bits % 2**63
    digits, power = _shortest(bits) if bits else ("0", 0)
    point = len(digits) + power  # digits left of the decimal point
    if power >= 0 and point <= MAX_DIGITS:
        return f"{sign}{digits.ljust(point, '0')}.0"
    if 0 < point <= MAX_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1}"


def _shortest(bits: int) -> tuple[str, int]:
    """The digits of the double with these bits, and the power of ten of the last digit."""
    number = bits % HIDDEN_BIT + (HIDDEN_BIT if bits >= HIDDEN_BIT else 0)
    # Halfway to the next double and to the previous one, which is closer at a power of two.
    high, low = 4 * number + 2, 4 * number - (1 if number == HIDDEN_BIT else 2)
    shift = 64 - high.bit_length()
    exponent = max(bits // HIDDEN_BIT, 1) - 1077 - shift
    above = int((-61 - exponent) * 0.30102999566398114 + 348)  # a position above the power
    power = MIN_POWER + STEP * (above // STEP + 1)
    factor, factor_exponent = _power_of_ten(power)
    high, middle, low = (((n << shift) * factor + 2**63) // 2**64 for n in (high, 4 * number, low))
    digits, left = _digits(high - 1, middle, low + 1, -(exponent + factor_exponent + 64))
    return digits, left - power


@cache
def _power_of_ten(power: int) -> tuple[int, int]:
    """A 64-bit integer and a power of two whose product is ten to the `power`."""
    if power >= 0:
        shift = 64 - (10**power).bit_length()
        return (10**power << shift if shift > 0 else _halved(10**power, -shift)), -shift
    shift = 63 + (10**-power).bit_length()
    return (2 ** (shift + 1) // 10**-power + 1) // 2, -shift


def _halved(number: int, times: int) -> int:
    """`number` divided by two `times`, rounded to nearest."""
    return ((number >> times - 1) + 1) // 2 if times else number


def _digits(high: int, middle: int, low: int, bits: int) -> tuple[str, int]:
    """The digits of `high` that distinguish it from `low`, and the power of ten of the last digit.

    All have `bits` bits after a binary point. The last digit is moved towards `middle`.
    """
    one = 1 << bits
    whole, rest = divmod(high, one)
    within, away = high - low, high - middle
    digits = ""
    for power in reversed(range(min(len(str(whole)), 9))):
        digit, whole = divmod(whole, 10**power)
        digits += str(digit)
        if (left := whole * one + rest) <= within:
            return _nearer(digits.lstrip("0"), within, left, one * 10**power, away), power
    power = 0
    while True:
        power -= 1
        digit, rest = divmod(rest * 10, one)
        within *= 10
        digits += str(digit)
        if rest < within:
            away = away * 10**-power if -power < MAX_ROUNDED else 0
            return _nearer(digits.lstrip("0"), within, rest, one, away), power


def _nearer(digits: str, within: int, rest: int, step: int, away: int) -> str:
    """`digits` with the last one decreased while that moves `rest` closer to `away`."""
    last = int(digits[-1])
    while (
        rest < away
        and within - rest >= step
        and (rest + step < away or away - rest > rest + step - away)
    ):
        last -= 1
        rest += step
    return digits[:-1] + str(last)
