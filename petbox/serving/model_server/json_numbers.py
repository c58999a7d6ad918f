"""JSON numbers as RapidJSON 1.1 parses them, which is not always to the nearest double.

Without its full-precision flag, which TensorFlow Serving does not set, RapidJSON collects digits in
64 bits, continues in a double when they no longer fit, and then multiplies or divides by a power of
ten once. The last digit may be off by one, which clients can see.
"""

from __future__ import annotations

import re

PARTS = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?)([0-9]+))?")
ALWAYS_EXACT = 16  # characters with a point and no exponent: 15 digits fit a double
LARGEST_EXACT = 2**53 - 1
MAX_DIGITS = 17
OVERFLOWS = 1.7976931348623157e307  # times ten overflows a double
POWERS = [float(f"1e{n}") for n in range(309)]


class TooBig(ValueError):
    """Too large for a double."""


def integer(text: str) -> int | float:
    """A number without point and exponent; one too large for 64 bits becomes a double."""
    if len(text) < 19:
        return int(text)
    if len(text) <= 20 and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return double(text)


def double(text: str) -> float:
    """A number with point or exponent, or one too large for 64 bits."""
    if len(text) <= ALWAYS_EXACT and "e" not in text and "E" not in text:
        return float(text)
    match = PARTS.fullmatch(text)
    assert match, text
    sign, whole, fraction, exponent_sign, exponent = match.groups()
    value, counted = _whole(whole, sign == "-")
    decimals = 0
    for digit in map(int, fraction or ""):
        if isinstance(value, int) and value > LARGEST_EXACT:
            value = float(value)
        if isinstance(value, float) and counted >= MAX_DIGITS:
            break
        value = value * 10 + digit
        decimals += 1
        counted += value != 0
    power = _exponent(exponent, exponent_sign == "-", 308 + decimals) - decimals
    scaled = _scaled(float(value), power)
    return -scaled if sign else scaled


def _whole(digits: str, negative: bool) -> tuple[int | float, int]:
    """The digits before the point, and how many count: not the first, nor those that overflow."""
    limit = 2**63 + 1 if negative else 2**64
    value = int(digits[:20])
    if len(digits) <= 20 and value < limit:
        return value, len(digits) - 1
    kept = next(count for count in (20, 19, 18) if int(digits[:count]) < limit)
    large = float(int(digits[:kept]))
    for digit in digits[kept:]:
        if large >= OVERFLOWS:
            raise TooBig(digits)
        large = large * 10 + int(digit)
    return large, kept - 1


def _exponent(digits: str | None, negative: bool, most: int) -> int:
    if digits is None:
        return 0
    value = int(digits) if len(digits.lstrip("0")) < 9 else 10**9
    if negative:
        return -value
    if len(digits) > 1 and value > most:
        raise TooBig(digits)
    return value


def _scaled(value: float, power: int) -> float:
    if power >= 0:
        return value * POWERS[power]
    if power < -308:  # in two steps, since 1e309 overflows a double
        value, power = value / POWERS[308], power + 308
    return value / POWERS[-power] if power >= -308 else 0.0
