"""Settings of a Lambda function, from environment variables; an invalid one is named."""

from __future__ import annotations

import math
import os

from petbox.errors import DataError

YES, NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def needed(name: str) -> str:
    value = text(name)
    if not value:
        raise DataError(f"{name} is not set; the templates of serverless/ set it")
    return value


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def optional_number(name: str, least: float, most: float) -> float | None:
    return number(name, 0.0, least, most) if text(name) else None


def number(name: str, default: float, least: float, most: float) -> float:
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise DataError(f"{name}={value}: not a number from {least:g} to {most:g}")
    return number


def switch(name: str, default: bool = False) -> bool:
    value = text(name, str(default)).lower()
    if value not in (*YES, *NO):
        raise DataError(f"{name}={value}: neither true nor false")
    return value in YES


def listed(name: str) -> list[str]:
    return [value.strip() for value in text(name).split(",") if value.strip()]
