"""Protobuf messages, declared here as far as they are needed.

So neither TensorFlow has to be imported to read a few fields, nor another package for messages that
TensorFlow lacks. The numbers are those of the original .proto files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its types are a separate package
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

# message: {field: (number, type)}. A type is lower-case as in a .proto file, or the name of a
# message or an enum of these. "T*" is repeated, "map T" has strings as keys, and "T in N" is one of
# the oneof N. An enum is {value: number}.
Messages = Mapping[str, Mapping[str, "tuple[int, str] | int"]]

FIELD = descriptor_pb2.FieldDescriptorProto


def message_class(messages: Messages, name: str, syntax: str = "proto2") -> Any:
    """The class of one of the messages; parsing skips fields that are not declared."""
    file = descriptor_pb2.FileDescriptorProto(name="declared.proto", package="declared")
    file.syntax = syntax
    enums = {each for each, fields in messages.items() if _is_enum(fields)}
    for each, fields in messages.items():
        if each in enums:
            declared = file.enum_type.add(name=each)
            for value, number in fields.items():
                declared.value.add(name=value, number=number)
        else:
            message = file.message_type.add(name=each)
            for field, (number, kind) in fields.items():  # type: ignore[misc]
                _declare(message, field, number, kind, enums)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"declared.{name}"))


def _is_enum(fields: Mapping[str, Any]) -> bool:
    return any(isinstance(number, int) for number in fields.values())


def _declare(message: Any, name: str, number: int, kind: str, enums: set[str]) -> None:
    kind, _, oneof = kind.partition(" in ")
    repeated = kind.endswith("*") or kind.startswith("map ")
    entry = message.field.add(name=name, number=number)
    entry.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
    if oneof:
        known = [each.name for each in message.oneof_decl]
        if oneof not in known:
            message.oneof_decl.add(name=oneof)
        entry.oneof_index = known.index(oneof) if oneof in known else len(known)
    if kind.startswith("map "):
        pair = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        pair.options.map_entry = True
        _declare(pair, "key", 1, "string", enums)
        _declare(pair, "value", 2, kind.removeprefix("map "), enums)
        _set_type(entry, f"{message.name}.{pair.name}", enums)
    else:
        _set_type(entry, kind.rstrip("*"), enums)


def _set_type(entry: Any, kind: str, enums: set[str]) -> None:
    if kind[0].islower():
        entry.type = FIELD.Type.Value(f"TYPE_{kind.upper()}")
    else:
        entry.type = FIELD.TYPE_ENUM if kind in enums else FIELD.TYPE_MESSAGE
        entry.type_name = f".declared.{kind}"
