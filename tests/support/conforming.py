"""`petbox conform` as tests run it, and what its JSON reports."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ports import free_port
from support.serving import CHECKOUT, Program, await_port, started

CONFORM = ("-m", "petbox", "conform")


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {line["name"]: line["outcome"] for line in json.loads(done.stdout)["lines"]}


def failing(done: subprocess.CompletedProcess[str], level: str = "sagemaker") -> dict[str, str]:
    """What was seen of each line of this level that fails."""
    lines = json.loads(done.stdout)["lines"]
    bad = [one for one in lines if one["outcome"] == "fails" and one["level"] == level]
    return {line["name"]: line["seen"] for line in bad}


@contextmanager
def breaking(rule: str, folder: Path, **more: str) -> Iterator[str]:
    """The address of a `broken_server`."""
    with broken_server(rule, folder, **more) as (port, _):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def broken_server(rule: str, folder: Path, **more: str) -> Iterator[tuple[int, Program]]:
    """A server that keeps the contract but for this rule, and its port."""
    port = free_port()
    command = [sys.executable, "-IS", str(CHECKOUT / "tests/support/contract_server.py")]
    env = {"BREAK": rule, "SAGEMAKER_BIND_TO_PORT": str(port), "LOADING": "0", **more}
    with started(command, folder / "server", **env) as server:
        await_port(port)
        if rule != "answers the ping slowly":
            await_engine(server.process.pid)
        yield port, server


def await_engine(pid: int) -> None:
    """Returns when the front's only child listens."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    words: list[bytes] = []
    while b"engine" not in words:  # between fork and exec it is not yet the engine
        time.sleep(0.01)
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    await_port(int(words[-2]))
