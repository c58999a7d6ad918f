"""The modules in container/gateway have no global variables: those would be shared by requests."""

from __future__ import annotations

import gzip
from pathlib import Path

import requests
from support.peer import named_detector, peer
from support.serving import LONG, whole_front

REFUSING = """
        require "gateway.log"
        local function refuse(_, name) error("global variable " .. name) end
        setmetatable(_G, {__newindex = refuse, __index = refuse})
"""
JSON, IMAGE, LINES = "application/json", "image/png", "application/jsonlines"


def test_no_route_reads_or_writes_an_unknown_global(tmp_path: Path) -> None:
    changes = {'require "gateway.log"': REFUSING}
    settings = {"batching": True, "metrics_namespace": "petbox"}
    with (
        peer(named_detector) as engine,
        whole_front(tmp_path / "front", engine.port, changes=changes, settings=settings) as running,
    ):
        url = f"http://127.0.0.1:{running.port}"
        asked = [
            (JSON, "", b'{"inputs": {"a": [1]}}'),
            (IMAGE, "", b"1"),
            (IMAGE, "image/jpeg", b"1"),
            ("application/x-image", "application/json;verbose", b"1"),
            (LINES, "", b'1\n{\n"x"\n' * 20),
            ("text/plain", "", b"1"),
        ]
        for kind, accept, body in asked:
            headers = {"Content-Type": kind, "Accept": accept}
            status = requests.post(
                f"{url}/invocations", data=body, headers=headers, timeout=LONG
            ).status_code
            assert status in (200, 406, 415), (kind, accept, status)
            assert running.log()["status"] == status  # or there would be no line
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        packed = gzip.compress(b'{"inputs": [1]}')
        done = requests.post(f"{url}/invocations", data=packed, headers=headers, timeout=LONG)
        assert done.status_code == 200
        for path, expected in [("ping", 503), ("metrics", 200), ("execution-parameters", 200)]:
            assert requests.get(f"{url}/{path}", timeout=LONG).status_code == expected, path
