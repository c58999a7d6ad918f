"""Serves a small detector that comes with petbox, and opens the page with samples.

The detector finds five drawn pets. It needs no TensorFlow; what it needs is
installed by pip install './[serve]'. Ctrl-C stops it.

examples:
  petbox demo
  petbox demo --port 9000 --no-browser
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.serving import command
from petbox.serving.command import ServeOptions

MODEL = Path(__file__).parent / "model"
SHOWN = "#samples"  # the page adds all of its samples


@dataclass(frozen=True)
class DemoOptions:
    port: Annotated[int, "port to listen on"] = 8080
    browser: Annotated[bool, "open the page in a browser (only from a desktop terminal)"] = True


def demo(options: DemoOptions) -> None:
    command.serve(ServeOptions(MODEL, options.port, open=options.browser), SHOWN)
