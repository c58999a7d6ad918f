"""How much of what TensorFlow Serving was recorded to answer the embedded server answers alike."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.serving import CHECKOUT


def test_the_embedded_server_answers_as_tensorflow_serving_was_recorded_to(
    run: Callable[..., CompletedProcess[str]],
) -> None:
    """Slow: the recordings look at each connection for a while after its answer."""
    folder = Path(os.environ.get("PETBOX_TEST_DATA", CHECKOUT.parent / "shared"), "tfs-transcripts")
    if not folder.is_dir():
        pytest.skip(f"{folder}: not here; name the folder above it in PETBOX_TEST_DATA")
    done = run("scripts/replay.py", timeout=300)
    shares = dict(re.findall(r"^(\w+) +([0-9.]+) %", done.stdout, re.MULTILINE))
    names = {"predict", "b64echo", "scalars", "dtypes", "classify", "errors", "urls"}
    assert shares.keys() == names, done.stderr
    assert {name for name, share in shares.items() if float(share) < 95} == set()
    assert done.returncode == 0
