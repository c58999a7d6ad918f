"""Checks of the formats for any model: CSV, npy, bare JSON, and the formats of responses."""

from __future__ import annotations

import csv
import io
import json
import struct
from typing import Any

from petbox.serving.conform.contract import Failed, NotTried, require
from petbox.serving.conform.payload import JSON, Payload
from petbox.serving.conform.valid_requests import post
from petbox.serving.http_client import Address

CSV, LINES, NPY = "text/csv", "application/jsonlines", "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"


def csv_rows(at: Address, payload: Payload) -> str:
    rows = _rows(payload)
    return _same(at, rows, _csv(rows), CSV)


def npy(at: Address, payload: Payload) -> str:
    rows = _rows(payload)
    body = _npy(rows)
    _same(at, rows, body, NPY)
    response = post(at, body, NPY, headers={"Accept": NPY})
    if response.status == 406:
        return "the same as JSON; the model's outputs are no array of numbers"
    arrays = response.status == 200 and response.body.startswith(NPY_MAGIC)
    return require(arrays, f"Accept {NPY}: {response}")


def bare_json(at: Address, payload: Payload) -> str:
    """A single instance without anything around it, as AWS's container takes it."""
    one = payload.instances()[0]
    if isinstance(one, list) and one and isinstance(one[0], list):
        raise NotTried("an instance that is a list of lists would be taken for several")
    return _same(at, [one], json.dumps(one).encode(), JSON)


def accepted(at: Address, payload: Payload) -> str:
    """A line for each row, as JSON Lines and as CSV."""
    rows = (payload.instances() * 3)[:3]
    body = json.dumps({"instances": rows}).encode()
    for accept in (LINES, CSV):
        response = post(at, body, JSON, headers={"Accept": accept})
        lines = response.body.count(b"\n")
        detail = f"Accept {accept}: {response}: {len(rows)} rows, {lines} lines"
        require(response.status == 200 and lines == len(rows), detail)
        require(response.headers.get("content-type", "").startswith(accept), detail)
    return detail


def malformed_cell(at: Address, payload: Payload) -> str:
    rows = [row if isinstance(row, list) else [row] for row in _rows(payload)]
    if not isinstance(rows[0][0], (int, float)):
        raise NotTried("the given request has no numbers")
    response = post(at, _csv([*rows, ["no number", *rows[0][1:]]]), CSV)
    named = f"line {len(rows) + 1}" in (response.error() or "")
    return require(response.status == 400 and named, response)


def _rows(payload: Payload) -> list[Any]:
    """Two rows or more of numbers or texts: what a table can hold."""
    rows = payload.instances() * 2
    cells = [cell for row in rows for cell in (row if isinstance(row, list) else [row])]
    widths = {len(row) if isinstance(row, list) else None for row in rows}
    plain = all(
        isinstance(cell, str | int | float) and not isinstance(cell, bool) for cell in cells
    )
    if not cells or len(widths) > 1 or not plain:
        raise NotTried('needs rows of numbers: --request with {"instances": [[1.0, 2.0]]}')
    return rows


def _csv(rows: list[Any]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(row if isinstance(row, list) else [row] for row in rows)
    return file.getvalue().encode()


def _npy(rows: list[Any]) -> bytes:
    lists = [row if isinstance(row, list) else [row] for row in rows]
    numbers = [number for row in lists for number in row]
    if any(isinstance(number, str) for number in numbers):
        raise NotTried("the given request has no numbers")
    whole = all(isinstance(number, int) for number in numbers)
    shape = f"({len(rows)}, {len(lists[0])})" if isinstance(rows[0], list) else f"({len(rows)},)"
    kind = "<i8" if whole else "<f8"
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = struct.pack(f"<{len(numbers)}{'q' if whole else 'd'}", *numbers)
    return NPY_MAGIC + b"\x01\x00" + struct.pack("<H", len(header)) + header + data


def _same(at: Address, rows: list[Any], body: bytes, content_type: str) -> str:
    """It must equal the response to the rows as JSON, unless those differ among themselves."""
    request = json.dumps({"instances": rows}).encode()
    plain, again = post(at, request, JSON), post(at, request, JSON)
    if plain.status != 200:
        raise NotTried(f"the model rejects {len(rows)} rows: {plain}")
    response = post(at, body, content_type)
    require(response.status == 200, f"{content_type}: {response}")
    if plain.json() == again.json() != response.json():
        raise Failed(f"{content_type}: {response}: differs from the response to the rows as JSON")
    return f"{content_type}: the same as JSON"
