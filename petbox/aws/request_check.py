"""Checks requests against botocore's model of a service: lengths, bounds and forms.

botocore itself checks types and required members only, and each request when it is made. Here all
requests of a plan are checked before the first call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from petbox.errors import ServiceError

SHOWN = 60  # characters of a value


def check(client: Any, operation: str, request: Mapping[str, Any], what: str) -> None:
    from botocore.validate import ParamValidator

    name = client.meta.method_to_api_mapping[operation]
    shape = client.meta.service_model.operation_model(name).input_shape
    report = ParamValidator().validate(request, shape)
    faults = [report.generate_report()] if report.has_errors() else _faults(shape, request, "")
    for fault in faults:
        raise ServiceError(f"{what}: {' '.join(str(fault).split())} ({name} of AWS)")


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for key, one in value.items():
            yield from _faults(shape.members[key], one, f"{path}.{key}".lstrip("."))
    elif shape.type_name == "list":
        yield from _too_many(shape, value, path)
        for number, one in enumerate(value):
            yield from _faults(shape.member, one, f"{path}[{number}]")
    elif shape.type_name == "map":
        yield from _too_many(shape, value, path)
        for key, one in value.items():
            yield from _faults(shape.key, key, f"{path} {key!r}")
            yield from _faults(shape.value, one, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from _text(shape, str(value), path)
    elif shape.type_name in ("integer", "long", "float", "double"):
        most = shape.metadata.get("max")
        if most is not None and value > most:
            yield f"{path}: {value} is more than {most}"


def _too_many(shape: Any, value: Any, path: str) -> Iterator[str]:
    most = shape.metadata.get("max")
    if most is not None and len(value) > most:
        yield f"{path}: has {len(value)} entries, and the maximum is {most}"


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    shown = repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}…")
    most, pattern = shape.metadata.get("max"), shape.metadata.get("pattern")
    if most is not None and len(value) > most:
        yield f"{path}: {shown} has {len(value)} characters, and the maximum is {most}"
    elif pattern and (form := _compiled(pattern)) and not form.fullmatch(value):
        yield f"{path}: {shown} is not of the form {pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for a form of Java that Python does not have."""
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None
