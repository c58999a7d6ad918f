"""A program's options, each stated once, in a frozen dataclass.

A field is `name: Annotated[type, "help"] = default`; flags, types, defaults and `--help` follow.
One marked `POSITIONAL` is a plain argument. A flag of type `tuple[X, ...]` may be repeated, with
one value each time, so that it never takes the positional argument behind it. `X | None` is
optional without a default. Any other mark is what `--help` calls the value: a string, or a
`Value` that checks it as well. One marked `REMOVABLE` has a second flag, `--no-NAME`, which makes
the field False: what the option once configured is removed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, TypeVar

T = TypeVar("T")
POSITIONAL = "positional"
REMOVABLE = "removable"
SHORT = {"out": "-o", "output": "-o", "draw": "-o", "yes": "-y", "verbose": "-v"}
Json = Annotated[bool, "print the result as JSON on stdout"]  # the type of a field `json`


@dataclasses.dataclass(frozen=True)
class Value:
    """What `--help` calls a value, and a check that raises a ValueError for an invalid one."""

    name: str
    check: Callable[[Any], object]


class Checked:
    """Options that are checked when they are made."""

    def __post_init__(self) -> None:
        check(self)


def between(least: float, most: float) -> Callable[[float], None]:
    def check_bounds(number: float) -> None:
        if not (math.isfinite(number) and least <= number <= most):
            raise ValueError(f"{number:g} is not between {least:g} and {most:g}")

    return check_bounds


def at_least(least: int) -> Callable[[int], None]:
    def check_bound(number: int) -> None:
        if number < least:
            raise ValueError(f"{number} is less than {least}")

    return check_bound


def each(check_one: Callable[[str], None]) -> Callable[[tuple[str, ...]], None]:
    def check_all(texts: tuple[str, ...]) -> None:
        for text in texts:
            check_one(text)

    return check_all


SCORE = Value("S", between(0, 1))


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Docstrings as they are written, and each default beside its flag."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default in (None, (), [], "") or isinstance(default, bool):  # says nothing
            return action.help
        if isinstance(default, list):
            return f"{action.help} (default: {', '.join(map(str, default))})"
        return super()._get_help_string(action)


def parse(config: type[T], argv: Sequence[str] | None = None, *, about: str = "") -> T:
    """A `config` filled from the command line; what is wrong with it ends the program with 2."""
    parser = argparse.ArgumentParser(description=about, formatter_class=HelpFormatter)
    add_arguments(parser, config)
    arguments = parser.parse_args(dashed(sys.argv[1:] if argv is None else argv))
    try:
        return filled(config, arguments)
    except ValueError as error:  # of an option's check
        parser.error(str(error))


def dashed(words: Sequence[str]) -> list[str]:
    """Flags with dashes; the Object Detection API's programs spell them with underscores."""
    end = words.index("--") if "--" in words else len(words)
    flags = [re.sub(r"^--[^=]*", lambda flag: flag[0].replace("_", "-"), w) for w in words[:end]]
    return [*flags, *words[end:]]


def add_arguments(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    hints = typing.get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        kind, text, *marks = typing.get_args(hints[field.name])
        needed = field.default is dataclasses.MISSING
        details: dict[str, Any] = {"help": text, **_details(kind, field.default)}
        if POSITIONAL in marks:
            if not needed:
                details |= {"default": field.default, "nargs": details.get("nargs", "?")}
            parser.add_argument(field.name, metavar=field.name.upper(), **details)
        else:
            for mark in marks:
                if mark == REMOVABLE:
                    continue
                details["metavar"] = mark.name if isinstance(mark, Value) else mark
            names = [_long_flag(field.name)]
            if field.name in SHORT:
                names.insert(0, SHORT[field.name])
            default = argparse.SUPPRESS if needed else field.default
            if isinstance(default, tuple):
                default = list(default)  # argparse appends to a copy
                details |= {"action": "append", "help": f"{text} (repeatable)"}
                del details["nargs"]
            parser.add_argument(
                *names, dest=field.name, required=needed, default=default, **details
            )
            if REMOVABLE in marks:
                removal: dict[str, Any] = {
                    "action": "store_const",
                    "const": False,
                    "default": default,
                }
                parser.add_argument(
                    no_flag(field.name), dest=field.name, help=f"remove {names[-1]}", **removal
                )


def filled(config: type[T], arguments: argparse.Namespace) -> T:
    """The `config` in `arguments`, which may hold other programs' fields as well."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    values = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def words(chosen: Any, names: Collection[str]) -> list[str]:
    """Those options of `chosen` that differ from their defaults, as they are typed."""
    typed: list[str] = []
    for field in dataclasses.fields(chosen):
        value, long = getattr(chosen, field.name), _long_flag(field.name)
        if field.name not in names or value == field.default:
            continue
        if isinstance(value, bool):
            typed.append(long if value else no_flag(field.name))
        else:
            several = value if isinstance(value, tuple) else (value,)
            typed += [f"{long}={one}" for one in several]
    return typed


def _long_flag(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")  # `from_`: Python keeps `from`


def no_flag(name: str) -> str:
    return _long_flag(name).replace("--", "--no-", 1)


def flag(chosen: Any, name: str) -> str:
    """The option as it is typed, or as `--help` calls it."""
    return name.upper() if POSITIONAL in _marks(chosen)[name] else _long_flag(name)


def check(chosen: Any) -> None:
    """Calls the `Value.check` of each option that was given."""
    for name, marks in _marks(chosen).items():
        for mark in marks:
            value = getattr(chosen, name)
            if isinstance(mark, Value) and value is not None and value is not False:
                try:
                    mark.check(value)
                except ValueError as error:
                    raise ValueError(f"argument {flag(chosen, name)}: {error}") from error


def _marks(chosen: Any) -> dict[str, Sequence[Any]]:
    hints = typing.get_type_hints(type(chosen), include_extras=True)
    return {name: typing.get_args(hint)[2:] for name, hint in hints.items()}


def _details(kind: Any, default: Any) -> dict[str, Any]:
    """What argparse must know of a field's type."""
    if kind is bool and default is False:
        return {"action": "store_true"}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(kind) is tuple:
        return {"type": typing.get_args(kind)[0], "nargs": "+"}
    if typing.get_origin(kind) is typing.Literal:
        return {"choices": typing.get_args(kind)}
    if kind == bool | None:
        return {"action": "store_const", "const": True}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):  # X | None
        return {"type": next(k for k in typing.get_args(kind) if k is not types.NoneType)}
    return {"type": kind}
