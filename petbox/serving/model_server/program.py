"""The program petbox-model-server: the server, or one line that says what it needs installed."""

from __future__ import annotations

import sys
from typing import NoReturn

from petbox.cli.program import say
from petbox.errors import MissingExtra, needs


def main() -> NoReturn:
    try:
        needs("numpy", "tf")
    except MissingExtra as error:
        say(f"error: {error}")
        sys.exit(255)
    from petbox.serving.model_server.__main__ import main as serve

    serve()
