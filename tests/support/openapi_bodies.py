"""What schemathesis sends for the content types that it cannot make up itself."""

from __future__ import annotations

import base64
import json

import schemathesis
from hypothesis import strategies as st
from support.peer import golden
from support.serving import png


def npy(contents: list[bytes]) -> bytes:
    """As numpy.save writes an array of bytes."""
    width = max(map(len, contents))
    shape = f"{{'descr': '|S{width}', 'fortran_order': False, 'shape': ({len(contents)},), }}\n"
    header = bytes([len(shape), 0]) + shape.encode()
    return b"\x93NUMPY\x01\x00" + header + b"".join(one.ljust(width, b"\0") for one in contents)


PICTURES = [golden("picture.jpg"), golden("picture.png"), png(3, 2)]
RECORDS = [json.dumps({"b64": base64.b64encode(one).decode()}) for one in PICTURES]

pictures = st.sampled_from(PICTURES) | st.binary(max_size=64)
records = st.sampled_from([*RECORDS, '"AAAA"', "AAAA", "{", "7", '{"inputs": 1}']) | st.text(
    max_size=20
)
lines = st.lists(records, min_size=1, max_size=5).map(lambda some: "\n".join(some).encode())

for kind in ("jpeg", "png", "gif", "bmp", "webp"):
    schemathesis.openapi.media_type(f"image/{kind}", pictures)
schemathesis.openapi.media_type("application/x-image", pictures)
schemathesis.openapi.media_type("application/jsonlines", lines)

texts = st.sampled_from([base64.b64encode(one).decode() for one in PICTURES])
cells = texts | st.sampled_from(["inputs", '"', '"a"', "1,2", ""]) | st.text(max_size=20)
tables = st.lists(cells, min_size=1, max_size=5).map(lambda some: "\r\n".join(some).encode())
arrays = st.sampled_from([npy(PICTURES), npy(PICTURES)[:90]]) | st.binary(max_size=64)
schemathesis.openapi.media_type("text/csv", tables)
schemathesis.openapi.media_type("application/x-npy", arrays)
