"""Shell completion, in the shells themselves: what TAB makes of what was typed."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from support.command_line import petbox

SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
each_shell = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    found = {}
    for shell in (*SHELLS, "fish"):
        done = petbox("completion", shell)
        assert done.returncode == 0, done.stderr
        found[shell] = folder / f"petbox.{shell}"
        found[shell].write_bytes(done.stdout)
    return found


def there(shell: str) -> str:
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"{shell} is not installed; apt-get install {shell}")
    return path


def completed(shell: str, script: Path, typed: str, folder: Path) -> str:
    """The arguments that `typed` becomes by TAB, at a terminal."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "dumb", "HOME": str(folder)}
    command = [there(shell), *SHELLS[shell]]
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        cwd=folder,
        start_new_session=True,
    )
    os.close(slave)
    # The command itself is replaced by one that notes its arguments.
    note = 'petbox() { echo "$*" > "$HOME/typed"; }'
    os.write(master, f"source {script}; {note}\npetbox {typed}\t\nexit\n".encode())
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is closed when the shell has left
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    assert process.wait(30) == 0, shown
    return (folder / "typed").read_text().strip().rstrip("/")


@pytest.mark.timeout(60)
@each_shell
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("detec", "detect"),
        ("endpoint sta", "endpoint status"),
        ("endpoint up pets --ima", "endpoint up pets --image"),
        ("detect --min", "detect --min-score"),
        ("records --bbox cor", "records --bbox corners"),
        ("completion fi", "completion fish"),
        ("detect a-pho", "detect a-photo.jpg"),
        ("train --records some-re", "train --records some-records"),
    ],
)
def test_tab_completes_what_was_begun(
    scripts: dict[str, Path], tmp_path: Path, shell: str, typed: str, line: str
) -> None:
    (tmp_path / "a-photo.jpg").touch()
    (tmp_path / "some-records").mkdir()
    assert completed(shell, scripts[shell], typed, tmp_path) == line


def fish(script: Path, typed: str) -> list[str]:
    """What fish offers for `typed`."""
    command = [there("fish"), "--no-config", "-c", f"source {script}; complete -C '{typed}'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("petbox detec", ["detect"]),
        ("petbox endpoint st", ["status"]),
        ("petbox detect --min", ["--min-score"]),
        ("petbox records --bbox cor", ["corners"]),
        ("petbox completion ", ["bash", "fish", "zsh"]),
        (
            "petbox endpoint down pets -",
            ["-h", "-y", "--help", "--yes", "--json", "--every", "--dry-run"],
        ),
    ],
)
def test_fish_offers_what_fits(scripts: dict[str, Path], typed: str, words: list[str]) -> None:
    assert sorted(fish(scripts["fish"], typed)) == sorted(words)
