"""Doubles as RapidJSON 1.1 prints them: by Grisu2, quickly and mostly in the fewest digits.

Where it misses the shortest or the nearest, errors that quote a number show it. The method is that
of Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers" (2010): a number
is made an integer of 64 bits by a power of ten that is known to as many.
"""

from __future__ import annotations

import struct
from functools import cache

HIDDEN_BIT = 2**52
MOST_DIGITS = 21  # before a point; a longer number gets an exponent
LEAST_TEN, STEP = -348, 8  # of the powers of ten that there are
NEAREST = 9  # digits behind the point of the integer; with more the nearest is not looked for


def text(value: float) -> str:
    """A finite double, with a point or an exponent."""
    bits = int.from_bytes(struct.pack(">d", value), "big")
    sign, bits = "-" if bits >> 63 else "", bits % 2**63
    digits, power = _shortest(bits) if bits else ("0", 0)
    point = len(digits) + power  # digits left of the decimal point
    if power >= 0 and point <= MOST_DIGITS:
        return f"{sign}{digits.ljust(point, '0')}.0"
    if 0 < point <= MOST_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1}"


def _shortest(bits: int) -> tuple[str, int]:
    """Digits of the double with these bits, and the power of ten of the last one."""
    number = bits % HIDDEN_BIT + (HIDDEN_BIT if bits >= HIDDEN_BIT else 0)
    # With halfway to the next double, and to the one before, which is nearer at a power of two.
    high, low = 4 * number + 2, 4 * number - (1 if number == HIDDEN_BIT else 2)
    shift = 64 - high.bit_length()
    exponent = max(bits // HIDDEN_BIT, 1) - 1077 - shift
    above = int((-61 - exponent) * 0.30102999566398114 + 348)  # some place above the power
    power = LEAST_TEN + STEP * (above // STEP + 1)
    factor, exponent_of_it = _power_of_ten(power)
    high, middle, low = (((n << shift) * factor + 2**63) // 2**64 for n in (high, 4 * number, low))
    digits, left = _digits(high - 1, middle, low + 1, -(exponent + exponent_of_it + 64))
    return digits, left - power


@cache
def _power_of_ten(power: int) -> tuple[int, int]:
    """An integer of 64 bits, and by which power of two it is ten to the `power`."""
    if power >= 0:
        shift = 64 - (10**power).bit_length()
        return (10**power << shift if shift > 0 else _halved(10**power, -shift)), -shift
    shift = 63 + (10**-power).bit_length()
    return (2 ** (shift + 1) // 10**-power + 1) // 2, -shift


def _halved(number: int, times: int) -> int:
    """Rounded to the nearest."""
    return ((number >> times - 1) + 1) // 2 if times else number


def _digits(high: int, middle: int, low: int, places: int) -> tuple[str, int]:
    """As many of `high`, with `places` behind a binary point, as tell it from `low`.

    With the power of ten of the last one, which is moved towards `middle`.
    """
    one = 1 << places
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
            away = away * 10**-power if -power < NEAREST else 0
            return _nearer(digits.lstrip("0"), within, rest, one, away), power


def _nearer(digits: str, within: int, rest: int, step: int, away: int) -> str:
    """The last digit made less for as long as that brings `rest` nearer to `away`."""
    last = int(digits[-1])
    while (
        rest < away
        and within - rest >= step
        and (rest + step < away or away - rest > rest + step - away)
    ):
        last -= 1
        rest += step
    return digits[:-1] + str(last)
