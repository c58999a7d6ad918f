"""Writes a first pets.toml, from flags, and from questions if there is a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from petbox.cli.program import say
from petbox.errors import DataError
from petbox.sagemaker.deploy.file import BUILD, read

QUESTIONS = {
    "name": ("name of the endpoint", "pets"),
    "model": ("folder of the model", "model/toy"),
    "image": (f"image in ECR, or {BUILD} to build one with the model in it", BUILD),
    "bucket": ("s3://… for the model's archive, or empty for that of petbox setup", ""),
    "role": ("role that the container runs under, or empty for that of petbox setup", ""),
    "ttl": ("delete it after this time (2h, 1d), or empty", "8h"),
}
OPTIONAL = ("bucket", "role", "ttl")
TEMPLATE = """\
# For petbox deploy. A key that is not here stays as it is at AWS; false removes it.
# A new endpoint gets the role and bucket of petbox setup, unless role and bucket are here.
{keys}
# More keys are the flags of petbox endpoint up: instance_type, autoscale, target, serverless,
# async, component, alarms, dashboard, capture, env = {{KEY = "value"}}, tag = {{team = "pets"}}
"""


def write(path: Path, given: dict[str, str | None]) -> None:
    if path.exists():
        raise DataError(f"{path}: exists already; edit it, or name another file")
    values = {key: text for key in QUESTIONS if (text := _answer(key, given))}
    keys = "\n".join(
        f"{key} = {json.dumps(text, ensure_ascii=False)}" for key, text in values.items()
    )
    try:
        path.write_bytes(TEMPLATE.format(keys=keys).encode())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be written ({why}); name another file") from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: TOML is UTF-8, and {given['model']!r} is not; rename the model's folder"
        ) from error
    try:
        read(path)
    except DataError:
        path.unlink()
        raise
    say(f"{path}: written; see what it would do: petbox deploy {path} --dry-run")


def _answer(key: str, given: dict[str, str | None]) -> str:
    if key == "bucket" and given["image"] == BUILD:
        return ""  # the model is in the image
    if given[key] is None:
        given[key] = _ask(key)
    return str(given[key])


def _ask(key: str) -> str:
    question, default = QUESTIONS[key]
    if not sys.stdin.isatty():
        if key in OPTIONAL:
            return ""
        raise DataError(f"--{key}: missing, and stdin is not a terminal; give it: {question}")
    otherwise = f" [{default}]" if default else ""
    print(f"{question}{otherwise}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default
