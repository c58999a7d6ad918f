"""Protobuf messages, declared here as far as they are needed.

So neither TensorFlow has to be imported to read a few fields, nor another package for messages that
TensorFlow lacks. The numbers are those of the original .proto files.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its types are a separate package
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

# message: {field: (number, type)}; a capitalized type is a message above, "*" means repeated.
Messages = dict[str, dict[str, tuple[int, str]]]


def message_class(messages: Messages, name: str) -> Any:
    """The class of one of the messages; parsing skips fields that are not declared."""
    file = descriptor_pb2.FileDescriptorProto(name="declared.proto", package="declared")
    field = descriptor_pb2.FieldDescriptorProto
    types = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}
    for message, fields in messages.items():
        declared = file.message_type.add(name=message)
        for field_name, (number, kind) in fields.items():
            one, several = kind.rstrip("*"), kind.endswith("*")
            entry = declared.field.add(name=field_name, number=number, type=types.get(one))
            entry.label = field.LABEL_REPEATED if several else field.LABEL_OPTIONAL
            if one not in types:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".declared.{one}"
    file.syntax = "proto2"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"declared.{name}")
    return message_factory.GetMessageClass(descriptor)
