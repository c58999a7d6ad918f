"""What handlers return and raise, and what the client gets for it."""

from __future__ import annotations

from pathlib import Path

from support.hooks import serving

JSON = "application/json"

ODD = """
import os, sys
class Silent(Exception):
    def __str__(self): raise RuntimeError
def handler(data, context):
    what = data.read().decode()
    os.chdir("/")
    if what == "exit": sys.exit("bye")
    if what == "silent": raise Silent
    if what == "deaf": sys.stderr.close(); raise ValueError("no log")
    return eval(what)
"""


def test_whatever_a_handler_does_gets_a_response(tmp_path: Path) -> None:
    with serving(tmp_path, ODD) as served:
        served.ready()
        for what, kind, text in (
            ("{'a': [1]}", JSON, '{"a": [1]}'),
            ("('x', 'text/plain\\r\\nX: 1')", "text/plain X: 1", "x"),
            ("'ä', 'text/csv; charset=utf-8'", "text/csv; charset=utf-8", "ä"),
            ("(memoryview(b'x'), None)", JSON, "x"),
            ("b''", JSON, ""),
        ):
            answer = served.post(what, Accept=JSON)
            answer.encoding = "utf-8"
            found = answer.status_code, answer.headers["Content-Type"], answer.text
            assert found == (200, kind, text), what
        for what, error in (
            ("b'a', 'b', 'c'", "TypeError: the handler returned tuple, not bytes or a string"),
            (
                "b'a', b'text/csv'",
                "TypeError: the handler returned the content type b'text/csv', not",
            ),
            (
                "(x for x in 'ab')",
                "TypeError: the handler returned generator, not bytes or a string",
            ),
            ("None", "TypeError: the handler returned NoneType, not"),
            ("exit", "SystemExit: bye (inference.py, line 8)"),
            ("silent", "Silent (inference.py, line 9)"),
            ("deaf", "ValueError: no log (inference.py, line 10)"),
        ):
            answer = served.post(what)
            assert answer.status_code == 500, what
            assert answer.json()["error"].startswith(error)
