"""`petbox serve` opens the page in a browser on a desktop only."""

from __future__ import annotations

import argparse
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port
from support.serving import CHECKOUT, SERVE, empty_model, stand_in_engine

from petbox.cli import options
from petbox.serving import command as serving_command

# Calls the function under test and waits for the threads and processes that it starts.
SHOW = """
import os, threading
from petbox.cli import browser
browser.show("http://localhost/")
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
try:
    os.wait()
except ChildProcessError:
    pass
print("done")
"""


@contextmanager
def in_terminal(folder: Path, *command: str, **env: str) -> Iterator[tuple[Any, Path]]:
    """Runs a command in a terminal: its output, and a pipe with the addresses the browser opens."""
    folder.mkdir()
    opened, browser = folder / "opened", folder / "browser"
    os.mkfifo(opened)
    browser.write_text(f'#!/bin/sh\necho "$1" >{opened}\n')
    browser.chmod(0o755)
    output, terminal = pty.openpty()
    settings = {"BROWSER": "{browser} %s &", **env}
    settings["BROWSER"] = settings["BROWSER"].format(browser=browser)
    unset = dict.fromkeys(("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "WAYLAND_DISPLAY"), "")
    with subprocess.Popen(
        command,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        cwd=CHECKOUT,
        env={**os.environ, **unset, **settings},
    ) as program:
        os.close(terminal)
        try:
            with os.fdopen(output) as lines:
                yield lines, opened
        finally:
            program.send_signal(signal.SIGINT)


def test_serve_opens_the_page_on_a_desktop(tmp_path: Path) -> None:
    path = f"{stand_in_engine(tmp_path / 'engine')}:{os.environ['PATH']}"
    command = [*SERVE, str(empty_model(tmp_path / "model")), f"--port={free_port()}"]
    with in_terminal(tmp_path / "desktop", *command, DISPLAY=":7", PATH=path) as (lines, opened):
        line = lines.readline().strip()
        assert re.fullmatch(r"http://localhost:\d+/", line)
        assert opened.read_text().strip() == line


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"DISPLAY": ":7"}, b"http://localhost/\n"),
        ({"DISPLAY": "", "WAYLAND_DISPLAY": "wayland-0"}, b"http://localhost/\n"),
        ({"DISPLAY": ""}, b""),
        ({"DISPLAY": ":7", "CI": "true"}, b""),
        ({"DISPLAY": ":7", "SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22"}, b""),
        ({"DISPLAY": ":7", "BROWSER": "{browser} %s"}, b""),  # runs inside the terminal
    ],
)
def test_the_environment_decides(tmp_path: Path, env: dict[str, str], expected: bytes) -> None:
    command = [sys.executable, "-c", SHOW]
    with in_terminal(tmp_path / "desktop", *command, **env) as (lines, opened):
        reader = os.open(opened, os.O_RDONLY | os.O_NONBLOCK)  # the browser's write would block
        assert lines.readline().strip() == "done"
        assert os.read(reader, 100) == expected
        os.close(reader)


def test_nothing_opens_if_stdout_is_not_a_terminal() -> None:
    env = {**os.environ, "DISPLAY": ":7", "BROWSER": "echo shown %s &", "CI": ""}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=CHECKOUT, env=env, capture_output=True, check=False
    )
    assert done.stdout == b"done\n"


def test_no_open_disables_it() -> None:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser, serving_command.ServeOptions)
    assert parser.parse_args(["model"]).open
    assert not parser.parse_args(["model", "--no-open"]).open
