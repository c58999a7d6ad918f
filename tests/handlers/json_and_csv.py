"""Handlers as AWS's documentation describes them: JSON as it is, CSV to JSON."""

import json


def input_handler(data, context):
    if context.request_content_type == "application/json":
        return data.read().decode("utf-8")
    if context.request_content_type == "text/csv":
        rows = data.read().decode("utf-8").splitlines()
        return json.dumps({"instances": [[float(cell) for cell in row.split(",")] for row in rows]})
    raise ValueError(f"unsupported content type {context.request_content_type}")


def output_handler(data, context):
    if data.status_code != 200:
        raise ValueError(data.content.decode("utf-8"))
    return data.content, context.accept_header
