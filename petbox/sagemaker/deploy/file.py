"""Reads pets.toml: the options of `petbox endpoint up` by their names, and where the model is.

A key that is absent keeps what the endpoint has; `false` removes it.
"""

from __future__ import annotations

import difflib
import re
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from petbox.aws import names as aws_names
from petbox.cli.options import REMOVABLE
from petbox.errors import DataError, PetboxError, needs
from petbox.sagemaker.deploy.image_build import Build
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.spec import KEYED

BUILD = "build"  # as an image
COMMAND_LINE_ONLY = ("every", "json", "yes", "dry_run", *KEYED.values())
ALIASES = {"scaling": "autoscale", "async": "async_"}
OWN = ("model", "bucket")
BUILT = tuple(one.name for one in fields(Build) if one.name != "model")
NOUNS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class DeployFile:
    path: Path
    options: UpOptions
    model: Path | None  # relative to the file
    bucket: str | None  # where its archive goes, unless it is that of `petbox setup`
    build: Build | None  # an image with the model in it
    aliases: Collection[str]  # of its keys

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within it, errors have the keys of the file instead of flags."""
        try:
            yield
        except PetboxError as error:
            text = as_keys(str(error), self.aliases)
            if text != str(error):
                error.args = (f"{self.path}: {text}",)
            raise


def read(path: Path) -> DeployFile:
    values = _toml(path)
    hints = typing.get_type_hints(UpOptions, include_extras=True)
    try:
        options = {key: text for one in values for key, text in _option(one, values[one], hints)}
        if "name" not in options:
            raise ValueError('name: missing; write it like name = "pets"')
        model, bucket = (_text(key, values.get(key)) for key in OWN)
        folder = path.parent / model if model else None
        build = _build(values, path.parent, folder)
        if build:
            del options["image"]
        for key in ("model_data", "multi_model"):
            if model is not None and options.get(key):
                raise ValueError(f"model and {key} exclude each other")
        if bucket is not None:
            aws_names.check_s3(bucket)
        aliases = ALIASES.keys() & values.keys()
        return DeployFile(path, UpOptions(**options), folder, bucket, build, aliases)
    except ValueError as error:
        text = as_keys(str(error), ALIASES.keys() & values.keys())
        raise DataError(f"{path}: {text}") from error


def _build(values: Mapping[str, Any], beside: Path, model: Path | None) -> Build | None:
    hints = typing.get_type_hints(Build) | {"code": str}
    given = {key: _typed(key, values[key], hints[key]) for key in BUILT if key in values}
    if "code" in given:
        given["code"] = beside / given["code"]
    if values.get("image") != BUILD:
        for key in given:
            raise ValueError(f'{key} requires image = "{BUILD}"')
        return None
    if model is None:
        raise ValueError('image: to build it needs a model, as in model = "model/toy"')
    return Build(model, **given)


def _toml(path: Path) -> dict[str, Any]:
    toml = _parser()
    try:
        return dict(toml.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; write one: petbox deploy --init {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); save it as text in UTF-8") from error
    except toml.TOMLDecodeError as error:
        raise DataError(f"{path}: is not TOML ({error}); correct that line") from error


def _parser() -> Any:
    return needs("tomllib") if sys.version_info >= (3, 11) else needs("tomli", "aws")


def _option(key: str, value: Any, hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of UpOptions that a key sets."""
    name = ALIASES.get(key, key)
    if key in (*OWN, *BUILT):
        return
    if name not in hints or name in COMMAND_LINE_ONLY:
        known = [*(one.name for one in fields(UpOptions)), *ALIASES, *OWN, *BUILT]
        near = difflib.get_close_matches(key, known, 1)
        raise ValueError(f"{key}: no such key" + (f"; did you mean {near[0]}?" if near else ""))
    kind, *marks = typing.get_args(hints[name])
    if name in KEYED:
        yield from _pairs(name, value)
    elif value is False and (REMOVABLE in marks or kind is bool):
        yield name, False
    else:
        yield name, _typed(key, value, kind)


def _pairs(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f'{name}: is not a table; write it like {name} = {{KEY = "value"}}')
    for key, text in value.items():
        if not isinstance(text, (str, int, float)):
            raise ValueError(f"{name}.{key}: is neither a text, a number nor false")
    kept = {key: text for key, text in value.items() if text is not False}
    yield name, tuple(f"{key}={_plain(text)}" for key, text in kept.items())
    yield KEYED[name], tuple(key for key in value if key not in kept)


def _plain(value: Any) -> str:
    return "true" if value is True else str(value)


def _typed(key: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        one = typing.get_args(kind)[0]
        several = value if isinstance(value, list) else [value]
        return tuple(_typed(key, part, one) for part in several)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one in NOUNS)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{key}: {value!r} is not {NOUNS[kind]}")
    return value


def _text(key: str, value: Any) -> str | None:
    return None if value is None else str(_typed(key, value, str))


def as_keys(text: str, aliases: Collection[str] = ()) -> str:
    """The command line's errors, with keys instead of flags; flags of other programs stay."""
    known = {one.name: one.name.rstrip("_") for one in fields(UpOptions)}
    known |= {ALIASES[alias]: alias for alias in aliases}
    keys = {name.rstrip("_"): key for name, key in known.items() if name not in COMMAND_LINE_ONLY}

    def key(flag: re.Match[str]) -> str:
        name = flag["name"].replace("-", "_")
        if name in keys:
            return f"{flag['verb'] or ''}{keys[name]}"
        if (removed := keys.get(name.removeprefix("no_"))) and name.startswith("no_"):
            return f"write {removed} = false" if flag["verb"] else f"{removed} = false"
        return flag[0]

    flags = re.compile(r"(?:argument )?(?P<verb>pass )?--(?P<name>[a-z][a-z-]*)")
    return flags.sub(key, text).replace("argument NAME", "name")
