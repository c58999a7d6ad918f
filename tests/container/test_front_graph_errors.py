"""Errors of the model's graph begin with their sentence, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.peer import Request, Response, golden, peer
from support.serving import front, post, predict_json

SENTENCE = "image 0 of the request is empty"
WHERE = "\n\t [[{{node map/while/Assert/Assert}}]]\n\t [[StatefulPartitionedCall]]"
NODES = "{{function_node __inference_wrapper_9}} {{function_node __inference_find_7}} " * 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (f"{NODES}assertion failed: [{SENTENCE}]{WHERE}", SENTENCE),
        (f"Graph execution error:\n\nassertion failed: [{SENTENCE}]{WHERE}", SENTENCE),
        (f"assertion failed: [{SENTENCE}]", SENTENCE),
        (f"{NODES}Input has [2] rows{WHERE}", f"Input has [2] rows{WHERE}"),
        (
            f"{NODES}assertion failed: [x == y] [x:] [1]{WHERE}",
            f"assertion failed: [x == y] [x:] [1]{WHERE}",
        ),
        (
            "Malformed request: a {{function_node x}} b",
            "Malformed request: a {{function_node x}} b",
        ),
    ],
)
def test_an_error_of_the_graph_begins_with_its_sentence(
    tmp_path: Path, error: str, expected: str
) -> None:
    def refuse(_: Request) -> Response:
        return Response(400, json.dumps({"error": error}, indent=4).encode())

    image = golden("picture.png")
    with peer(refuse) as engine, front(tmp_path / "front", engine.port) as port:
        answers = [
            post(port, predict_json(image), "application/json"),
            post(port, image, "image/png"),
            post(port, image, "application/x-image"),
        ]
        lines = post(port, b'{"b64": "AAAA"}', "application/jsonlines")
    assert [(one.status_code, one.json()) for one in answers] == [(400, {"error": expected})] * 3
    assert lines.json() == {"error": expected}
