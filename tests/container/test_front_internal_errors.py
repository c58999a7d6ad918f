"""A fault of the gateway itself is an error that says so, and not a response with holes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ports import free_port
from support.serving import post, whole_front


@pytest.mark.parametrize(
    "kind", ["application/json", "image/png", "application/x-image", "application/jsonlines"]
)
def test_a_fault_of_the_gateway_is_an_error_with_its_reason(tmp_path: Path, kind: str) -> None:
    wrong = {"wait_seconds": "soon"}
    with whole_front(tmp_path / "front", free_port(), settings=wrong) as running:
        answer = post(running.port, b"1", kind)
        assert answer.status_code == 500
        assert "internal error in the gateway: " in answer.json()["error"]
        assert ".lua:" in running.program.errors.read_text()
