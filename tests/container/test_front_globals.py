"""The modules in container/gateway have no global variables: those would be shared by requests."""

from __future__ import annotations

import gzip
from pathlib import Path

import requests
from support.peer import Request, Response, named_detector, peer
from support.serving import LONG, whole_front
from support.signatures import echo

REFUSING = """
        require "gateway.log"
        local function refuse(_, name) error("global variable " .. name) end
        setmetatable(_G, {__newindex = refuse, __index = refuse})
"""
JSON, IMAGE, LINES = "application/json", "image/png", "application/jsonlines"
CSV, NPY = "text/csv", "application/x-npy"
HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n"
NUMBERS = b"\x93NUMPY\x01\x00" + bytes([len(HEADER), 0]) + HEADER + bytes(8)


def described_detector(asked: Request) -> Response:
    described = asked.path.endswith("/metadata")
    return (echo({"x": ("FLOAT", [-1, 1])}) if described else named_detector)(asked)


def test_no_route_reads_or_writes_an_unknown_global(tmp_path: Path) -> None:
    changes = {'require "gateway.log"': REFUSING}
    settings = {"batching": True, "metadata": True, "metrics_namespace": "petbox"}
    with (
        peer(described_detector) as engine,
        whole_front(tmp_path / "front", engine.port, changes=changes, settings=settings) as running,
    ):
        url = f"http://127.0.0.1:{running.port}"
        asked = [
            (JSON, "", b'{"inputs": {"a": [1]}}'),
            (IMAGE, "", b"1"),
            (IMAGE, "image/jpeg", b"1"),
            ("application/x-image", "application/json;verbose", b"1"),
            (LINES, "", b'1\n{\n"x"\n' * 20),
            (JSON, "text/csv", b"[[1]]"),
            (CSV, "text/csv; header=present", b"a\n1\n+1\n"),
            (CSV, NPY, b'"1"\n'),
            (NPY, LINES, NUMBERS),
            (NPY, "", NUMBERS[:-1]),
            ("text/plain", "", b"1"),
        ]
        for kind, accept, body in asked:
            headers = {"Content-Type": kind, "Accept": accept}
            status = requests.post(
                f"{url}/invocations", data=body, headers=headers, timeout=LONG
            ).status_code
            assert status in (200, 400, 406, 415), (kind, accept, status)
            assert running.log()["status"] == status  # or there would be no line
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        packed = gzip.compress(b'{"inputs": [1]}')
        done = requests.post(f"{url}/invocations", data=packed, headers=headers, timeout=LONG)
        assert done.status_code == 200
        for path, expected in [
            ("ping", 503),
            ("metrics", 200),
            ("execution-parameters", 200),
            ("metadata", 200),
        ]:
            assert requests.get(f"{url}/{path}", timeout=LONG).status_code == expected, path
